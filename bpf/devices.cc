#include "bpf/devices.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>

#include "base/netlink.h"

namespace fairlead::bpf {
namespace {

using dataplane::Address;
using dataplane::Family;

size_t index_of(Family family) {
  return family == Family::kIPv4 ? 0 : 1;
}

std::optional<Device> parse_link(netlink::Bytes payload) {
  const auto head = netlink::take_header<ifinfomsg>(payload);
  if (!head || head->ifi_family != AF_UNSPEC) return std::nullopt;  // AF_BRIDGE: a bridge's news
  Device device;
  device.index = static_cast<uint32_t>(head->ifi_index);
  device.flags = head->ifi_flags & (IFF_UP | IFF_LOOPBACK);
  device.type = head->ifi_type;
  netlink::for_each_attribute(payload, [&](const netlink::Attribute& attribute) {
    if (attribute.type == IFLA_IFNAME) device.name = attribute.text();
    if (attribute.type == IFLA_MTU) device.mtu = attribute.as<uint32_t>().value_or(0);
    if (attribute.type == IFLA_MASTER) device.master = attribute.as<uint32_t>().value_or(0);
    if (attribute.type == IFLA_LINK) device.parent = attribute.as<uint32_t>().value_or(0);
    if (attribute.type != IFLA_LINKINFO) return;
    netlink::for_each_attribute(attribute.payload, [&](const netlink::Attribute& inner) {
      if (inner.type == IFLA_INFO_KIND) device.kind = inner.text();
    });
  });
  return device;
}

struct ParsedAddress {
  HeldAddress held;
  bool usable = true;
};

std::optional<ParsedAddress> parse_address(netlink::Bytes payload) {
  const auto head = netlink::take_header<ifaddrmsg>(payload);
  if (!head || (head->ifa_family != AF_INET && head->ifa_family != AF_INET6)) return std::nullopt;
  uint32_t flags = head->ifa_flags;
  std::optional<Address> local, address;
  netlink::for_each_attribute(payload, [&](const netlink::Attribute& attribute) {
    // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL ours.
    if (attribute.type == IFA_LOCAL) local = Address::from_bytes(attribute.payload);
    if (attribute.type == IFA_ADDRESS) address = Address::from_bytes(attribute.payload);
    if (attribute.type == IFA_FLAGS) flags = attribute.as<uint32_t>().value_or(flags);
  });
  const auto ours = local ? local : address;
  if (!ours) return std::nullopt;
  ParsedAddress result;
  result.held = {head->ifa_index, *ours, head->ifa_prefixlen,
                 head->ifa_scope < RT_SCOPE_LINK && !ours->is_loopback(),
                 (flags & (IFA_F_SECONDARY | IFA_F_DEPRECATED | IFA_F_TENTATIVE)) == 0};
  result.usable = (flags & IFA_F_DADFAILED) == 0;
  return result;
}

class Watcher final : public DeviceWatcher {
 public:
  Watcher(netlink::Socket notifications, netlink::Socket requests)
      : notifications_(std::move(notifications)), requests_(std::move(requests)) {}

  Status list();
  int fd() const override { return notifications_.fd(); }
  Result<bool> process() override;
  const NodeView& view() const override { return view_; }

 private:
  static void take(const netlink::Message& message, NodeView& view);
  Status dump(NodeView& view);
  void ask_preferred(NodeView& view);

  netlink::Socket notifications_;
  netlink::Socket requests_;
  NodeView view_;
  bool list_due_ = false;
};

void Watcher::take(const netlink::Message& message, NodeView& view) {
  switch (message.type) {
    case RTM_NEWLINK:
      if (auto device = parse_link(message.payload)) {
        view.devices[device->index] = std::move(*device);
      }
      break;
    case RTM_DELLINK:
      if (const auto device = parse_link(message.payload)) view.devices.erase(device->index);
      break;
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const auto parsed = parse_address(message.payload);
      if (!parsed) break;
      const auto same =
          std::find_if(view.addresses.begin(), view.addresses.end(), [&](const HeldAddress& held) {
            return held.device == parsed->held.device && held.address == parsed->held.address &&
                   held.prefix_length == parsed->held.prefix_length;
          });
      const bool wanted = message.type == RTM_NEWADDR && parsed->usable;
      if (same == view.addresses.end()) {
        if (wanted) view.addresses.push_back(parsed->held);
      } else if (wanted) {
        *same = parsed->held;
      } else {
        view.addresses.erase(same);
      }
      break;
    }
    default:
      break;
  }
}

Status Watcher::dump(NodeView& view) {
  const auto visit = [&](const netlink::Message& message) { take(message, view); };
  netlink::MessageBuilder links(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP);
  RETURN_IF_ERROR(requests_.list(links.header(ifinfomsg{}), visit));
  netlink::MessageBuilder addresses(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP);
  return requests_.list(addresses.header(ifaddrmsg{}), visit);
}

// What the kernel would write as the source towards an address that only a default route reaches.
// Nothing is sent.
void Watcher::ask_preferred(NodeView& view) {
  const std::array<Address, 2> outside = {*Address::parse("240.0.0.1"), *Address::parse("3ffe::1")};
  for (const Address& destination : outside) {
    std::optional<Address> source;
    rtmsg head{};
    head.rtm_family = destination.is_v4() ? AF_INET : AF_INET6;
    head.rtm_dst_len = destination.is_v4() ? 32 : 128;
    netlink::MessageBuilder request(RTM_GETROUTE, NLM_F_REQUEST);
    request.header(head).attribute(RTA_DST, destination.bytes());
    const Status answered = requests_.ask(request, [&](const netlink::Message& message) {
      netlink::Bytes payload = message.payload;
      const auto answer = netlink::take_header<rtmsg>(payload);
      if (!answer || answer->rtm_type != RTN_UNICAST) return;
      netlink::for_each_attribute(payload, [&](const netlink::Attribute& attribute) {
        if (attribute.type == RTA_PREFSRC) source = Address::from_bytes(attribute.payload);
      });
    });
    if (!answered || (source && source->is_link_local())) source.reset();
    view.preferred[index_of(destination.family())] = source;
  }
}

// What changes while this runs is in the notifications, which are read afterwards: replaying them
// ends in the same state.
Status Watcher::list() {
  list_due_ = true;
  constexpr int kAttempts = 10;
  for (int attempt = 1;; ++attempt) {
    NodeView fresh;
    const Status dumped = dump(fresh);
    if (!dumped && (dumped.system_errno() != EAGAIN || attempt == kAttempts)) return dumped;
    if (!dumped) continue;
    ask_preferred(fresh);
    view_ = std::move(fresh);
    list_due_ = false;
    return {};
  }
}

Result<bool> Watcher::process() {
  std::optional<NodeView> before;  // copied when there is news: most calls find none
  while (true) {
    const Status status = notifications_.receive(false, [&](const netlink::Message& message) {
      if (!before) before = view_;
      take(message, view_);
    });
    if (status.ok()) continue;
    if (status.system_errno() == EAGAIN) break;
    if (status.system_errno() != ENOBUFS) return status;
    list_due_ = true;
  }
  if (!list_due_ && !before) return false;
  if (!before) before = view_;
  if (list_due_) {
    RETURN_IF_ERROR(list());
  } else if (!(view_ == *before)) {
    ask_preferred(view_);
  }
  return !(view_ == *before);
}

// Kinds that carry nobody's traffic: they hold addresses, mirror, or hand packets of other devices
// through.
bool idle_kind(const std::string& kind) {
  return kind == "dummy" || kind == "ifb" || kind == "nlmon" || kind == "vrf" || kind == "vcan";
}

bool carries_ip(const Device& device) {
  switch (device.type) {
    case ARPHRD_ETHER:
    case ARPHRD_NONE:  // tun, WireGuard, xfrm
    case ARPHRD_TUNNEL:
    case ARPHRD_TUNNEL6:
    case ARPHRD_SIT:
    case ARPHRD_IPGRE:
    case ARPHRD_IP6GRE:
    case ARPHRD_PPP:
    case ARPHRD_RAWIP:
      return true;
    default:
      return false;
  }
}

bool matches(const std::string& name, const std::string& pattern) {
  if (!pattern.ends_with('+')) return name == pattern;
  return name.starts_with(pattern.substr(0, pattern.size() - 1));
}

class Planner {
 public:
  Planner(const NodeView& view, const Options& options, const dataplane::SourceDetector& detector)
      : view_(view), options_(options), detector_(detector) {}

  std::vector<DevicePlan> plan() const;

 private:
  bool candidate(const Device& device) const;
  bool guest_port(const Device& device) const;
  bool below_another(const Device& device) const;
  template <typename Predicate>
  bool below_a_vlan(const Device& device, Predicate of_which) const;
  bool pods(const Device& device) const;
  void plan_xdp(const Device& device, DevicePlan& plan) const;

  const NodeView& view_;
  const Options& options_;
  const dataplane::SourceDetector& detector_;
};

bool Planner::candidate(const Device& device) const {
  return device.up() && !device.loopback() && !idle_kind(device.kind) && carries_ip(device);
}

// A bridge's port behind which a pod or a guest is. It gets `fl_ingress` beside the bridge: what
// two of them say to each other never reaches the bridge's own device.
bool Planner::guest_port(const Device& device) const {
  const Device* const master = view_.find(device.master);
  return master != nullptr && master->kind == "bridge" &&
         (device.kind == "veth" || device.kind == "tun");
}

// Whether what it carries passes a device above it that is served.
bool Planner::below_another(const Device& device) const {
  if (const Device* const master = view_.find(device.master)) {
    const bool gathers =
        master->kind == "bridge" || master->kind == "bond" || master->kind == "team";
    if (gathers && candidate(*master) && !guest_port(device)) return true;
  }
  const bool has_address = std::any_of(
      view_.addresses.begin(), view_.addresses.end(),
      [&](const HeldAddress& held) { return held.device == device.index && held.global; });
  return !has_address &&
         below_a_vlan(device, [this](const Device& vlan) { return candidate(vlan); });
}

template <typename Predicate>
bool Planner::below_a_vlan(const Device& device, Predicate of_which) const {
  return std::any_of(view_.devices.begin(), view_.devices.end(), [&](const auto& each) {
    const Device& vlan = each.second;
    return vlan.kind == "vlan" && vlan.parent == device.index && of_which(vlan);
  });
}

bool Planner::pods(const Device& device) const {
  const auto named = [this](const Device& each) {
    return (!detector_.bridge_interface.empty() && each.name == detector_.bridge_interface) ||
           (!detector_.interface_name_prefix.empty() &&
            each.name.starts_with(detector_.interface_name_prefix));
  };
  const Device* const master = view_.find(device.master);
  return named(device) || (master != nullptr && guest_port(device) && named(*master));
}

void Planner::plan_xdp(const Device& device, DevicePlan& plan) const {
  const bool automatic = options_.xdp == XdpChoice::kAuto;
  if (options_.xdp == XdpChoice::kOff) {
    plan.xdp_off = "not wanted";
  } else if (!device.ethernet()) {
    plan.xdp_off = "no Ethernet header";
  } else if (plan.pods || guest_port(device)) {
    plan.xdp_off = "pods are behind it";
  } else if (below_a_vlan(device, [](const Device& vlan) { return vlan.up(); })) {
    // The device takes tags off before XDP sees the frame: generic XDP would send it with the tag
    // that it came with, and either takes the VLAN's frames for the device's own.
    plan.xdp_off = "a VLAN is stacked on it";
  } else if (automatic && device.kind == "veth") {
    plan.xdp_off = "it would slow a veth down";
  } else if (automatic && !device.kind.empty() && device.kind != "bond") {
    plan.xdp_off = "a virtual device of kind " + device.kind;
  } else if (automatic) {
    plan.xdp = {XdpMode::kNative, XdpMode::kGeneric};
  } else {
    plan.xdp = {options_.xdp == XdpChoice::kNative ? XdpMode::kNative : XdpMode::kGeneric};
  }
}

std::vector<DevicePlan> Planner::plan() const {
  std::vector<DevicePlan> result;
  for (const auto& [index, device] : view_.devices) {
    if (!options_.devices.empty()) {
      const bool named = std::any_of(
          options_.devices.begin(), options_.devices.end(),
          [&name = device.name](const std::string& pattern) { return matches(name, pattern); });
      if (!named || !device.up() || device.loopback() || !carries_ip(device)) continue;
    } else if (!candidate(device) || below_another(device)) {
      continue;
    }
    DevicePlan plan;
    plan.index = index;
    plan.name = device.name;
    plan.egress = !guest_port(device);  // what the node sends passes the bridge's own egress
    plan.pods = pods(device);
    plan_xdp(device, plan);
    result.push_back(std::move(plan));
  }
  return result;
}

}  // namespace

bool Device::up() const {
  return (flags & IFF_UP) != 0;
}
bool Device::loopback() const {
  return (flags & IFF_LOOPBACK) != 0;
}
bool Device::ethernet() const {
  return type == ARPHRD_ETHER;
}

const Device* NodeView::find(uint32_t index) const {
  const auto found = devices.find(index);
  return found == devices.end() ? nullptr : &found->second;
}

std::optional<Address> NodeView::source(uint32_t device, Family family) const {
  std::optional<Address> second_best;
  for (const HeldAddress& held : addresses) {
    if (held.device != device || !held.global || held.address.family() != family) continue;
    if (held.primary) return held.address;
    if (!second_best) second_best = held.address;
  }
  return second_best;
}

std::optional<Address> NodeView::source(Family family) const {
  if (preferred[index_of(family)]) return preferred[index_of(family)];
  std::optional<Address> of_loopback;
  for (const auto& [index, device] : devices) {
    const auto found = source(index, family);
    if (found && !device.loopback() && !idle_kind(device.kind)) return found;
    if (found && device.loopback()) of_loopback = found;
  }
  return of_loopback;
}

std::string_view to_string(XdpMode mode) {
  return mode == XdpMode::kNative ? "native" : "generic";
}

Result<std::unique_ptr<DeviceWatcher>> DeviceWatcher::open(int receive_buffer) {
  auto notifications = netlink::Socket::open(
      NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, receive_buffer);
  if (!notifications) return notifications.status();
  auto requests = netlink::Socket::open(NETLINK_ROUTE);
  if (!requests) return requests.status();
  auto watcher = std::make_unique<Watcher>(std::move(*notifications), std::move(*requests));
  RETURN_IF_ERROR(watcher->list());
  return std::unique_ptr<DeviceWatcher>(std::move(watcher));
}

std::vector<DevicePlan> plan_devices(const NodeView& view, const Options& options,
                                     const dataplane::SourceDetector& detector) {
  return Planner(view, options, detector).plan();
}

}  // namespace fairlead::bpf
