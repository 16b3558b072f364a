// One entry's change: is there room, what is written, how it is taken down or taken back.
#include <netinet/in.h>

#include <algorithm>

#include "bpf/tables_state.h"

namespace fairlead::bpf {

using dataplane::Choice;
using dataplane::EntryKey;
using dataplane::ForwardingEntry;

namespace {

constexpr uint8_t kChoiceFlags = FL_ENDPOINT_CLUSTER | FL_ENDPOINT_LOCAL;

template <typename T>
bool store(T& place, T value) {
  std::atomic_ref<T> shared(place);
  if (shared.load(std::memory_order_relaxed) == value) return false;
  shared.store(value, std::memory_order_release);
  return true;
}

fl_u8 verdict_of(const ForwardingEntry* entry, size_t choice) {
  if (entry == nullptr) return FL_EMPTY_REJECT;
  return static_cast<fl_u8>(entry->choice(static_cast<Choice>(choice)).when_empty);
}

}  // namespace

Status Tables::State::no_room(std::string_view map, uint64_t wanted, const EntryKey& key) const {
  for (const Use& use : uses()) {
    if (use.map != map) continue;
    std::string detail = std::string(map) + " holds " + std::to_string(use.used) + " of " +
                         std::to_string(use.limit) + ", " + std::to_string(wanted) +
                         " more are needed";
    if (map == "fl_rings") {
      detail +=
          " in one run, the longest free one has " + std::to_string(ring_space.longest_free());
    }
    return Status::error(StatusCode::kExhausted, "apply", key.to_string(),
                         detail + "; raise " + std::string(use.flag));
  }
  return Status::error(StatusCode::kInternal, "apply", key.to_string(), "no such map");
}

const ForwardingEntry* Tables::State::owner_of(const fl_frontend_key& key,
                                               const fl_frontend& value) const {
  if (value.entry >= records.size()) return nullptr;
  const ForwardingEntry* const entry = records[value.entry].entry.get();
  return entry != nullptr && has_frontend(*entry, key) ? entry : nullptr;
}

// Half of all ids are enough for one a second over 68 years; the other half is what a torn record
// may hold.
uint32_t Tables::State::new_frontend_id() {
  uint32_t& next = maps.config().next_frontend_id;
  if (next == 0 || next >> 31 != 0) next = 1;
  return next++;
}

Status Tables::State::prepare(Plan& plan) {
  const auto known = by_key.find(*plan.change.key);
  if (known != by_key.end()) {
    plan.index = *known;
  } else if (plan.change.entry && adopted.pending) {
    plan.index = claim(*plan.change.entry);
  }
  // Nothing leads to an entry without frontends: it needs no room in any map.
  if (plan.change.entry && plan.change.entry->frontends.empty()) plan.change.entry = nullptr;
  if (!plan.change.entry && plan.index == 0) return {};

  std::array<std::vector<uint32_t>, FL_CHOICES> slots;
  if (const Status reserved = reserve(plan, slots); !reserved) {
    give_back(plan);
    if (plan.index != 0 && !records[plan.index].entry) revive(plan.index, *plan.change.key);
    return reserved;
  }
  if (plan.change.entry) publish(plan, slots);
  believe(plan);
  return {};
}

// Everything that may find no room; nothing is written yet.
Status Tables::State::reserve(Plan& plan, std::array<std::vector<uint32_t>, FL_CHOICES>& slots) {
  if (!plan.change.entry) {
    match_endpoints(plan);
    return {};
  }
  const ForwardingEntry& entry = *plan.change.entry;
  if (plan.index == 0) {
    plan.index = entry_ids.allocate();
    if (plan.index == 0) return no_room("fl_entries", 1, entry.key);
    plan.fresh = true;
    if (records.size() <= plan.index) records.resize(plan.index + 1);
  }
  plan.wanted = wanted_endpoints(entry);
  match_endpoints(plan);
  RETURN_IF_ERROR(check_keys(plan));
  std::vector<uint32_t>& indexes = plan.after.endpoints;
  const auto missing = static_cast<size_t>(std::count(indexes.begin(), indexes.end(), 0U));
  if (missing > endpoint_ids.limit() - endpoint_ids.used()) {
    return no_room("fl_endpoints", missing, entry.key);
  }
  for (uint32_t& index : indexes) {
    if (index == 0) plan.new_endpoints.push_back(index = endpoint_ids.allocate());
  }
  return reserve_rings(plan, slots);
}

// Those that stay keep their index; new ones get a 0 for now.
void Tables::State::match_endpoints(Plan& plan) {
  const std::vector<uint32_t>& before = records[plan.index].endpoints;
  plan.after.endpoints.reserve(plan.wanted.size());
  auto old_index = before.begin();
  for (const WantedEndpoint& wanted : plan.wanted) {
    int order = 1;
    for (; old_index != before.end(); ++old_index) {
      const fl_endpoint& old_endpoint = endpoints[*old_index];
      order = compare_places(old_endpoint.address, old_endpoint.port, wanted.address, wanted.port);
      if (order >= 0) break;
      plan.gone_endpoints.push_back(*old_index);
    }
    const bool stays = old_index != before.end() && order == 0;
    plan.after.endpoints.push_back(stays ? *old_index++ : 0);
  }
  plan.gone_endpoints.insert(plan.gone_endpoints.end(), old_index, before.end());
}

Status Tables::State::reserve_rings(Plan& plan,
                                    std::array<std::vector<uint32_t>, FL_CHOICES>& slots) {
  const ForwardingEntry& entry = *plan.change.entry;
  const Record& before = records[plan.index];
  for (const Choice choice : {Choice::kCluster, Choice::kLocal}) {
    const auto c = static_cast<size_t>(choice);
    uint64_t& ring = plan.after.ring[c];
    const auto& targets = entry.choice(choice).targets;
    if (targets.empty()) continue;
    if (choice == Choice::kLocal && targets == entry.cluster.targets) {
      ring = plan.after.ring[0];
      continue;
    }
    const bool same_list = before.entry && !before.revived &&
                           before.endpoints == plan.after.endpoints &&
                           before.entry->choice(choice).targets == targets &&
                           ring_is_maglev(*before.entry, choice) == ring_is_maglev(entry, choice) &&
                           (c == 0 || before.ring[0] != before.ring[1]);
    if (same_list) {
      ring = before.ring[c];
      continue;
    }
    slots[c] = ring_of(entry, choice, plan.wanted, plan.after.endpoints);
    const auto size = static_cast<uint32_t>(slots[c].size());
    if (FL_RING_SIZE(before.ring[c]) == size &&
        std::equal(slots[c].begin(), slots[c].end(),
                   ring_slots.begin() + FL_RING_OFFSET(before.ring[c]))) {
      ring = before.ring[c];
      slots[c].clear();
      continue;
    }
    const std::optional<uint32_t> offset = ring_space.allocate(size);
    if (!offset) {
      give_back(plan);
      return no_room("fl_rings", size, entry.key);
    }
    ring = FL_RING(*offset, size);
  }
  return {};
}

// Frontends and source ranges: is there room, and is none of them another entry's?
Status Tables::State::check_keys(Plan& plan) {
  const ForwardingEntry& entry = *plan.change.entry;
  size_t growth = 0;
  for (const FrontendRecord& record : wanted_frontends(entry, plan.index)) {
    const auto known = frontends.find(record.key);
    if (known == frontends.end()) {
      ++growth;
      continue;
    }
    if (known->second.entry == plan.index || released.contains(record.key)) continue;
    if (const ForwardingEntry* const owner = owner_of(record.key, known->second)) {
      return Status::error(StatusCode::kConflict, "apply", entry.key.to_string(),
                           "one of its addresses is still held by " + owner->key.to_string());
    }
  }
  for (const fl_addr& address : cluster_addresses_of(entry)) {
    if (!frontends.contains(cluster_address_record(address).key)) ++growth;
  }
  if (growth > 0 && frontends_in_map() + growth > maps.frontend_capacity()) {
    return no_room("fl_frontends", growth, entry.key);
  }

  const std::vector<fl_prefix_key> wanted = wanted_prefixes(entry, plan.index);
  for (const fl_prefix_key& key : wanted) {
    if (!prefixes.contains(key)) plan.prefixes_gained.push_back(key);
  }
  const size_t gained = plan.prefixes_gained.size();
  if (gained > 0 && prefixes_in_map() + gained > maps.prefix_capacity()) {
    return no_room("fl_prefixes", gained, entry.key);
  }
  return {};
}

// What reserve() took.
void Tables::State::give_back(Plan& plan) {
  for_each_run(plan.after.ring, [&](uint64_t ring) {
    if (holds_run(records[plan.index], ring)) return;
    ring_space.release(FL_RING_OFFSET(ring), FL_RING_SIZE(ring));
  });
  for (const uint32_t index : plan.new_endpoints) endpoint_ids.release(index);
  if (plan.fresh) {
    entry_ids.release(plan.index);
    plan.index = 0;
  }
  plan.fresh = false;
  plan.after = {};
  plan.new_endpoints.clear();
}

// From here on the entry's memory serves the new state. What the new state has no use for still
// stands: flags of both, a ring that is to become empty.
void Tables::State::publish(Plan& plan,
                            const std::array<std::vector<uint32_t>, FL_CHOICES>& slots) {
  const ForwardingEntry& entry = *plan.change.entry;
  auto new_index = plan.new_endpoints.begin();
  for (size_t i = 0; i < plan.wanted.size(); ++i) {
    const WantedEndpoint& wanted = plan.wanted[i];
    const uint32_t index = plan.after.endpoints[i];
    fl_endpoint& endpoint = endpoints[index];
    if (generations.size() <= index) generations.resize(index + 1);
    if (new_index != plan.new_endpoints.end() && *new_index == index) {
      ++new_index;
      const uint32_t generation = std::max(endpoint.generation + 1, 1U);
      endpoint = {.address = wanted.address,
                  .entry = plan.index,
                  .generation = generation,
                  .port = wanted.port,
                  .flags = wanted.flags,
                  .zero = {}};
      ++operations;
    } else if (endpoint.flags != wanted.flags) {
      plan.old_flags.emplace_back(index, endpoint.flags);
      store<fl_u8>(endpoint.flags, endpoint.flags | wanted.flags);
      ++operations;
    }
    generations[index] = endpoint.generation;
  }
  for (size_t c = 0; c < FL_CHOICES; ++c) {
    if (slots[c].empty()) continue;
    std::copy(slots[c].begin(), slots[c].end(),
              ring_slots.begin() + FL_RING_OFFSET(plan.after.ring[c]));
    ++operations;
  }

  fl_entry& memory = entries[plan.index];
  if (plan.fresh) memory = {};
  plan.entry_before = memory;
  bool changed = store<fl_u32>(memory.affinity_seconds, entry.affinity_seconds);
  changed |= store<fl_u8>(memory.protocol, static_cast<fl_u8>(entry.key.protocol));
  for (const Choice choice : {Choice::kCluster, Choice::kLocal}) {
    const auto c = static_cast<size_t>(choice);
    const bool was_empty = FL_RING_SIZE(memory.ring[c]) == 0;
    if (was_empty) {
      changed |=
          store<fl_u8>(memory.when_empty[c], static_cast<fl_u8>(entry.choice(choice).when_empty));
    }
    if (FL_RING_SIZE(plan.after.ring[c]) != 0) {
      changed |= store<fl_u64>(memory.ring[c], plan.after.ring[c]);
    }
  }
  changed |= store<fl_u8>(memory.live, 1);
  if (changed) ++operations;
}

// What the hash and the trie shall hold, and which writes that takes.
void Tables::State::believe(Plan& plan) {
  const ForwardingEntry* const before = records[plan.index].entry.get();
  const ForwardingEntry* const after = plan.change.entry.get();
  const auto put = [&](const FrontendRecord& record) {
    const auto [place, inserted] = frontends.try_emplace(record.key, record.value);
    if (!inserted && same_bytes(place->second, record.value)) return;
    plan.puts.push_back(record);
    plan.replaced.push_back(inserted ? std::nullopt : std::optional(place->second));
    place->second = record.value;
  };
  if (after != nullptr) {
    for (FrontendRecord& record : wanted_frontends(*after, plan.index)) {
      const auto known = frontends.find(record.key);
      const bool ours = known != frontends.end() && !plan.fresh &&
                        known->second.entry == plan.index &&
                        !adopted.distrusted.contains(record.key);
      record.value.id = ours && known->second.id != 0 ? known->second.id : new_frontend_id();
      put(record);
    }
    plan.addresses_gained = cluster_addresses_of(*after);
    for (const fl_addr& address : plan.addresses_gained) {
      if (++address_uses[address] == 1) put(cluster_address_record(address));
    }
    prefixes.insert(plan.prefixes_gained.begin(), plan.prefixes_gained.end());
  }
  if (before != nullptr) {
    plan.addresses_lost = cluster_addresses_of(*before);
    for (const fl_addr& address : plan.addresses_lost) {
      if (--address_uses[address] == 0) address_uses.erase(address);
    }
    const std::vector<fl_prefix_key> wanted =
        after != nullptr ? wanted_prefixes(*after, plan.index) : std::vector<fl_prefix_key>();
    for (const fl_prefix_key& key : wanted_prefixes(*before, plan.index)) {
      const bool stays = std::any_of(wanted.begin(), wanted.end(), [&](const fl_prefix_key& other) {
        return same_bytes(key, other);
      });
      if (!stays) plan.prefixes_lost.push_back(key);
    }
  }
}

// Counts an entry that has `address` again, whatever became of the marker meanwhile.
void Tables::State::hold_address(const fl_addr& address) {
  ++address_uses[address];
  const FrontendRecord marker = cluster_address_record(address);
  const auto [place, inserted] = frontends.try_emplace(marker.key, marker.value);
  if (!inserted && same_bytes(place->second, marker.value)) return;
  place->second = marker.value;
  stale_frontends.insert(marker.key);
}

void Tables::State::commit(Plan& plan) {
  Record& record = records[plan.index];
  fl_entry& memory = entries[plan.index];
  const ForwardingEntry* const after = plan.change.entry.get();
  bool changed = false;
  for (size_t c = 0; c < FL_CHOICES; ++c) {
    if (FL_RING_SIZE(plan.after.ring[c]) != 0) {
      changed |= store<fl_u8>(memory.when_empty[c], verdict_of(after, c));
    } else if (memory.ring[c] != 0) {
      changed |= store<fl_u8>(memory.when_empty[c], verdict_of(after, c));
      changed |= store<fl_u64>(memory.ring[c], 0);
    }
  }
  if (after == nullptr) changed |= store<fl_u8>(memory.live, 0);
  if (changed) ++operations;

  for (size_t i = 0; !plan.old_flags.empty() && i < plan.wanted.size(); ++i) {
    store<fl_u8>(endpoints[plan.after.endpoints[i]].flags, plan.wanted[i].flags);
  }
  for (const uint32_t index : plan.gone_endpoints) {
    let_go(index, static_cast<uint8_t>(plan.change.key->protocol));
  }
  for_each_run(record.ring, [&](uint64_t ring) {
    if (!holds_run(plan.after, ring)) let_go_run(ring);
  });
  for (const fl_frontend_key& key : plan.drops) {
    if (is_cluster_address(key) && address_uses.contains(key.address)) {
      stale_frontends.insert(key);  // another entry's removal was taken back
    } else {
      frontends.erase(key);
    }
  }
  for (const fl_prefix_key& key : plan.prefixes_lost) prefixes.erase(key);

  const bool was_known = record.entry != nullptr;
  if (after == nullptr) {
    if (was_known) by_key.erase(plan.index);
    leaving_entries.push_back(plan.index);
  } else if (!was_known) {
    for (const FrontendRecord& put : plan.puts) adopted.distrusted.erase(put.key);
  }
  plan.after.entry = plan.change.entry;
  record = std::move(plan.after);
  if (after != nullptr && !was_known) by_key.insert(plan.index);
}

void Tables::State::undo(Plan& plan) {
  Record& record = records[plan.index];
  if (plan.change.entry) {
    fl_entry& memory = entries[plan.index];
    for (size_t c = 0; c < FL_CHOICES; ++c) {
      store<fl_u64>(memory.ring[c], record.ring[c]);
      store<fl_u8>(memory.when_empty[c], plan.entry_before.when_empty[c]);
    }
    store<fl_u32>(memory.affinity_seconds, plan.entry_before.affinity_seconds);
    store<fl_u8>(memory.protocol, plan.entry_before.protocol);
    store<fl_u8>(memory.live, plan.entry_before.live);
    for (const auto& [index, flags] : plan.old_flags) store<fl_u8>(endpoints[index].flags, flags);
    for (const uint32_t index : plan.new_endpoints) let_go(index, 0);
    for_each_run(plan.after.ring, [&](uint64_t ring) {
      if (!holds_run(record, ring)) let_go_run(ring);
    });
  }
  for (const fl_addr& address : plan.addresses_lost) hold_address(address);
  for (const fl_addr& address : plan.addresses_gained) {
    if (--address_uses[address] != 0) continue;
    address_uses.erase(address);
    // While an earlier run's frontends stand, so do its addresses.
    const fl_frontend_key key = cluster_address_record(address).key;
    if (!adopted.pending && frontends.erase(key) != 0) stale_frontends.insert(key);
  }
  for (size_t i = plan.puts.size(); i-- > 0;) {
    const FrontendRecord& put = plan.puts[i];
    stale_frontends.insert(put.key);
    const bool shared =
        put.value.kind == FL_KIND_CLUSTER_ADDRESS && address_uses.contains(put.key.address);
    if (shared) continue;
    if (plan.replaced[i]) {
      frontends[put.key] = *plan.replaced[i];
    } else {
      frontends.erase(put.key);
    }
  }
  for (const fl_prefix_key& key : plan.prefixes_gained) prefixes.erase(key);
  stale_frontends.insert(plan.drops.begin(), plan.drops.end());
  stale_prefixes.insert(plan.prefixes_gained.begin(), plan.prefixes_gained.end());
  stale_prefixes.insert(plan.prefixes_lost.begin(), plan.prefixes_lost.end());
  if (plan.fresh) {
    leaving_entries.push_back(plan.index);
  } else if (!record.entry) {
    revive(plan.index, *plan.change.key);
  }
}

// The endpoint is nobody's from now on. `protocol` 0: it was never told to anybody.
void Tables::State::let_go(uint32_t index, uint8_t protocol) {
  fl_endpoint& endpoint = endpoints[index];
  const bool served = (endpoint.flags & kChoiceFlags) != 0;
  store<fl_u8>(endpoint.flags, 0);
  leaving_endpoints.push_back(index);
  ++operations;
  if (served && (protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP)) {
    gone.push_back({endpoint.address, endpoint.port, protocol});
  }
}

void Tables::State::let_go_run(uint64_t ring) {
  leaving_runs.push_back(ring);
  leaving_slots += FL_RING_SIZE(ring);
  ++operations;
}

}  // namespace fairlead::bpf
