#include "bpf/node_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "base/fd.h"
#include "bpf/system.h"
#include "bpf/tables.h"
#include "bpf/tables_render.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace fairlead::bpf {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::NodeRules;
using dataplane::Prefix;

fl_addr wire_or_zero(const std::optional<Address>& address) {
  return address ? to_wire(*address) : fl_addr{};
}

template <typename T>
std::string bytes_of(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

uint32_t seconds(std::chrono::seconds duration) {
  return static_cast<uint32_t>(duration.count());
}

uint32_t possible_cpus() {
  const int found = libbpf_num_possible_cpus();
  return found > 0 ? static_cast<uint32_t>(found) : 1;
}

fl_config config_of(const NodeView& view, const NodeRules& rules, const Options& options) {
  fl_config config{};
  config.source_v4 = wire_or_zero(view.source(Family::kIPv4));
  config.source_v6 = wire_or_zero(view.source(Family::kIPv6));
  // Ports are divided by every number that the running CPU can have, not by how many run.
  config.cpus = possible_cpus();
  config.tcp_established_seconds = seconds(options.tcp_established);
  config.tcp_closing_seconds = seconds(options.tcp_closing);
  config.udp_seconds = seconds(options.udp);
  config.udp_stream_seconds = seconds(options.udp_stream);
  config.snat_first = options.snat_first;
  config.snat_last = options.snat_last;
  config.dsr = options.dsr == Dsr::kIpip ? FL_DSR_IPIP : FL_DSR_OFF;
  const dataplane::SourceDetector& detector = rules.detector;
  const bool by_device =
      !detector.bridge_interface.empty() || !detector.interface_name_prefix.empty();
  for (fl_u8& family : config.has_detector) family = by_device;
  for (const Prefix& prefix : detector.pod_prefixes) {
    config.has_detector[prefix.base().is_v4() ? 0 : 1] = 1;
  }
  return config;
}

bool answers_node_ports(const NodeRules& rules, const Address& address) {
  return rules.node_ports_everywhere(address.family()) ||
         std::find(rules.node_port_addresses.begin(), rules.node_port_addresses.end(), address) !=
             rules.node_port_addresses.end();
}

// Makes a hash map hold exactly `wanted`. The number of elements that it did not hold so.
template <typename Key, typename Value>
Result<uint64_t> make_equal(const MapHandle& map, std::map<std::string, Value> wanted) {
  Elements held;
  ASSIGN_OR_RETURN(held, read_all(map));
  std::vector<std::byte> gone;
  for (size_t i = 0; i < held.count; ++i) {
    const std::byte* const key = held.keys.data() + i * sizeof(Key);
    const auto found = wanted.find(std::string(reinterpret_cast<const char*>(key), sizeof(Key)));
    if (found == wanted.end()) {
      gone.insert(gone.end(), key, key + sizeof(Key));
    } else if (std::memcmp(held.values.data() + i * sizeof(Value), &found->second, sizeof(Value)) ==
               0) {
      wanted.erase(found);
    }
  }
  std::string keys;
  std::vector<Value> values;
  for (const auto& [key, value] : wanted) {
    keys += key;
    values.push_back(value);
  }
  if (!values.empty()) {
    RETURN_IF_ERROR(update_all(map, keys.data(), values.data(), values.size()));
  }
  const size_t gone_count = gone.size() / sizeof(Key);
  if (gone_count != 0) RETURN_IF_ERROR(remove_all(map, gone.data(), gone_count));
  return values.size() + gone_count;
}

}  // namespace

NodeContent node_content(const NodeView& view, const NodeRules& rules,
                         std::span<const ServedDevice> served, const Options& options) {
  NodeContent content;
  std::map<Address, uint32_t> addresses;
  for (const HeldAddress& held : view.addresses) {
    if (held.address.is_loopback()) continue;
    // Virtual addresses that mode ipvs has left for its last connections have no node ports.
    const Device* const device = view.find(held.device);
    const bool is_virtual = device != nullptr && device->name == dataplane::kVirtualDevice;
    addresses[held.address] =
        !is_virtual && answers_node_ports(rules, held.address) ? FL_NODE_ADDRESS_NODE_PORTS : 0;
  }
  for (const auto& [address, flags] : addresses) {
    content.addresses.push_back({to_wire(address), {flags}});
  }

  // A program that runs at the driver can send only to another driver that takes such packets; one
  // that runs above it to any device, but then all of them have to.
  const bool any_native = std::any_of(served.begin(), served.end(), [](const ServedDevice& each) {
    return each.xdp == XdpMode::kNative;
  });
  for (const ServedDevice& each : served) {
    fl_device value{};
    const uint32_t index = each.plan.index;
    value.source_v4 = wire_or_zero(view.source(index, Family::kIPv4));
    value.source_v6 = wire_or_zero(view.source(index, Family::kIPv6));
    if (each.plan.pods) value.flags |= FL_DEVICE_PODS;
    if (each.xdp && (*each.xdp == XdpMode::kNative || !any_native)) value.flags |= FL_DEVICE_XDP;
    const Device* const device = view.find(index);
    value.mtu = device == nullptr ? 0 : device->mtu;
    content.devices.push_back({index, value});
  }

  for (const Prefix& prefix : rules.detector.pod_prefixes) {
    content.prefixes.push_back(prefix_key(FL_DOMAIN_PODS, prefix));
  }
  for (const Prefix& prefix : rules.service_prefixes) {
    content.prefixes.push_back(prefix_key(FL_DOMAIN_SERVICES, prefix));
  }
  content.config = config_of(view, rules, options);
  return content;
}

NodeMaps::NodeMaps(TableMaps& maps, Descriptors descriptors, uint32_t return_classes)
    : maps_(maps), descriptors_(descriptors), return_classes_(return_classes) {}

Result<uint64_t> NodeMaps::put(const NodeContent& content) {
  std::map<std::string, fl_node_address> addresses;
  for (const auto& [address, value] : content.addresses) addresses[bytes_of(address)] = value;
  std::map<std::string, fl_device> devices;
  for (const auto& [index, value] : content.devices) devices[bytes_of(index)] = value;
  size_ = addresses.size() + devices.size() + content.prefixes.size() + 1;

  uint64_t changes = put_config(content.config);
  const auto add = [&changes](const Result<uint64_t>& done) {
    if (done) changes += *done;
    return done.status();
  };
  RETURN_IF_ERROR(add(make_equal<fl_addr>({descriptors_.addresses, "fl_node_addresses", {}},
                                          std::move(addresses))));
  RETURN_IF_ERROR(
      add(make_equal<uint32_t>({descriptors_.devices, "fl_devices", {}}, std::move(devices))));
  RETURN_IF_ERROR(add(put_prefixes(content.prefixes)));
  return changes;
}

Result<uint64_t> NodeMaps::put_prefixes(const std::vector<fl_prefix_key>& wanted) {
  std::set<std::string> missing;
  for (const fl_prefix_key& key : wanted) missing.insert(bytes_of(key));
  std::vector<fl_prefix_key> held;
  ASSIGN_OR_RETURN(held, maps_.read_prefixes());
  std::vector<fl_prefix_key> gone;
  for (const fl_prefix_key& key : held) {
    if (key.domain != htonl(FL_DOMAIN_PODS) && key.domain != htonl(FL_DOMAIN_SERVICES)) continue;
    if (missing.erase(bytes_of(key)) == 0) gone.push_back(key);
  }
  std::vector<fl_prefix_key> fresh;
  for (const std::string& bytes : missing) {
    fl_prefix_key key;
    std::memcpy(&key, bytes.data(), sizeof key);
    fresh.push_back(key);
  }
  if (!fresh.empty()) RETURN_IF_ERROR(maps_.put_prefixes(fresh));
  if (!gone.empty()) RETURN_IF_ERROR(maps_.remove_prefixes(gone));
  return fresh.size() + gone.size();
}

// Field by field, and only what differs: programs read meanwhile, and `hz`, `next_frontend_id` and
// `refuse_new_flows` are others'.
uint64_t NodeMaps::put_config(const fl_config& wanted) {
  fl_config& held = maps_.config();
  uint64_t changes = 0;
  const auto put = [&](auto& field, const auto& value) {
    static_assert(sizeof field == sizeof value);
    if (std::memcmp(&field, &value, sizeof field) == 0) return;
    std::memcpy(&field, &value, sizeof field);
    changes = 1;
  };
  put(held.source_v4, wanted.source_v4);
  put(held.source_v6, wanted.source_v6);
  put(held.host_netns_cookie, wanted.host_netns_cookie);
  put(held.return_classes, return_classes_);
  put(held.cpus, wanted.cpus);
  put(held.tcp_established_seconds, wanted.tcp_established_seconds);
  put(held.tcp_closing_seconds, wanted.tcp_closing_seconds);
  put(held.udp_seconds, wanted.udp_seconds);
  put(held.udp_stream_seconds, wanted.udp_stream_seconds);
  put(held.snat_first, wanted.snat_first);
  put(held.snat_last, wanted.snat_last);
  put(held.has_detector, wanted.has_detector);
  put(held.dsr, wanted.dsr);
  put(held.handover, wanted.handover);
  return changes;
}

bool is_node_address(int map, const fl_addr& address) {
  fl_node_address own;
  return bpf_map_lookup_elem(map, &address, &own) == 0;
}

std::optional<std::pair<uint16_t, uint16_t>> local_port_range() {
  std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
  std::pair<uint16_t, uint16_t> range;
  if (file >> range.first >> range.second) return range;
  return std::nullopt;
}

Result<uint64_t> netns_cookie() {
  const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (!any.valid() || ::getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) {
    return Status::from_errno(errno, "read", "the cookie of the network namespace");
  }
  return cookie;
}

}  // namespace fairlead::bpf
