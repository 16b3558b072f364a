#include "proxy/runtime/addresses.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <tuple>

#include "base/netlink.h"
#include "dataplane/forwarding.h"
#include "proxy/runtime/address_message.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Prefix;

using dataplane::kVirtualDevice;

class Watcher final : public AddressWatcher {
 public:
  explicit Watcher(netlink::Socket notifications) : notifications_(std::move(notifications)) {}

  Status list();
  int fd() const override { return notifications_.fd(); }
  Result<bool> process() override;
  const std::vector<InterfaceAddress>& addresses() const override { return current_; }

 private:
  struct Link {
    std::string name;
    bool loopback = false;
  };
  using Key = std::tuple<uint32_t, Address, uint8_t>;  // interface, address, prefix length

  void take(const netlink::Message& message);
  Status dump(uint16_t type);
  bool publish();  // true when the list changed

  netlink::Socket notifications_;
  std::map<uint32_t, Link> links_;
  std::set<Key> held_;
  bool list_due_ = false;
  std::vector<InterfaceAddress> current_;
};

void Watcher::take(const netlink::Message& message) {
  switch (message.type) {
    case RTM_NEWLINK:
      if (auto link = parse_link_message(message.payload)) {
        links_[link->interface_index] = {std::move(link->name), link->loopback};
      }
      break;
    case RTM_DELLINK:
      if (const auto link = parse_link_message(message.payload))
        links_.erase(link->interface_index);
      break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
      if (const auto held = parse_address_message(message.payload)) {
        const auto link = links_.find(held->interface_index);
        if (link != links_.end() && link->second.name == kVirtualDevice) break;
        const Key key{held->interface_index, held->address, held->prefix_length};
        if (message.type == RTM_NEWADDR && held->usable) {
          held_.insert(key);
        } else {
          held_.erase(key);
        }
      }
      break;
    default:
      break;
  }
}

Status Watcher::dump(uint16_t type) {
  constexpr int kAttempts = 10;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto socket = netlink::Socket::open(NETLINK_ROUTE);
    if (!socket) return socket.status();
    if (type == RTM_GETLINK) links_.clear();
    if (type == RTM_GETADDR) held_.clear();
    netlink::MessageBuilder request(type, NLM_F_REQUEST | NLM_F_DUMP);
    if (type == RTM_GETLINK) request.header(ifinfomsg{});
    if (type == RTM_GETADDR) request.header(ifaddrmsg{});
    const Status listed =
        socket->list(request, [this](const netlink::Message& message) { take(message); });
    if (listed.system_errno() != EAGAIN) return listed;
  }
  return Status::error(StatusCode::kUnavailable, "list", "interface addresses",
                       "they changed during each of several attempts");
}

// What changes while this runs is in the notifications, which are read afterwards: replaying them
// ends in the same state.
Status Watcher::list() {
  list_due_ = true;
  RETURN_IF_ERROR(dump(RTM_GETLINK));
  RETURN_IF_ERROR(dump(RTM_GETADDR));
  list_due_ = false;
  publish();
  return Status();
}

bool Watcher::publish() {
  std::vector<InterfaceAddress> next;
  for (const auto& [index, address, length] : held_) {
    const auto link = links_.find(index);
    if (link != links_.end() && link->second.name == kVirtualDevice) continue;
    next.push_back({address, length, index, link == links_.end() ? "" : link->second.name,
                    link != links_.end() && link->second.loopback});
  }
  std::sort(next.begin(), next.end());
  if (next == current_) return false;
  current_ = std::move(next);
  return true;
}

Result<bool> Watcher::process() {
  const std::vector<InterfaceAddress> before = current_;
  while (true) {
    const Status status =
        notifications_.receive(false, [this](const netlink::Message& message) { take(message); });
    if (status.ok()) continue;
    if (status.system_errno() == EAGAIN) break;
    if (status.system_errno() != ENOBUFS) return status;
    list_due_ = true;  // some were lost
  }
  if (list_due_) RETURN_IF_ERROR(list());
  publish();
  return current_ != before;
}

}  // namespace

Result<std::unique_ptr<AddressWatcher>> AddressWatcher::open() {
  auto socket =
      netlink::Socket::open(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
  if (!socket) return socket.status();
  auto watcher = std::make_unique<Watcher>(std::move(*socket));
  RETURN_IF_ERROR(watcher->list());
  return std::unique_ptr<AddressWatcher>(std::move(watcher));
}

std::vector<Address> select_addresses(std::span<const InterfaceAddress> addresses,
                                      std::span<const Prefix> prefixes) {
  const auto selects = [](const Prefix& prefix, const Address& address) {
    if (!prefix.contains(address)) return false;
    if (prefix.length() > 0) return true;
    return !address.is_loopback() && (address.is_v4() || !address.is_link_local());
  };
  std::set<Address> chosen;
  for (const InterfaceAddress& held : addresses) {
    if (std::any_of(prefixes.begin(), prefixes.end(),
                    [&](const Prefix& prefix) { return selects(prefix, held.address); })) {
      chosen.insert(held.address);
    }
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace fairlead::proxy
