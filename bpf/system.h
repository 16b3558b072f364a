// Thin wrappers over the bpf system call: the shape of a map, whole maps read and written in as few
// calls as the kernel allows, an array mapped into memory, and libbpf's messages caught.
//
// Threads: functions from any thread; an object belongs to one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace fairlead::bpf {

struct MapShape {
  uint32_t type = 0;
  uint32_t key_size = 0;
  uint32_t value_size = 0;
  uint32_t max_entries = 0;
  uint32_t flags = 0;
};

// A map as error messages name it. `flag` sets its size and may be empty.
struct MapHandle {
  int fd = -1;
  std::string_view name;
  std::string_view flag;
};

Result<MapShape> shape_of(const MapHandle& map);

// kNotFound when nothing is there, kConflict when what is there is no map.
Result<Fd> open_pinned_map(const std::string& path);

// Elements side by side, as the kernel's batch calls take them.
struct Elements {
  size_t count = 0;
  std::vector<std::byte> keys;
  std::vector<std::byte> values;
};

// Writes `count` elements. `done`, when given, is how many were written before an error; kExhausted
// when the map is full.
Status update_all(const MapHandle& map, const void* keys, const void* values, size_t count,
                  size_t* done = nullptr);
// Removing what is not there is no error.
Status remove_all(const MapHandle& map, const void* keys, size_t count);
// Not for per-CPU maps. Elements that change meanwhile may be missed or met twice.
Result<Elements> read_all(const MapHandle& map);
bool is_empty(const MapHandle& map);

// An array map with BPF_F_MMAPABLE in this process's memory, for reading and writing.
class ArrayMapping {
 public:
  ArrayMapping() = default;
  static Result<ArrayMapping> open(const MapHandle& map);
  ~ArrayMapping();
  ArrayMapping(ArrayMapping&& other) noexcept;
  ArrayMapping& operator=(ArrayMapping&& other) noexcept;
  ArrayMapping(const ArrayMapping&) = delete;
  ArrayMapping& operator=(const ArrayMapping&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }
  // Precondition: sizeof(T) divides the distance between two elements (open_as checks it).
  template <typename T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

 private:
  std::span<std::byte> bytes_;
};

// Catches what libbpf has to say on this thread while it lives. From the first one on, nothing of
// libbpf reaches standard error any more, from no thread.
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  LibbpfLog& operator=(const LibbpfLog&) = delete;

  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::string* outer_;
};

}  // namespace fairlead::bpf
