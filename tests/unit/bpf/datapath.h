// The eBPF programs and their maps in this process, on a network namespace of their own, without a
// daemon and without being attached anywhere: packets are handed to them one by one.
//
// One for the whole test binary, since loading costs a second. Every test begins with reset().
//
// The namespace: `out0` leads to the outside (192.168.7.0/24, fd07::/64 and the default routes),
// `pod0` to pods of this node (10.1.0.0/24, fd01::/64), `thin0` has an MTU of 1280 (10.3.0.0/24,
// fd03::/64). 10.2.0.0/16 and fd02::/64, another node's pods, are reached through out0; 10.4.0.0/16
// and fd04::/64 by no route. The node is 192.168.7.1, 10.1.0.1, 10.3.0.1 and fd07::1, fd01::1,
// fd03::1.
//
// Threads: the one that called get() first, which lives in that namespace from then on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "bpf/layout.h"
#include "bpf/object.h"
#include "tests/harness/netns.h"
#include "tests/harness/packet.h"

namespace fairlead::bpf::testing {

// Verdicts in one vocabulary for tc and XDP.
inline constexpr std::string_view kPass = "pass";
inline constexpr std::string_view kDrop = "drop";
inline constexpr std::string_view kRedirect = "redirect";
inline constexpr std::string_view kTransmit = "tx";

struct Outcome {
  std::string verdict;
  harness::Packet packet;
  std::map<std::string, uint64_t> counted;  // counters that moved, "drop_" before those of drops

  std::string describe() const;
};

// How a packet comes in.
struct Arrival {
  std::string device = "out0";
  bool made_here = false;     // by the node itself: fl_egress acts on nothing else
  uint32_t segment_size = 0;  // not 0: several TCP segments in one (GSO)
};

struct Flow {
  fl_flow_key key;
  fl_flow value;
  bool established;  // in `fl_flows`
};

class Datapath {
 public:
  static constexpr uint32_t kReturnClasses = 2;

  // Null: `why` says what the machine lacks, or what is broken.
  static Datapath* get();
  static const std::string& why();
  // The machine cannot run this at all, so that tests skip; otherwise get() == nullptr is a
  // failure.
  static bool lacks_features();
  static Sizes sizes();

  // Every map as it is after a start of the daemon with no service at all: the namespace's
  // addresses and devices, a detector for 10.1.0.0/16, 10.2.0.0/16, fd01::/64 and fd02::/64.
  void reset();
  void forget_flows();
  // Flows were made by other runs than run(): forget_flows() has slots to clear.
  void mark_returns_used() { returns_used_ = true; }

  Outcome run(Program program, const harness::Packet& packet, const Arrival& arrival = {});

  const Object& object() const { return *object_; }
  harness::Namespace& netns() { return *netns_; }
  uint32_t device(const std::string& name) const;
  uint32_t hz() const { return hz_; }

  fl_config config() const;
  void set_config(const fl_config& config);

  template <typename Key, typename Value>
  void put(Map map, const Key& key, const Value& value) {
    write(map, &key, &value);
  }
  // False when the map is full.
  template <typename Key, typename Value>
  bool try_put(Map map, const Key& key, const Value& value) {
    return try_write(map, &key, &value);
  }
  template <typename Key>
  void remove(Map map, const Key& key) {
    erase(map, &key);
  }
  template <typename Key, typename Value>
  bool get(Map map, const Key& key, Value& value) const {
    return read(map, &key, &value);
  }
  template <typename Key, typename Value>
  std::vector<std::pair<Key, Value>> all(Map map) const {
    std::vector<std::pair<Key, Value>> out;
    Key key, next;
    for (bool more = next_key(map, nullptr, &next); more; more = next_key(map, &key, &next)) {
      key = next;
      Value value;
      if (read(map, &key, &value)) out.push_back({key, value});
    }
    return out;
  }

  std::vector<Flow> flows() const;  // of both maps
  // Makes flows, slots and remembered clients look as if their last packet were so long ago.
  void let_pass(uint32_t seconds);
  std::map<std::string, uint64_t> counters() const;

 private:
  Datapath() = default;
  Status start();
  Status make_network();
  Status measure_clock();
  void clear(Map map);
  void clear_array(Map map, size_t value_size, uint32_t elements);
  std::vector<uint64_t> counter_values() const;
  void write(Map map, const void* key, const void* value);
  bool try_write(Map map, const void* key, const void* value);
  void erase(Map map, const void* key);
  bool read(Map map, const void* key, void* value) const;
  bool next_key(Map map, const void* key, void* next) const;

  std::unique_ptr<Object> object_;
  std::unique_ptr<harness::Namespace> netns_;
  std::map<std::string, uint32_t> devices_;
  uint32_t hz_ = 0;
  bool returns_used_ = true;
};

fl_addr wire(const dataplane::Address& address);
fl_addr wire(std::string_view address);
fl_be16 wire(uint16_t port);
dataplane::Address address(const fl_addr& wire);

}  // namespace fairlead::bpf::testing
