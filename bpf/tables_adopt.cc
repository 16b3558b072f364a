// Takes over what an earlier run left. The maps name no services: which index an entry had follows
// from its frontends' records, which endpoint is which from its place.
#include <algorithm>

#include "bpf/tables_state.h"

namespace fairlead::bpf {

using dataplane::EntryKey;
using dataplane::ForwardingEntry;

namespace {

// The end of what was ever used of `fl_endpoints`: indexes are given out from below, and each that
// was ever given out has a generation. More than one gap of this many is not believed in.
constexpr size_t kLongestGap = 1024;

}  // namespace

Status Tables::State::adopt() {
  // Starts over.
  records.assign(1, {});
  by_key.clear();
  generations.clear();
  frontends.clear();
  stale_frontends.clear();
  prefixes.clear();
  stale_prefixes.clear();
  address_uses.clear();
  leaving_entries.clear();
  leaving_endpoints.clear();
  leaving_runs.clear();
  leaving_slots = 0;
  ring_space = RangeAllocator(1, static_cast<uint32_t>(ring_slots.size()));
  adopted = {};
  adopted.pending = true;

  std::vector<FrontendRecord> found;
  ASSIGN_OR_RETURN(found, maps.read_frontends());
  std::vector<fl_prefix_key> found_prefixes;
  ASSIGN_OR_RETURN(found_prefixes, maps.read_prefixes());
  foreign_prefixes = 0;
  for (const fl_prefix_key& key : found_prefixes) {
    const uint32_t domain = domain_of(key);
    if (domain == FL_DOMAIN_PODS || domain == FL_DOMAIN_SERVICES) {
      ++foreign_prefixes;
    } else {
      prefixes.insert(key);
    }
  }

  boost::unordered_flat_set<uint32_t> ids;
  std::vector<bool> taken(1);
  uint32_t last_id = 0;
  for (const auto& [key, value] : found) {
    frontends.insert_or_assign(key, value);
    if (is_cluster_address(key)) continue;
    const bool sound = value.kind < FL_KIND_CLUSTER_ADDRESS && key.port != 0 && value.entry != 0 &&
                       value.entry < entries.size() && entries[value.entry].live != 0 &&
                       entries[value.entry].protocol == key.protocol && value.id != 0 &&
                       value.id >> 31 == 0 && ids.insert(value.id).second;
    if (!sound) {
      adopted.distrusted.insert(key);
      continue;
    }
    last_id = std::max(last_id, value.id);
    if (taken.size() <= value.entry) taken.resize(value.entry + 1);
    taken[value.entry] = true;
  }
  uint32_t& next_id = maps.config().next_frontend_id;
  if (next_id <= last_id || next_id >> 31 != 0) next_id = last_id + 1;

  entry_ids.adopt(taken);
  records.resize(taken.size());
  for (uint32_t index = 1; index < taken.size(); ++index) {
    if (taken[index]) adopt_entry(index);
  }
  adopt_endpoints();
  // Programs that an earlier run did not wait for may still see what it gave up.
  if (found.empty() && generations.size() <= 1) return {};
  return maps.wait_for_readers();
}

void Tables::State::adopt_entry(uint32_t index) {
  adopted.entries.insert(index);
  Record& record = records[index];
  for (size_t c = 0; c < FL_CHOICES; ++c) {
    const uint64_t ring = entries[index].ring[c];
    if (FL_RING_SIZE(ring) == 0) continue;
    const bool shared = c == 1 && ring == record.ring[0];
    if (shared || take_run(ring, index)) record.ring[c] = ring;
  }
}

// A run counts as the entry's when each slot names one of its endpoints: room is not given to
// noise.
bool Tables::State::take_run(uint64_t ring, uint32_t index) {
  const uint32_t offset = FL_RING_OFFSET(ring);
  const uint32_t size = FL_RING_SIZE(ring);
  if (uint64_t{offset} + size > ring_slots.size()) return false;
  for (const uint32_t slot : ring_slots.subspan(offset, size)) {
    if (slot >= endpoints.size() || endpoints[slot].entry != index) return false;
  }
  return ring_space.take(offset, size);
}

void Tables::State::adopt_endpoints() {
  std::vector<bool> taken(1);
  size_t end = 1;
  for (size_t i = 1; i < endpoints.size() && i - end <= kLongestGap; ++i) {
    const fl_endpoint& endpoint = endpoints[i];
    if (endpoint.generation == 0 && endpoint.flags == 0) continue;
    end = i + 1;
    taken.resize(end);
    if ((endpoint.flags & (FL_ENDPOINT_CLUSTER | FL_ENDPOINT_LOCAL)) == 0) continue;
    taken[i] = true;
    const auto index = static_cast<uint32_t>(i);
    if (endpoint.generation != 0 && adopted.entries.contains(endpoint.entry)) {
      records[endpoint.entry].endpoints.push_back(index);
    } else {
      adopted.strays.push_back(index);
    }
  }
  endpoint_ids.adopt(taken);
  generations.resize(end);
  for (size_t i = 1; i < end; ++i) generations[i] = endpoints[i].generation;
  for (const uint32_t index : adopted.entries) {
    std::vector<uint32_t>& list = records[index].endpoints;
    std::sort(list.begin(), list.end(), [&](uint32_t a, uint32_t b) {
      const int order = compare_places(endpoints[a].address, endpoints[a].port,
                                       endpoints[b].address, endpoints[b].port);
      return order != 0 ? order < 0 : a < b;
    });
  }
}

// The index that most of the entry's frontends had, for this entry alone; 0 when there is none.
uint32_t Tables::State::claim(const ForwardingEntry& entry) {
  std::vector<std::pair<uint32_t, int>> votes;
  for (const dataplane::Frontend& frontend : entry.frontends) {
    const fl_frontend_key key = frontend_key(frontend, entry.key.protocol);
    const auto known = frontends.find(key);
    if (known == frontends.end() || adopted.distrusted.contains(key) ||
        !adopted.entries.contains(known->second.entry)) {
      continue;
    }
    const auto vote = std::find_if(votes.begin(), votes.end(), [&](const auto& other) {
      return other.first == known->second.entry;
    });
    if (vote == votes.end()) {
      votes.emplace_back(known->second.entry, 1);
    } else {
      ++vote->second;
    }
  }
  uint32_t best = 0;
  int most = 0;
  for (const auto& [index, count] : votes) {
    if (count <= most) continue;
    best = index;
    most = count;
  }
  adopted.entries.erase(best);
  return best;
}

void Tables::State::revive(uint32_t index, const EntryKey& key) {
  if (adopted.by_entry.empty()) {
    for (const auto& [frontend, value] : frontends) {
      if (is_cluster_address(frontend) || adopted.distrusted.contains(frontend)) continue;
      adopted.by_entry.emplace_back(value.entry, frontend);
    }
    std::sort(adopted.by_entry.begin(), adopted.by_entry.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  auto entry = std::make_shared<ForwardingEntry>();
  entry->key = key;
  const auto [begin, end] = std::equal_range(
      adopted.by_entry.begin(), adopted.by_entry.end(), std::pair(index, fl_frontend_key{}),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto it = begin; it != end; ++it) {
    const fl_frontend_key& frontend_key = it->second;
    const auto known = frontends.find(frontend_key);
    if (known == frontends.end() || known->second.entry != index) continue;
    const fl_frontend& value = known->second;
    dataplane::Frontend frontend;
    frontend.kind = static_cast<dataplane::FrontendKind>(value.kind);
    frontend.address = {from_wire(frontend_key.address), to_network(frontend_key.port)};
    frontend.source_ranges_apply = (value.flags & FL_FRONTEND_SOURCE_RANGES) != 0;
    for (size_t source = 0; source < dataplane::kSourceClassCount; ++source) {
      frontend.routes[source] = {(value.route[source] & FL_ROUTE_LOCAL) != 0
                                     ? dataplane::Choice::kLocal
                                     : dataplane::Choice::kCluster,
                                 (value.route[source] & FL_ROUTE_MASQUERADE) != 0};
    }
    entry->frontends.push_back(frontend);
  }
  std::sort(entry->frontends.begin(), entry->frontends.end(),
            [](const dataplane::Frontend& a, const dataplane::Frontend& b) {
              return std::tie(a.kind, a.address) < std::tie(b.kind, b.address);
            });
  const fl_entry& memory = entries[index];
  entry->affinity_seconds = memory.affinity_seconds;
  std::vector<uint32_t> list = std::exchange(records[index].endpoints, {});
  for (const uint32_t endpoint_index : list) {
    const fl_endpoint& endpoint = endpoints[endpoint_index];
    std::vector<uint32_t>& kept = records[index].endpoints;
    if (!kept.empty()) {
      const fl_endpoint& last = endpoints[kept.back()];
      if (compare_places(last.address, last.port, endpoint.address, endpoint.port) == 0) {
        adopted.strays.push_back(endpoint_index);
        continue;
      }
    }
    kept.push_back(endpoint_index);
    const dataplane::Target target{{from_wire(endpoint.address), to_network(endpoint.port)},
                                   (endpoint.flags & FL_ENDPOINT_MAYBE_HERE) != 0};
    if (endpoint.flags & FL_ENDPOINT_CLUSTER) entry->cluster.targets.push_back(target);
    if (endpoint.flags & FL_ENDPOINT_LOCAL) entry->local.targets.push_back(target);
  }
  entry->cluster.when_empty = static_cast<dataplane::EmptyVerdict>(memory.when_empty[0] & 1);
  entry->local.when_empty = static_cast<dataplane::EmptyVerdict>(memory.when_empty[1] & 1);
  for (const fl_prefix_key& prefix : prefixes) {
    if (domain_of(prefix) != index) continue;
    const dataplane::Address base = from_wire(prefix.address);
    const uint32_t fixed = FL_PREFIX_FIXED_BITS + (base.is_v4() ? 96U : 0U);
    if (prefix.prefix_bits < fixed || prefix.prefix_bits > FL_PREFIX_FIXED_BITS + 128) continue;
    entry->source_ranges.emplace_back(base, static_cast<uint8_t>(prefix.prefix_bits - fixed));
  }
  std::sort(entry->source_ranges.begin(), entry->source_ranges.end());
  for (const fl_addr& address : cluster_addresses_of(*entry)) hold_address(address);
  records[index].entry = std::move(entry);
  records[index].revived = true;
  by_key.insert(index);
}

// Ends the first complete delta. Frontends go first: nothing leads to the rest afterwards.
void Tables::State::sweep() {
  if (!adopted.pending) return;
  for (auto it = frontends.begin(); it != frontends.end();) {
    const auto& [key, value] = *it;
    const bool wanted = is_cluster_address(key) ? address_uses.contains(key.address)
                                                : owner_of(key, value) != nullptr;
    if (wanted) {
      ++it;
      continue;
    }
    stale_frontends.insert(key);
    frontends.erase(it++);
  }
  for (auto it = prefixes.begin(); it != prefixes.end();) {
    const uint32_t index = domain_of(*it);
    bool wanted = false;
    if (index < records.size() && records[index].entry) {
      for (const fl_prefix_key& key : wanted_prefixes(*records[index].entry, index)) {
        wanted |= same_bytes(key, *it);
      }
    }
    if (wanted) {
      ++it;
      continue;
    }
    stale_prefixes.insert(*it);
    prefixes.erase(it++);
  }
  settle();

  for (const uint32_t index : adopted.entries) {
    Record& record = records[index];
    entries[index].live = 0;
    for (uint64_t& ring : entries[index].ring) std::atomic_ref(ring).store(0);
    ++operations;
    for (const uint32_t endpoint : record.endpoints) let_go(endpoint, entries[index].protocol);
    for_each_run(record.ring, [&](uint64_t ring) { let_go_run(ring); });
    leaving_entries.push_back(index);
    record = {};
  }
  for (const uint32_t index : adopted.strays) {
    const uint32_t entry = endpoints[index].entry;
    let_go(index, entry < entries.size() ? entries[entry].protocol : uint8_t{0});
  }
  adopted = {};
}

}  // namespace fairlead::bpf
