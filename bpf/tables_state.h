// What Tables keeps: who holds which index, what the maps are believed to hold, what an earlier run
// left and nobody has claimed yet.
//
// A change of one entry is a Plan. prepare() checks that there is room, then writes what no program
// can see yet and publishes it: after that the entry's memory serves the new state, and what the
// new state gives up still stands. The system calls for all plans of a round follow. commit() takes
// down what was given up; undo() publishes the old state again. Where a system call failed, the
// keys concerned are stale: what the kernel holds there is unknown. settle() writes them as they
// are believed to be, as often as it takes.
//
// Included by tables*.cc alone.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "bpf/id_pool.h"
#include "bpf/range_allocator.h"
#include "bpf/tables.h"
#include "bpf/tables_render.h"

namespace fairlead::bpf {

using FrontendMap =
    boost::unordered_flat_map<fl_frontend_key, fl_frontend, BytesHash<fl_frontend_key>,
                              BytesEqual<fl_frontend_key>>;
using FrontendKeys = boost::unordered_flat_set<fl_frontend_key, BytesHash<fl_frontend_key>,
                                               BytesEqual<fl_frontend_key>>;
using PrefixKeys =
    boost::unordered_flat_set<fl_prefix_key, BytesHash<fl_prefix_key>, BytesEqual<fl_prefix_key>>;

// One element of `fl_entries` that is in use; found by its index.
struct Record {
  dataplane::EntryPointer entry;  // null: free, or an earlier run's and not claimed yet
  std::array<uint64_t, FL_CHOICES> ring{};
  std::vector<uint32_t> endpoints;  // indexes, in order of place
  bool revived = false;             // what its rings hold was never compared
};

// The indexes of records with an entry, found by its key.
struct RecordKeyHash {
  using is_transparent = void;
  const std::vector<Record>* records;
  size_t operator()(uint32_t index) const { return (*this)((*records)[index].entry->key); }
  size_t operator()(const dataplane::EntryKey& key) const { return dataplane::EntryKeyHash()(key); }
};
struct RecordKeyEqual {
  using is_transparent = void;
  const std::vector<Record>* records;
  const dataplane::EntryKey& key(uint32_t index) const { return (*records)[index].entry->key; }
  bool operator()(uint32_t a, uint32_t b) const { return a == b; }
  bool operator()(uint32_t a, const dataplane::EntryKey& b) const { return key(a) == b; }
  bool operator()(const dataplane::EntryKey& a, uint32_t b) const { return a == key(b); }
};
using RecordIndexes = boost::unordered_flat_set<uint32_t, RecordKeyHash, RecordKeyEqual>;

struct Change {
  const dataplane::EntryKey* key = nullptr;
  dataplane::EntryPointer entry;  // null: remove
};

struct Postponed {
  Change change;
  Status reason;
};

struct Plan {
  Change change;
  uint32_t index = 0;
  bool fresh = false;                  // the index was free before
  Record after;                        // its entry: once committed
  std::vector<WantedEndpoint> wanted;  // as `after.endpoints`
  std::vector<uint32_t> new_endpoints;
  std::vector<std::pair<uint32_t, uint8_t>> old_flags;  // of those that stay, where they change
  std::vector<uint32_t> gone_endpoints;
  fl_entry entry_before{};
  std::vector<FrontendRecord> puts;
  std::vector<std::optional<fl_frontend>> replaced;  // by `puts`, or by what needed no write
  std::vector<fl_frontend_key> drops;
  std::vector<fl_addr> addresses_gained;
  std::vector<fl_addr> addresses_lost;
  std::vector<fl_prefix_key> prefixes_gained;
  std::vector<fl_prefix_key> prefixes_lost;
  Status failure;
};

struct Tables::State {
  explicit State(TableMaps& table_maps);

  // tables.cc
  Result<dataplane::Ack> apply(const dataplane::Delta& delta);
  void note_moves(std::span<const Change> upserts, std::span<const Change> removals);
  std::vector<dataplane::EntryPointer> unwanted(
      std::span<const dataplane::EntryPointer> upserted) const;
  // Appends what the kernel refused to `refused`, what found no room to `postponed`.
  void run(std::span<const Change> changes, std::vector<dataplane::Refusal>& refused,
           std::vector<Postponed>& postponed);
  template <typename T, typename Items, typename Write>
  void write(std::span<Plan> plans, const Items& items, const Write& write_items);
  void finish_round(std::span<Plan> plans, std::vector<dataplane::Refusal>& refused);
  void collect_drops(Plan& plan);
  void remove_moved();
  void settle();
  // Makes what was given up free again, after waiting for readers; false when that cannot be.
  bool reclaim();
  std::vector<Use> uses() const;

  // tables_plan.cc
  // `plan.change.entry` is what shall be. An error means that nothing was changed.
  Status prepare(Plan& plan);
  Status reserve(Plan& plan, std::array<std::vector<uint32_t>, FL_CHOICES>& slots);
  void match_endpoints(Plan& plan);
  Status reserve_rings(Plan& plan, std::array<std::vector<uint32_t>, FL_CHOICES>& slots);
  Status check_keys(Plan& plan);
  void give_back(Plan& plan);
  void publish(Plan& plan, const std::array<std::vector<uint32_t>, FL_CHOICES>& slots);
  void believe(Plan& plan);
  void hold_address(const fl_addr& address);
  void commit(Plan& plan);
  void undo(Plan& plan);
  void let_go(uint32_t endpoint, uint8_t protocol);
  void let_go_run(uint64_t ring);
  Status no_room(std::string_view map, uint64_t wanted, const dataplane::EntryKey& key) const;

  // tables_adopt.cc
  Status adopt();
  void adopt_entry(uint32_t index);
  bool take_run(uint64_t ring, uint32_t index);
  void adopt_endpoints();
  uint32_t claim(const dataplane::ForwardingEntry& entry);
  // Gives an earlier run's record that was claimed in vain a life of its own, as it stands.
  void revive(uint32_t index, const dataplane::EntryKey& key);
  void sweep();  // what nobody claimed

  // tables_audit.cc
  Result<dataplane::AuditReport> audit();
  void audit_record(uint32_t index, dataplane::AuditReport& report);

  const Record* find(const dataplane::EntryKey& key) const {
    const auto found = by_key.find(key);
    return found == by_key.end() ? nullptr : &records[*found];
  }
  // The entry that `key` belongs to now, null when it is nobody's.
  const dataplane::ForwardingEntry* owner_of(const fl_frontend_key& key,
                                             const fl_frontend& value) const;
  bool holds_run(const Record& record, uint64_t ring) const {
    return record.ring[0] == ring || record.ring[1] == ring;
  }
  uint32_t new_frontend_id();
  size_t frontends_in_map() const;
  size_t prefixes_in_map() const;
  // Calls `each` for both of a record's runs, once where they share one.
  template <typename Each>
  static void for_each_run(const std::array<uint64_t, FL_CHOICES>& ring, const Each& each) {
    if (FL_RING_SIZE(ring[0]) != 0) each(ring[0]);
    if (FL_RING_SIZE(ring[1]) != 0 && ring[1] != ring[0]) each(ring[1]);
  }

  TableMaps& maps;
  std::span<fl_entry> entries;
  std::span<fl_endpoint> endpoints;
  std::span<uint32_t> ring_slots;
  IdPool entry_ids;
  IdPool endpoint_ids;
  RangeAllocator ring_space;

  std::vector<Record> records;  // by index
  RecordIndexes by_key;
  std::vector<uint32_t> generations;  // of endpoints, by index
  FrontendMap frontends;              // what the map is to hold, cluster addresses included
  FrontendKeys stale_frontends;       // it may hold something else
  PrefixKeys prefixes;                // of entries
  PrefixKeys stale_prefixes;
  size_t foreign_prefixes = 0;  // of the map, not ours; as last read
  boost::unordered_flat_map<fl_addr, uint32_t, BytesHash<fl_addr>, BytesEqual<fl_addr>>
      address_uses;  // cluster IPs: how many entries

  // Given up, but a program may still look at it.
  std::vector<uint32_t> leaving_entries;
  std::vector<uint32_t> leaving_endpoints;
  std::vector<uint64_t> leaving_runs;
  uint64_t leaving_slots = 0;

  // Of the delta under way: keys that one entry gives up, and those of them that another one takes.
  FrontendKeys released;
  FrontendKeys moved;

  // What an earlier run left, until the first complete delta is done: its records stand in
  // `records`, without an entry.
  struct Adopted {
    boost::unordered_flat_set<uint32_t> entries;  // not claimed yet
    FrontendKeys distrusted;                      // their ids and entries mean nothing
    std::vector<uint32_t> strays;                 // endpoints of no entry
    std::vector<std::pair<uint32_t, fl_frontend_key>> by_entry;  // sorted; made when needed
    bool pending = false;
  } adopted;

  std::vector<Gone> gone;
  uint64_t operations = 0;
};

}  // namespace fairlead::bpf
