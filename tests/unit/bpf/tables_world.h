// A daemon's tables over a fake kernel, and a model of what was acknowledged. Every check goes
// through the maps as the programs do.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bpf/tables.h"
#include "dataplane/compile.h"
#include "fake_table_maps.h"

namespace fairlead::bpf::testing {

// A service on cluster IP 10.96.0.<n>, port 80/TCP, with endpoints 10.1.0.<i>:8080.
struct Spec {
  dataplane::Service service;
  std::vector<int> targets;
  std::vector<int> local_targets;
  bool masquerade_all = false;

  Spec& endpoints(std::vector<int> list);
  Spec& here(std::vector<int> list);  // those of them on this node
  Spec& udp();
  Spec& dual();  // also fd00:96::<n> and fd00:1::<i>
  Spec& node_port(uint16_t port);
  Spec& external(int i);       // 203.0.113.<i>
  Spec& load_balancer(int i);  // 198.51.100.<i>
  Spec& ranges(const std::vector<std::string>& list);
  Spec& affinity(uint32_t seconds);
  Spec& internal_local();
  Spec& external_local();
  Spec& all_masqueraded();
  Spec& created(int64_t when);
  Spec& port_count(int count);  // named p0, p1, ... from 80 on
};
Spec spec(const std::string& name, int n);

class World {
 public:
  explicit World(Capacity capacity = {});

  void put(const Spec& spec);
  void remove(const std::string& name);
  // The pending delta. Lines "<key>: <why>" of what was refused.
  std::string apply();
  // A new daemon on the same kernel, and its first, complete delta. Operations of that are in
  // `operations`.
  std::string restart();
  void adopt();  // the first half of restart()
  void audit(uint64_t repaired);

  // Every frontend of the model answers as its entry says, and nothing else does; whatever is in
  // use is used once; uses() is exact.
  void expect_served();
  // What holds at any moment, in the middle of a change too.
  void expect_sound();

  Answer ask(const std::string& address, dataplane::Protocol protocol = dataplane::Protocol::kTcp,
             dataplane::SourceClass source = dataplane::SourceClass::kPod) const;
  uint32_t index_of(const std::string& target) const;   // in `fl_endpoints`; 0: none serves there
  uint32_t entry_of(const std::string& address) const;  // in `fl_entries`
  uint64_t used(std::string_view map) const;

  Kernel kernel;
  std::unique_ptr<FakeTableMaps> maps;
  std::unique_ptr<Tables> tables;
  dataplane::ForwardingTable table;
  std::map<dataplane::EntryKey, dataplane::EntryPointer> model;
  uint64_t operations = 0;
  bool complete_next = true;
  bool lenient = false;  // writes fail: what does not fit together for a moment is no fault

 private:
  void acknowledge(const dataplane::Delta& delta, const dataplane::Ack& ack);
  void expect_answers(const dataplane::ForwardingEntry& entry);
  void observe();
  void observe_entries();

  uint64_t generation_ = 0;
  // False after a first delta that was refused in part, until one is not: the maps do not say which
  // of the entries had what, where several have changed since. And while an entry that was refused
  // has lost addresses to others: its endpoints and its cluster IP's marker stand until it goes in.
  bool exact_ = true;
  // What was in use at the last look, and how often readers had been waited for.
  std::map<uint32_t, std::pair<int, fl_u32>> seen_endpoints_;  // generation
  std::map<uint32_t, std::pair<int, uint32_t>> seen_slots_;
  std::map<uint32_t, std::pair<int, dataplane::EntryKey>> seen_entries_;
};

}  // namespace fairlead::bpf::testing
