#include "bpf/tables.h"

#include <algorithm>

#include "bpf/tables_state.h"

namespace fairlead::bpf {

using dataplane::Ack;
using dataplane::Delta;
using dataplane::EntryKey;
using dataplane::EntryPointer;
using dataplane::ForwardingEntry;
using dataplane::Refusal;

namespace {

// Entries planned and written together: large enough for the batches to be cheap, small enough for
// a first load not to hold all of its plans at once.
constexpr size_t kRound = 2048;
// So much given up that waiting for readers is worth its milliseconds although nobody needs room.
constexpr size_t kManyLeaving = 4096;

// Keys of `stale` that are not in `known`. (An empty table may be slow to walk.)
size_t count_others(const auto& stale, const auto& known) {
  size_t count = 0;
  if (stale.empty()) return count;
  for (const auto& key : stale) count += known.contains(key) ? 0 : 1;
  return count;
}

}  // namespace

Tables::Tables(TableMaps& maps) : state_(std::make_unique<State>(maps)) {}
Tables::~Tables() = default;

Status Tables::adopt() {
  return state_->adopt();
}
Result<Ack> Tables::apply(const Delta& delta) {
  return state_->apply(delta);
}
Result<dataplane::AuditReport> Tables::audit() {
  return state_->audit();
}
std::vector<Use> Tables::uses() const {
  return state_->uses();
}
std::vector<Tables::Gone> Tables::take_gone() {
  return std::exchange(state_->gone, {});
}

uint32_t Tables::entry_at(const fl_addr& address, fl_be16 port, fl_u8 protocol) const {
  // A node port stands under its family's unspecified address.
  const auto any =
      from_wire(address).is_v4() ? dataplane::Address::v4(0) : dataplane::Address::v6({});
  for (const fl_addr& at : {address, to_wire(any)}) {
    const auto found = state_->frontends.find(fl_frontend_key{at, port, protocol, 0});
    if (found != state_->frontends.end()) return found->second.entry;
  }
  return 0;
}
std::optional<Tables::EndpointPlace> Tables::endpoint_at(uint32_t entry, const fl_addr& address,
                                                         fl_be16 port) const {
  if (entry >= state_->records.size()) return std::nullopt;
  for (const uint32_t index : state_->records[entry].endpoints) {
    const fl_endpoint& each = state_->endpoints[index];
    if (compare_places(each.address, each.port, address, port) == 0) {
      return EndpointPlace{index, each.generation};
    }
  }
  return std::nullopt;
}

Tables::State::State(TableMaps& table_maps)
    : maps(table_maps),
      entries(maps.entries()),
      endpoints(maps.endpoints()),
      ring_slots(maps.ring_slots()),
      entry_ids(entries.size()),
      endpoint_ids(endpoints.size()),
      ring_space(1, static_cast<uint32_t>(ring_slots.size())),
      records(1),
      by_key(0, RecordKeyHash{&records}, RecordKeyEqual{&records}) {}

size_t Tables::State::frontends_in_map() const {
  return frontends.size() +
         static_cast<size_t>(
             std::count_if(stale_frontends.begin(), stale_frontends.end(),
                           [&](const fl_frontend_key& key) { return !frontends.contains(key); }));
}

size_t Tables::State::prefixes_in_map() const {
  return foreign_prefixes + prefixes.size() +
         static_cast<size_t>(
             std::count_if(stale_prefixes.begin(), stale_prefixes.end(),
                           [&](const fl_prefix_key& key) { return !prefixes.contains(key); }));
}

std::vector<Use> Tables::State::uses() const {
  return {
      {"fl_frontends", "--ebpf-max-frontends", frontends_in_map(), maps.frontend_capacity()},
      {"fl_entries", "--ebpf-max-service-ports", entry_ids.used() - leaving_entries.size(),
       entry_ids.limit()},
      {"fl_endpoints", "--ebpf-max-endpoints", endpoint_ids.used() - leaving_endpoints.size(),
       endpoint_ids.limit()},
      {"fl_rings", "--ebpf-max-ring-slots", ring_space.used() - leaving_slots, ring_space.limit()},
      {"fl_prefixes", "--ebpf-max-source-ranges", prefixes_in_map(), maps.prefix_capacity()},
  };
}

// Which keys pass from one entry to another: they are overwritten, never missing.
void Tables::State::note_moves(std::span<const Change> upserts, std::span<const Change> removals) {
  released = {};
  moved = {};
  if (by_key.empty()) return;
  const auto release = [&](const Change& change) {
    const Record* const record = find(*change.key);
    if (record == nullptr) return;
    const ForwardingEntry* const after = change.entry.get();
    if (after != nullptr && after->frontends == record->entry->frontends) return;
    for (const dataplane::Frontend& frontend : record->entry->frontends) {
      const fl_frontend_key key = frontend_key(frontend, record->entry->key.protocol);
      if (after == nullptr || !has_frontend(*after, key)) released.insert(key);
    }
  };
  for (const Change& change : upserts) release(change);
  for (const Change& change : removals) release(change);
  if (released.empty()) return;
  for (const Change& change : upserts) {
    for (const dataplane::Frontend& frontend : change.entry->frontends) {
      const fl_frontend_key key = frontend_key(frontend, change.key->protocol);
      if (released.contains(key)) moved.insert(key);
    }
  }
}

// The known entries that a complete delta does not name.
std::vector<EntryPointer> Tables::State::unwanted(std::span<const EntryPointer> upserted) const {
  std::vector<bool> wanted(records.size());
  for (const EntryPointer& entry : upserted) {
    const auto known = by_key.find(entry->key);
    if (known != by_key.end()) wanted[*known] = true;
  }
  std::vector<EntryPointer> rest;
  for (const uint32_t index : by_key) {
    if (!wanted[index]) rest.push_back(records[index].entry);
  }
  return rest;
}

Result<Ack> Tables::State::apply(const Delta& delta) {
  const uint64_t operations_before = operations;
  Ack ack;
  ack.generation = delta.generation;
  settle();

  std::vector<Change> upserts;
  upserts.reserve(delta.upserted.size());
  for (const EntryPointer& entry : delta.upserted) upserts.push_back({&entry->key, entry});
  std::vector<Change> removals;
  for (const EntryKey& key : delta.removed) removals.push_back({&key, nullptr});
  if (delta.complete) {
    // Growing by and by would hash everything anew each time.
    records.reserve(records.size() + upserts.size());
    by_key.reserve(upserts.size());
    frontends.reserve(2 * upserts.size());
    address_uses.reserve(upserts.size());
  }
  std::vector<EntryPointer> rest;  // holds the keys that `removals` points to
  if (delta.complete) rest = unwanted(delta.upserted);
  for (const EntryPointer& entry : rest) removals.push_back({&entry->key, nullptr});

  std::vector<Postponed> postponed;
  note_moves(upserts, removals);
  run(upserts, ack.refused, postponed);
  remove_moved();
  run(removals, ack.refused, postponed);
  if (delta.complete) sweep();

  bool waited = false;
  if (!postponed.empty()) {
    // What the delta itself gave up may be room enough.
    waited = reclaim();
    std::vector<Change> again;
    for (Postponed& change : postponed) again.push_back(std::move(change.change));
    postponed.clear();
    note_moves(again, {});
    run(again, ack.refused, postponed);
    remove_moved();
    for (const auto& [change, reason] : postponed) ack.refused.push_back({*change.key, reason});
  }
  const size_t leaving = leaving_entries.size() + leaving_endpoints.size() + leaving_runs.size();
  if (!waited && leaving > kManyLeaving) reclaim();
  ack.operations = operations - operations_before;
  return ack;
}

void Tables::State::run(std::span<const Change> changes, std::vector<Refusal>& refused,
                        std::vector<Postponed>& postponed) {
  std::vector<Plan> plans;
  plans.reserve(std::min(changes.size(), kRound));
  for (size_t begin = 0; begin < changes.size(); begin += kRound) {
    const size_t end = std::min(begin + kRound, changes.size());
    plans.clear();
    for (size_t i = begin; i < end; ++i) {
      Plan plan;
      plan.change = changes[i];
      if (Status prepared = prepare(plan); !prepared) {
        postponed.push_back({changes[i], std::move(prepared)});
      } else if (plan.index != 0) {
        plans.push_back(std::move(plan));
      }
    }
    finish_round(plans, refused);
  }
}

// Writes the items of all plans that stand; when that fails, of each half, until the guilty ones
// are alone.
template <typename T, typename Items, typename Write>
void Tables::State::write(std::span<Plan> plans, const Items& items, const Write& write_items) {
  std::vector<T> batch;
  for (const Plan& plan : plans) {
    if (!plan.failure) continue;
    const std::vector<T>& more = items(plan);
    batch.insert(batch.end(), more.begin(), more.end());
  }
  if (batch.empty()) return;
  const Status written = write_items(std::span<const T>(batch));
  if (written) {
    operations += batch.size();
  } else if (plans.size() == 1) {
    plans[0].failure = written;
  } else {
    const size_t half = plans.size() / 2;
    write<T>(plans.first(half), items, write_items);
    write<T>(plans.subspan(half), items, write_items);
  }
}

// What is added comes before what is removed: a source range before the frontend that asks for it.
void Tables::State::finish_round(std::span<Plan> plans, std::vector<Refusal>& refused) {
  using PrefixSpan = std::span<const fl_prefix_key>;
  write<fl_prefix_key>(
      plans, [](const Plan& plan) -> auto& { return plan.prefixes_gained; },
      [&](PrefixSpan keys) { return maps.put_prefixes(keys); });
  write<FrontendRecord>(
      plans, [](const Plan& plan) -> auto& { return plan.puts; },
      [&](std::span<const FrontendRecord> records_to_put) {
        return maps.put_frontends(records_to_put);
      });
  for (Plan& plan : plans) {
    if (plan.failure) collect_drops(plan);
  }
  write<fl_frontend_key>(
      plans, [](const Plan& plan) -> auto& { return plan.drops; },
      [&](std::span<const fl_frontend_key> keys) { return maps.remove_frontends(keys); });
  write<fl_prefix_key>(
      plans, [](const Plan& plan) -> auto& { return plan.prefixes_lost; },
      [&](PrefixSpan keys) { return maps.remove_prefixes(keys); });
  for (Plan& plan : plans) {
    if (plan.failure) {
      commit(plan);
    } else {
      refused.push_back({*plan.change.key, plan.failure});
      undo(plan);
    }
  }
  settle();
}

// The frontends that the entry has no more and nobody else takes.
void Tables::State::collect_drops(Plan& plan) {
  const ForwardingEntry* const before = records[plan.index].entry.get();
  if (before == nullptr) return;
  for (const dataplane::Frontend& frontend : before->frontends) {
    const fl_frontend_key key = frontend_key(frontend, before->key.protocol);
    if (plan.change.entry && has_frontend(*plan.change.entry, key)) continue;
    const auto known = frontends.find(key);
    if (known == frontends.end() || known->second.entry != plan.index) continue;
    if (!moved.contains(key)) plan.drops.push_back(key);
  }
  for (const fl_addr& address : plan.addresses_lost) {
    const fl_frontend_key key = cluster_address_record(address).key;
    if (!address_uses.contains(address) && frontends.contains(key)) plan.drops.push_back(key);
  }
}

// Keys that were to pass to an entry which could not take them. Those of entries that are still to
// be removed go with them.
void Tables::State::remove_moved() {
  for (const fl_frontend_key& key : moved) {
    const auto known = frontends.find(key);
    if (known == frontends.end() || owner_of(key, known->second) != nullptr) continue;
    frontends.erase(known);
    stale_frontends.insert(key);
  }
  moved.clear();
  settle();
}

void Tables::State::settle() {
  const auto one_by_one = [](auto items, auto& stale, const auto& key_of, const auto& write_items) {
    if (items.empty()) return size_t{0};
    size_t done = 0;
    if (write_items(std::span(std::as_const(items)))) {
      for (const auto& item : items) stale.erase(key_of(item));
      return items.size();
    }
    for (const auto& item : items) {
      if (!write_items(std::span(&item, 1))) continue;
      stale.erase(key_of(item));
      ++done;
    }
    return done;
  };
  const auto itself = [](const auto& key) -> auto& {
    return key;
  };
  if (!stale_frontends.empty()) {
    std::vector<FrontendRecord> put;
    std::vector<fl_frontend_key> remove;
    for (const fl_frontend_key& key : stale_frontends) {
      const auto known = frontends.find(key);
      if (known != frontends.end()) {
        put.push_back({key, known->second});
      } else {
        remove.push_back(key);
      }
    }
    operations += one_by_one(std::move(remove), stale_frontends, itself,
                             [&](auto keys) { return maps.remove_frontends(keys); });
    operations += one_by_one(
        std::move(put), stale_frontends, [](const FrontendRecord& record) { return record.key; },
        [&](auto records_to_put) { return maps.put_frontends(records_to_put); });
  }
  if (!stale_prefixes.empty()) {
    std::vector<fl_prefix_key> put;
    std::vector<fl_prefix_key> remove;
    for (const fl_prefix_key& key : stale_prefixes) {
      (prefixes.contains(key) ? put : remove).push_back(key);
    }
    operations += one_by_one(std::move(remove), stale_prefixes, itself,
                             [&](auto keys) { return maps.remove_prefixes(keys); });
    operations += one_by_one(std::move(put), stale_prefixes, itself,
                             [&](auto keys) { return maps.put_prefixes(keys); });
  }
}

bool Tables::State::reclaim() {
  if (leaving_entries.empty() && leaving_endpoints.empty() && leaving_runs.empty()) return false;
  // What still stands in the maps may still lead to what it led to.
  settle();
  if (!stale_frontends.empty() || !stale_prefixes.empty()) return false;
  if (!maps.wait_for_readers()) return false;
  for (const uint32_t index : leaving_entries) entry_ids.release(index);
  for (const uint32_t index : leaving_endpoints) endpoint_ids.release(index);
  for (const uint64_t ring : leaving_runs) {
    ring_space.release(FL_RING_OFFSET(ring), FL_RING_SIZE(ring));
  }
  leaving_entries.clear();
  leaving_endpoints.clear();
  leaving_runs.clear();
  leaving_slots = 0;
  return true;
}

}  // namespace fairlead::bpf
