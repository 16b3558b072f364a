// The maps of the desired state in plain memory, with capacities, failures on demand, and a reader
// that goes through them as the programs do.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bpf/table_maps.h"
#include "dataplane/forwarding.h"

namespace fairlead::bpf::testing {

struct Capacity {
  uint32_t entries = 64;
  uint32_t endpoints = 128;
  uint32_t ring_slots = 4096;
  uint32_t frontends = 128;
  uint32_t prefixes = 32;
};

template <typename T>
struct BytesLess {
  bool operator()(const T& a, const T& b) const { return std::memcmp(&a, &b, sizeof(T)) < 0; }
};

// The memory of the kernel: outlives any number of FakeTableMaps (runs of the daemon).
struct Kernel {
  explicit Kernel(Capacity capacity = {});

  Capacity capacity;
  std::vector<fl_entry> entries;
  std::vector<fl_endpoint> endpoints;
  std::vector<uint32_t> ring_slots;
  fl_config config{};
  std::map<fl_frontend_key, fl_frontend, BytesLess<fl_frontend_key>> frontends;
  std::set<fl_prefix_key, BytesLess<fl_prefix_key>> prefixes;
};

class FakeTableMaps final : public TableMaps {
 public:
  explicit FakeTableMaps(Kernel& kernel) : kernel_(kernel) {}

  std::span<fl_entry> entries() override { return kernel_.entries; }
  std::span<fl_endpoint> endpoints() override { return kernel_.endpoints; }
  std::span<uint32_t> ring_slots() override { return kernel_.ring_slots; }
  fl_config& config() override { return kernel_.config; }
  uint32_t frontend_capacity() const override { return kernel_.capacity.frontends; }
  uint32_t prefix_capacity() const override { return kernel_.capacity.prefixes; }

  Status put_frontends(std::span<const FrontendRecord> records) override;
  Status remove_frontends(std::span<const fl_frontend_key> keys) override;
  Result<std::vector<FrontendRecord>> read_frontends() override;
  Status put_prefixes(std::span<const fl_prefix_key> keys) override;
  Status remove_prefixes(std::span<const fl_prefix_key> keys) override;
  Result<std::vector<fl_prefix_key>> read_prefixes() override;
  Status wait_for_readers() override;

  // Asked before each record is written; true makes the call fail there, what came before is done.
  std::function<bool()> fail;
  std::function<bool(const fl_frontend_key&)> fail_key;      // frontends that cannot be put
  std::function<bool(const fl_frontend_key&)> fail_removal;  // nor removed
  // Told before each call that changes a map, and before each wait.
  std::function<void()> before_call = [] {};
  int calls = 0;  // that change a map
  int waits = 0;

 private:
  template <typename Items, typename Do>
  Status each(const Items& items, const Do& do_one);

  Kernel& kernel_;
};

// Where a connection goes that asks for `address`, as select.bpf.h finds out.
struct Answer {
  enum Kind { kNobody, kRefused, kReject, kDrop, kTargets, kBroken } kind = kNobody;
  bool masquerade = false;
  uint32_t affinity_seconds = 0;
  bool restricted = false;
  bool skip_pods = false;
  uint32_t id = 0;
  // Address, port and FL_ENDPOINT_MAYBE_HERE of each endpoint, with the number of its slots.
  std::map<std::string, uint32_t> targets;
  std::string broken;  // kBroken: what does not fit together
};
Answer ask(const Kernel& kernel, const dataplane::SocketAddress& address,
           dataplane::Protocol protocol, dataplane::SourceClass source);
bool source_passes(const Kernel& kernel, const dataplane::SocketAddress& frontend,
                   dataplane::Protocol protocol, const dataplane::Address& source);
std::string describe(const dataplane::Target& target);

}  // namespace fairlead::bpf::testing
