#include "bpf/tables_render.h"

#include <arpa/inet.h>

#include <algorithm>

#include "bpf/tables.h"
#include "dataplane/maglev.h"

namespace fairlead::bpf {

using dataplane::Address;
using dataplane::Choice;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::FrontendKind;
using dataplane::Route;
using dataplane::SourceClass;
using dataplane::Target;

static_assert(static_cast<int>(FrontendKind::kClusterIp) == FL_KIND_CLUSTER_IP &&
              static_cast<int>(FrontendKind::kExternalIp) == FL_KIND_EXTERNAL_IP &&
              static_cast<int>(FrontendKind::kLoadBalancer) == FL_KIND_LOAD_BALANCER &&
              static_cast<int>(FrontendKind::kNodePort) == FL_KIND_NODE_PORT);
static_assert(static_cast<int>(SourceClass::kPod) == FL_SOURCE_POD &&
              static_cast<int>(SourceClass::kNode) == FL_SOURCE_NODE &&
              static_cast<int>(SourceClass::kOther) == FL_SOURCE_OTHER &&
              dataplane::kSourceClassCount == FL_SOURCE_CLASSES);
static_assert(static_cast<int>(Choice::kCluster) == FL_CHOICE_CLUSTER &&
              static_cast<int>(Choice::kLocal) == FL_CHOICE_LOCAL);
static_assert(static_cast<int>(dataplane::EmptyVerdict::kReject) == FL_EMPTY_REJECT &&
              static_cast<int>(dataplane::EmptyVerdict::kDrop) == FL_EMPTY_DROP);

fl_addr to_wire(const Address& address) {
  fl_addr wire{};
  auto* const bytes = reinterpret_cast<uint8_t*>(&wire);
  const std::span<const uint8_t> source = address.bytes();
  if (address.is_v4()) bytes[10] = bytes[11] = 0xff;
  std::copy(source.begin(), source.end(), bytes + 16 - source.size());
  return wire;
}

Address from_wire(const fl_addr& address) {
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &address, sizeof address);
  return Address::v6(bytes);
}

int compare_places(const fl_addr& a, fl_be16 a_port, const fl_addr& b, fl_be16 b_port) {
  const int order = std::memcmp(&a, &b, sizeof a);
  return order != 0 ? order : int{ntohs(a_port)} - int{ntohs(b_port)};
}

std::vector<WantedEndpoint> wanted_endpoints(const ForwardingEntry& entry) {
  std::vector<WantedEndpoint> wanted;
  wanted.reserve(std::max(entry.cluster.targets.size(), entry.local.targets.size()));
  const auto add = [&](const std::vector<Target>& targets, uint8_t choice) {
    for (const Target& target : targets) {
      const int here = target.maybe_local ? FL_ENDPOINT_MAYBE_HERE : 0;
      wanted.push_back({to_wire(target.address.address), to_network(target.address.port),
                        static_cast<uint8_t>(choice | here)});
    }
  };
  add(entry.cluster.targets, FL_ENDPOINT_CLUSTER);
  add(entry.local.targets, FL_ENDPOINT_LOCAL);
  const auto before = [](const WantedEndpoint& a, const WantedEndpoint& b) {
    return compare_places(a.address, a.port, b.address, b.port) < 0;
  };
  if (!std::is_sorted(wanted.begin(), wanted.end(), before)) {
    std::sort(wanted.begin(), wanted.end(), before);
  }
  size_t kept = 0;
  for (const WantedEndpoint& next : wanted) {
    if (kept > 0 && !before(wanted[kept - 1], next)) {
      wanted[kept - 1].flags |= next.flags;
    } else {
      wanted[kept++] = next;
    }
  }
  wanted.resize(kept);
  return wanted;
}

bool ring_is_maglev(const ForwardingEntry& entry, Choice choice) {
  const size_t count = entry.choice(choice).targets.size();
  if (choice != Choice::kCluster || count == 0 || dataplane::maglev_table_size(count) < count) {
    return false;
  }
  return std::any_of(entry.frontends.begin(), entry.frontends.end(), [&](const Frontend& frontend) {
    return frontend.kind != FrontendKind::kClusterIp &&
           frontend.route(SourceClass::kOther).choice == choice;
  });
}

std::vector<uint32_t> ring_of(const ForwardingEntry& entry, Choice choice,
                              std::span<const WantedEndpoint> wanted,
                              std::span<const uint32_t> indexes) {
  const std::vector<Target>& targets = entry.choice(choice).targets;
  std::vector<uint32_t> list;
  list.reserve(targets.size());
  for (const Target& target : targets) {
    const fl_addr address = to_wire(target.address.address);
    const fl_be16 port = to_network(target.address.port);
    const auto found =
        std::partition_point(wanted.begin(), wanted.end(), [&](const WantedEndpoint& endpoint) {
          return compare_places(endpoint.address, endpoint.port, address, port) < 0;
        });
    list.push_back(indexes[static_cast<size_t>(found - wanted.begin())]);
  }
  if (!ring_is_maglev(entry, choice)) return list;
  std::vector<uint32_t> ring =
      dataplane::maglev_table(targets, dataplane::maglev_table_size(targets.size()));
  for (uint32_t& slot : ring) slot = list[slot];
  return ring;
}

fl_frontend_key frontend_key(const Frontend& frontend, dataplane::Protocol protocol) {
  return {to_wire(frontend.address.address), to_network(frontend.address.port),
          static_cast<fl_u8>(protocol), 0};
}

bool has_frontend(const ForwardingEntry& entry, const fl_frontend_key& key) {
  return std::any_of(entry.frontends.begin(), entry.frontends.end(), [&](const Frontend& frontend) {
    return same_bytes(frontend_key(frontend, entry.key.protocol), key);
  });
}

std::vector<FrontendRecord> wanted_frontends(const ForwardingEntry& entry, uint32_t index) {
  std::vector<FrontendRecord> records;
  records.reserve(entry.frontends.size());
  for (const Frontend& frontend : entry.frontends) {
    FrontendRecord record{frontend_key(frontend, entry.key.protocol), {}};
    record.value.entry = index;
    record.value.kind = static_cast<fl_u8>(frontend.kind);
    if (frontend.source_ranges_apply) record.value.flags |= FL_FRONTEND_SOURCE_RANGES;
    if (frontend.kind == FrontendKind::kClusterIp && frontend.route(SourceClass::kPod).masquerade) {
      record.value.flags |= FL_FRONTEND_SOCKETS_SKIP_PODS;
    }
    for (size_t source = 0; source < dataplane::kSourceClassCount; ++source) {
      const Route& route = frontend.routes[source];
      record.value.route[source] =
          static_cast<fl_u8>((route.choice == Choice::kLocal ? FL_ROUTE_LOCAL : 0) |
                             (route.masquerade ? FL_ROUTE_MASQUERADE : 0));
    }
    const bool repeated =
        std::any_of(records.begin(), records.end(),
                    [&](const FrontendRecord& other) { return same_bytes(other.key, record.key); });
    if (!repeated) records.push_back(record);
  }
  return records;
}

std::vector<fl_addr> cluster_addresses_of(const ForwardingEntry& entry) {
  std::vector<fl_addr> addresses;
  for (const Frontend& frontend : entry.frontends) {
    if (frontend.kind != FrontendKind::kClusterIp) continue;
    const fl_addr address = to_wire(frontend.address.address);
    const bool repeated =
        std::any_of(addresses.begin(), addresses.end(),
                    [&](const fl_addr& other) { return same_bytes(other, address); });
    if (!repeated) addresses.push_back(address);
  }
  return addresses;
}

FrontendRecord cluster_address_record(const fl_addr& address) {
  FrontendRecord record{};
  record.key.address = address;
  record.value.kind = FL_KIND_CLUSTER_ADDRESS;
  return record;
}

fl_prefix_key prefix_key(uint32_t domain, const dataplane::Prefix& prefix) {
  const uint32_t bits = prefix.length() + (prefix.base().is_v4() ? 96U : 0U);
  return {FL_PREFIX_FIXED_BITS + bits, htonl(domain), to_wire(prefix.base())};
}

uint32_t domain_of(const fl_prefix_key& key) {
  return ntohl(key.domain);
}

std::vector<fl_prefix_key> wanted_prefixes(const ForwardingEntry& entry, uint32_t index) {
  std::vector<fl_prefix_key> keys;
  keys.reserve(entry.source_ranges.size());
  for (const dataplane::Prefix& range : entry.source_ranges) {
    const fl_prefix_key key = prefix_key(index, range);
    if (keys.empty() || !same_bytes(keys.back(), key)) keys.push_back(key);
  }
  return keys;
}

}  // namespace fairlead::bpf
