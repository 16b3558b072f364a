// The maps of the desired state as the renderer sees them: three arrays mapped into memory, and a
// hash and a trie changed by system calls. A seam, so that failures can be injected.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "bpf/layout.h"

namespace fairlead::bpf {

class Object;

struct FrontendRecord {
  fl_frontend_key key;
  fl_frontend value;
};

class TableMaps {
 public:
  virtual ~TableMaps() = default;

  // Shared with the programs, which read while we write: see layout.h for what may change when.
  // Their sizes are the maps' capacities; index 0 of each stays unused (0 is no id).
  virtual std::span<fl_entry> entries() = 0;
  virtual std::span<fl_endpoint> endpoints() = 0;
  virtual std::span<uint32_t> ring_slots() = 0;
  // The one element; next_frontend_id is the renderer's, everything else is not.
  virtual fl_config& config() = 0;

  virtual uint32_t frontend_capacity() const = 0;
  virtual uint32_t prefix_capacity() const = 0;

  // In as few system calls as the kernel allows. After an error any part may have been done; doing
  // the same again is safe. Removing what is not there is no error.
  virtual Status put_frontends(std::span<const FrontendRecord> records) = 0;
  virtual Status remove_frontends(std::span<const fl_frontend_key> keys) = 0;
  virtual Result<std::vector<FrontendRecord>> read_frontends() = 0;
  virtual Status put_prefixes(std::span<const fl_prefix_key> keys) = 0;
  virtual Status remove_prefixes(std::span<const fl_prefix_key> keys) = 0;
  virtual Result<std::vector<fl_prefix_key>> read_prefixes() = 0;

  // Returns when no program that was running at the call still runs (what it looked up is let go).
  virtual Status wait_for_readers() = 0;
};

// On the maps of `object`, which must outlive it.
Result<std::unique_ptr<TableMaps>> open_table_maps(const Object& object);

}  // namespace fairlead::bpf
