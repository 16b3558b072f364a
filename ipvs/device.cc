// The virtual device by rtnetlink.
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include "dataplane/forwarding.h"
#include "ipvs/host.h"
#include "ipvs/messages.h"
#include "ipvs/netlink_socket.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Address;

constexpr uint8_t kV6HostLength = 128;
constexpr uint8_t kV4HostLength = 32;
constexpr uint8_t kNoGeneratedAddresses = 1;  // IN6_ADDR_GEN_MODE_NONE

ByteView payload_of(const nlmsghdr& header) {
  return {static_cast<const uint8_t*>(nlmsg_data(&header)),
          static_cast<size_t>(nlmsg_datalen(&header))};
}

class KernelDevice final : public VirtualDevice {
 public:
  KernelDevice(NetlinkSocket socket, NetlinkSocket notices)
      : socket_(std::move(socket)), notices_(std::move(notices)) {}

  Result<bool> exists() override { return find() != 0; }
  Status create() override;
  Status remove() override;
  Result<std::vector<Held>> addresses() override;
  Result<std::vector<Failure>> change(std::span<const Address> removed,
                                      std::span<const Address> added) override;
  int fd() const override { return notices_.fd(); }
  Result<News> news() override;

 private:
  uint32_t find() { return index_ = ::if_nametoindex(dataplane::kVirtualDevice); }
  void await_usable(const Address& address);
  MessagePointer route_question(const Address& address) const;
  MessagePointer address_message(uint16_t type, uint16_t flags, const Address& address) const;
  // `up`: device flags (IFF_*) to set.
  Status link_request(uint16_t type, uint16_t flags, unsigned up, const char* operation,
                      const std::function<bool(nl_msg*)>& attributes);

  NetlinkSocket socket_;
  NetlinkSocket notices_;
  uint32_t index_ = 0;  // of the device; 0: there was none when last looked
};

Status KernelDevice::link_request(uint16_t type, uint16_t flags, unsigned up, const char* operation,
                                  const std::function<bool(nl_msg*)>& attributes) {
  std::vector<std::pair<size_t, int>> refused;
  ASSIGN_OR_RETURN(refused, socket_.transact(1, [&](size_t) {
    MessagePointer made(nlmsg_alloc_size(kMessageSize));
    ifinfomsg head{};
    head.ifi_index = static_cast<int>(index_);
    head.ifi_flags = head.ifi_change = up;
    if (made && (nlmsg_put(made.get(), NL_AUTO_PORT, 0, type, 0, flags) == nullptr ||
                 nlmsg_append(made.get(), &head, sizeof head, NLMSG_ALIGNTO) != 0 ||
                 !attributes(made.get()))) {
      made.reset();
    }
    return made;
  }));
  if (refused.empty()) return {};
  const int error = refused[0].second;
  if (error == EOPNOTSUPP) {
    return Status::error(StatusCode::kUnsupported, operation,
                         std::string("device ") + dataplane::kVirtualDevice,
                         "the kernel has no dummy devices (CONFIG_DUMMY; try: modprobe dummy)");
  }
  return Status::from_errno(error, operation, std::string("device ") + dataplane::kVirtualDevice);
}

Status KernelDevice::create() {
  if (find() == 0) {
    RETURN_IF_ERROR(
        link_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, "create", [](nl_msg* message) {
          if (nla_put_string(message, IFLA_IFNAME, dataplane::kVirtualDevice) != 0) return false;
          nlattr* const info = nla_nest_start(message, IFLA_LINKINFO);
          if (info == nullptr || nla_put_string(message, IFLA_INFO_KIND, "dummy") != 0) {
            return false;
          }
          nla_nest_end(message, info);
          return true;
        }));
    if (find() == 0) {
      return Status::error(StatusCode::kInternal, "find",
                           std::string("device ") + dataplane::kVirtualDevice,
                           "created, but not there");
    }
    // No link-local address of its own. Where IPv6 is off there is nothing to say.
    const Status no_link_local = link_request(RTM_NEWLINK, 0, 0, "configure", [](nl_msg* message) {
      nlattr* const families = nla_nest_start(message, IFLA_AF_SPEC);
      if (families == nullptr) return false;
      nlattr* const v6 = nla_nest_start(message, AF_INET6);
      if (v6 == nullptr ||
          nla_put_u8(message, IFLA_INET6_ADDR_GEN_MODE, kNoGeneratedAddresses) != 0) {
        return false;
      }
      nla_nest_end(message, v6);
      nla_nest_end(message, families);
      return true;
    });
    static_cast<void>(no_link_local);
  }
  // It stays down, as kube-proxy's does: the routes to its addresses (table local) are there all
  // the same, also those of IPv6, as there is no neighbour to ask whether one is taken. With a
  // device that is up, Linux looks through all routes that lead to it at every address that comes
  // (fib_sync_up), which is half of what ten thousand addresses cost.
  return link_request(RTM_NEWLINK, 0, IFF_NOARP, "configure", [](nl_msg*) { return true; });
}

Status KernelDevice::remove() {
  if (find() == 0) return {};
  return link_request(RTM_DELLINK, 0, 0, "remove", [](nl_msg*) { return true; });
}

Result<std::vector<VirtualDevice::Held>> KernelDevice::addresses() {
  find();
  std::vector<Held> held;
  constexpr int kAttempts = 5;  // others come and go
  for (int attempt = 1;; ++attempt) {
    held.clear();
    MessagePointer request(nlmsg_alloc_size(kMessageSize));
    const ifaddrmsg head{};
    if (request && (nlmsg_put(request.get(), NL_AUTO_PORT, 0, RTM_GETADDR, 0, 0) == nullptr ||
                    nlmsg_append(request.get(), const_cast<ifaddrmsg*>(&head), sizeof head,
                                 NLMSG_ALIGNTO) != 0)) {
      request.reset();
    }
    const Status listed = socket_.dump(std::move(request), [&](const nlmsghdr& header) {
      const auto found = read_interface_address(payload_of(header));
      if (header.nlmsg_type != RTM_NEWADDR || !found || found->address.is_loopback()) return;
      held.push_back({found->address, index_ != 0 && found->interface == index_});
    });
    if (listed) break;
    if (listed.code() != StatusCode::kUnavailable || attempt == kAttempts) return listed;
  }
  std::sort(held.begin(), held.end());
  held.erase(std::unique(held.begin(), held.end()), held.end());
  return held;
}

MessagePointer KernelDevice::address_message(uint16_t type, uint16_t flags,
                                             const Address& address) const {
  MessagePointer made(nlmsg_alloc_size(kMessageSize));
  ifaddrmsg head{};
  head.ifa_family = address.is_v4() ? AF_INET : AF_INET6;
  head.ifa_prefixlen = address.is_v4() ? kV4HostLength : kV6HostLength;
  head.ifa_scope = RT_SCOPE_UNIVERSE;
  head.ifa_index = index_;
  const auto bytes = address.bytes();
  bool fits = made && nlmsg_put(made.get(), NL_AUTO_PORT, 0, type, 0, flags) != nullptr &&
              nlmsg_append(made.get(), &head, sizeof head, NLMSG_ALIGNTO) == 0 &&
              nla_put(made.get(), IFA_LOCAL, static_cast<int>(bytes.size()), bytes.data()) == 0 &&
              nla_put(made.get(), IFA_ADDRESS, static_cast<int>(bytes.size()), bytes.data()) == 0;
  if (fits && type == RTM_NEWADDR && !address.is_v4()) {
    // At once, and never the source of what the node sends elsewhere: a deprecated address is
    // chosen only when there is no other (RFC 6724, rule 3).
    const ifa_cacheinfo lifetimes{0, ~0U, 0, 0};
    fits = nla_put_u32(made.get(), IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE) == 0 &&
           nla_put(made.get(), IFA_CACHEINFO, sizeof lifetimes, &lifetimes) == 0;
  }
  if (!fits) made.reset();
  return made;
}

MessagePointer KernelDevice::route_question(const Address& address) const {
  MessagePointer made(nlmsg_alloc_size(kMessageSize));
  rtmsg head{};
  head.rtm_family = AF_INET6;
  head.rtm_dst_len = kV6HostLength;
  const auto bytes = address.bytes();
  if (made && (nlmsg_put(made.get(), NL_AUTO_PORT, 0, RTM_GETROUTE, 0, 0) == nullptr ||
               nlmsg_append(made.get(), &head, sizeof head, NLMSG_ALIGNTO) != 0 ||
               nla_put(made.get(), RTA_DST, static_cast<int>(bytes.size()), bytes.data()) != 0)) {
    made.reset();
  }
  return made;
}

// Linux gives an IPv6 address its route in a work queue of its own, in order, after it has said
// that the address is there; until then packets to it go astray.
void KernelDevice::await_usable(const Address& address) {
  constexpr auto kPause = std::chrono::microseconds(200);
  constexpr auto kPatience = std::chrono::seconds(2);
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < give_up) {
    bool local = false;
    const Status asked = socket_.get(route_question(address), [&](const nlmsghdr& header) {
      rtmsg head;
      if (nlmsg_datalen(&header) < static_cast<int>(sizeof head)) return;
      std::memcpy(&head, nlmsg_data(&header), sizeof head);
      local |= header.nlmsg_type == RTM_NEWROUTE && head.rtm_type == RTN_LOCAL;
    });
    if (local) return;
    // No route at all is what we wait for the end of.
    if (!asked && asked.code() == StatusCode::kPermission) return;
    std::this_thread::sleep_for(kPause);
  }
}

Result<std::vector<Failure>> KernelDevice::change(std::span<const Address> removed,
                                                  std::span<const Address> added) {
  std::vector<std::pair<size_t, int>> refused;
  ASSIGN_OR_RETURN(refused, socket_.transact(removed.size() + added.size(), [&](size_t index) {
    return index < removed.size() ? address_message(RTM_DELADDR, 0, removed[index])
                                  : address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE,
                                                    added[index - removed.size()]);
  }));
  if (!added.empty() && !added.back().is_v4()) await_usable(added.back());
  std::vector<Failure> failures;
  for (const auto& [index, error] : refused) {
    const bool removing = index < removed.size();
    if (removing && (error == EADDRNOTAVAIL || error == ENODEV)) continue;
    if (!removing && error == EEXIST) continue;
    const Address& address = removing ? removed[index] : added[index - removed.size()];
    failures.push_back({index, Status::from_errno(error, removing ? "remove" : "add",
                                                  "address " + address.to_string() + " on device " +
                                                      dataplane::kVirtualDevice)});
  }
  return failures;
}

Result<VirtualDevice::News> KernelDevice::news() {
  News news;
  const Result<bool> lost = notices_.poll([&](const nlmsghdr& header) {
    if (header.nlmsg_type == RTM_DELLINK) {
      ifinfomsg head;
      if (nlmsg_datalen(&header) < static_cast<int>(sizeof head)) return;
      std::copy_n(payload_of(header).begin(), sizeof head, reinterpret_cast<uint8_t*>(&head));
      news.device_gone |= index_ != 0 && head.ifi_index == static_cast<int>(index_);
    }
    if (header.nlmsg_type != RTM_NEWADDR && header.nlmsg_type != RTM_DELADDR) return;
    const auto found = read_interface_address(payload_of(header));
    if (!found || found->address.is_loopback()) return;
    news.events.push_back({found->address, index_ != 0 && found->interface == index_,
                           header.nlmsg_type == RTM_NEWADDR});
  });
  if (!lost) return lost.status();
  news.lost = *lost;
  return news;
}

class ProcSettings final : public KernelSettings {
 public:
  std::optional<std::string> get(std::string_view key) override {
    std::ifstream file("/proc/sys/" + std::string(key));
    std::string value;
    if (!std::getline(file, value)) return std::nullopt;
    return value;
  }
  Status set(std::string_view key, std::string_view value) override {
    const std::string path = "/proc/sys/" + std::string(key);
    std::ofstream file(path);
    if (file) file << value << std::flush;
    if (file) return {};
    return Status::from_errno(errno, "write " + std::string(value) + " to", path);
  }
  std::string kernel_release() override { return get("kernel/osrelease").value_or(""); }
};

}  // namespace

Result<std::unique_ptr<VirtualDevice>> open_virtual_device() {
  Result<NetlinkSocket> socket = NetlinkSocket::open(NETLINK_ROUTE, "rtnetlink");
  if (!socket) return socket.status();
  Result<NetlinkSocket> notices =
      NetlinkSocket::open(NETLINK_ROUTE, "rtnetlink notifications",
                          {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR});
  if (!notices) return notices.status();
  return std::unique_ptr<VirtualDevice>(
      std::make_unique<KernelDevice>(std::move(*socket), std::move(*notices)));
}

std::unique_ptr<KernelSettings> open_kernel_settings() {
  return std::make_unique<ProcSettings>();
}

}  // namespace fairlead::ipvs
