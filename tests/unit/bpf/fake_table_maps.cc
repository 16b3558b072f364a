#include "fake_table_maps.h"

#include <arpa/inet.h>

#include <cerrno>
#include <cstring>

#include "bpf/tables.h"

namespace fairlead::bpf::testing {

using dataplane::SocketAddress;

Kernel::Kernel(Capacity wanted)
    : capacity(wanted),
      entries(wanted.entries + 1),
      endpoints(wanted.endpoints + 1),
      ring_slots(wanted.ring_slots + 1) {}

template <typename Items, typename Do>
Status FakeTableMaps::each(const Items& items, const Do& do_one) {
  before_call();
  ++calls;
  for (const auto& item : items) {
    if (fail && fail()) return Status::from_errno(EIO, "write", "a map");
    RETURN_IF_ERROR(do_one(item));
  }
  return {};
}

Status FakeTableMaps::put_frontends(std::span<const FrontendRecord> records) {
  return each(records, [&](const FrontendRecord& record) -> Status {
    if (fail_key && fail_key(record.key)) return Status::from_errno(EIO, "write", "fl_frontends");
    if (!kernel_.frontends.contains(record.key) &&
        kernel_.frontends.size() >= kernel_.capacity.frontends) {
      return Status::from_errno(E2BIG, "write", "fl_frontends");
    }
    kernel_.frontends[record.key] = record.value;
    return {};
  });
}

Status FakeTableMaps::remove_frontends(std::span<const fl_frontend_key> keys) {
  return each(keys, [&](const fl_frontend_key& key) -> Status {
    if (fail_removal && fail_removal(key)) return Status::from_errno(EIO, "remove", "a frontend");
    kernel_.frontends.erase(key);
    return {};
  });
}

Result<std::vector<FrontendRecord>> FakeTableMaps::read_frontends() {
  if (fail && fail()) return Status::from_errno(EIO, "read", "fl_frontends");
  std::vector<FrontendRecord> records;
  for (const auto& [key, value] : kernel_.frontends) records.push_back({key, value});
  return records;
}

Status FakeTableMaps::put_prefixes(std::span<const fl_prefix_key> keys) {
  return each(keys, [&](const fl_prefix_key& key) -> Status {
    if (!kernel_.prefixes.contains(key) && kernel_.prefixes.size() >= kernel_.capacity.prefixes) {
      return Status::from_errno(ENOSPC, "write", "fl_prefixes");
    }
    kernel_.prefixes.insert(key);
    return {};
  });
}

Status FakeTableMaps::remove_prefixes(std::span<const fl_prefix_key> keys) {
  return each(keys, [&](const fl_prefix_key& key) -> Status {
    kernel_.prefixes.erase(key);
    return {};
  });
}

Result<std::vector<fl_prefix_key>> FakeTableMaps::read_prefixes() {
  if (fail && fail()) return Status::from_errno(EIO, "read", "fl_prefixes");
  return std::vector<fl_prefix_key>(kernel_.prefixes.begin(), kernel_.prefixes.end());
}

Status FakeTableMaps::wait_for_readers() {
  before_call();
  ++waits;
  if (fail && fail()) return Status::from_errno(EIO, "wait for", "readers");
  return {};
}

std::string describe(const dataplane::Target& target) {
  return target.address.to_string() + (target.maybe_local ? " here" : "");
}

namespace {

Answer broken(std::string why) {
  Answer answer;
  answer.kind = Answer::kBroken;
  answer.broken = std::move(why);
  return answer;
}

const fl_frontend* find(const Kernel& kernel, const SocketAddress& address,
                        dataplane::Protocol protocol) {
  const fl_frontend_key key{to_wire(address.address), to_network(address.port),
                            static_cast<fl_u8>(protocol), 0};
  const auto found = kernel.frontends.find(key);
  return found == kernel.frontends.end() ? nullptr : &found->second;
}

}  // namespace

Answer ask(const Kernel& kernel, const SocketAddress& address, dataplane::Protocol protocol,
           dataplane::SourceClass source) {
  Answer answer;
  const fl_frontend* const frontend = find(kernel, address, protocol);
  if (frontend == nullptr) {
    const fl_frontend_key marker{to_wire(address.address), 0, 0, 0};
    const auto known = kernel.frontends.find(marker);
    if (known == kernel.frontends.end()) return answer;
    if (known->second.id != 0 || known->second.kind != FL_KIND_CLUSTER_ADDRESS) {
      return broken("a marker that is none");
    }
    answer.kind = Answer::kRefused;
    return answer;
  }
  answer.id = frontend->id;
  if (answer.id == 0) return broken("a frontend without an id");
  const uint8_t route = frontend->route[static_cast<size_t>(source)];
  const int choice = route & FL_ROUTE_LOCAL ? FL_CHOICE_LOCAL : FL_CHOICE_CLUSTER;
  answer.masquerade = (route & FL_ROUTE_MASQUERADE) != 0;
  answer.restricted = (frontend->flags & FL_FRONTEND_SOURCE_RANGES) != 0;
  answer.skip_pods = (frontend->flags & FL_FRONTEND_SOCKETS_SKIP_PODS) != 0;
  if (frontend->entry == 0 || frontend->entry >= kernel.entries.size()) return broken("no entry");
  const fl_entry& entry = kernel.entries[frontend->entry];
  if (!entry.live) return broken("a dead entry");
  answer.affinity_seconds = entry.affinity_seconds;
  const uint64_t ring = entry.ring[choice];
  const uint64_t size = FL_RING_SIZE(ring);
  if (size == 0) {
    answer.kind = entry.when_empty[choice] == FL_EMPTY_DROP ? Answer::kDrop : Answer::kReject;
    return answer;
  }
  answer.kind = Answer::kTargets;
  if (FL_RING_OFFSET(ring) == 0 || FL_RING_OFFSET(ring) + size > kernel.ring_slots.size()) {
    return broken("a ring outside the map");
  }
  std::map<uint32_t, uint32_t> shares;
  for (uint64_t s = 0; s < size; ++s) ++shares[kernel.ring_slots[FL_RING_OFFSET(ring) + s]];
  const int member = choice == FL_CHOICE_LOCAL ? FL_ENDPOINT_LOCAL : FL_ENDPOINT_CLUSTER;
  for (const auto& [index, slots] : shares) {
    if (index == 0 || index >= kernel.endpoints.size()) return broken("a slot of no endpoint");
    const fl_endpoint& endpoint = kernel.endpoints[index];
    if (endpoint.entry != frontend->entry) return broken("another entry's endpoint");
    if (endpoint.generation == 0) return broken("an endpoint without a generation");
    if (!(endpoint.flags & member)) return broken("an endpoint of the other choice");
    answer.targets[describe({{from_wire(endpoint.address), to_network(endpoint.port)},
                             (endpoint.flags & FL_ENDPOINT_MAYBE_HERE) != 0})] += slots;
  }
  return answer;
}

bool source_passes(const Kernel& kernel, const SocketAddress& address, dataplane::Protocol protocol,
                   const dataplane::Address& source) {
  const fl_frontend* const frontend = find(kernel, address, protocol);
  if (frontend == nullptr) return false;
  if (!(frontend->flags & FL_FRONTEND_SOURCE_RANGES)) return true;
  const fl_addr wire = to_wire(source);
  const auto* const bytes = reinterpret_cast<const uint8_t*>(&wire);
  for (const fl_prefix_key& key : kernel.prefixes) {
    if (ntohl(key.domain) != frontend->entry) continue;
    const auto* const base = reinterpret_cast<const uint8_t*>(&key.address);
    bool inside = true;
    for (uint32_t bit = 0; bit + FL_PREFIX_FIXED_BITS < key.prefix_bits; ++bit) {
      inside &= ((bytes[bit / 8] ^ base[bit / 8]) >> (7 - bit % 8) & 1) == 0;
    }
    if (inside) return true;
  }
  return false;
}

}  // namespace fairlead::bpf::testing
