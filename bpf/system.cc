#include "bpf/system.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <utility>

namespace fairlead::bpf {
namespace {

constexpr uint32_t kBatch = 1 << 16;        // elements in one call: bounds the time in the kernel
constexpr uint32_t kFirstReadBatch = 4096;  // grows when a hash bucket does not fit
constexpr int kPatience = 16;               // tries when a bucket is locked by somebody else
constexpr int kErrnoNotSupported = 524;     // ENOTSUPP: the kernel's own, not in errno.h

// The map's type has no batch calls, or not this one.
bool lacks_batch(int error) {
  return error == kErrnoNotSupported || error == EOPNOTSUPP || error == EINVAL;
}

bool may_pass(int error) {
  return error == EBUSY || error == EAGAIN || error == EINTR || error == EDEADLK ||
         error == ETIMEDOUT;
}

std::string named(const MapHandle& map) {
  return fmt::format("map {}", map.name);
}

Status failed(int error, std::string_view operation, const MapHandle& map) {
  if (error == E2BIG || error == ENOSPC) {
    const Result<MapShape> shape = shape_of(map);
    const uint32_t room = shape ? shape->max_entries : 0;
    return Status::error(StatusCode::kExhausted, operation, named(map),
                         map.flag.empty()
                             ? fmt::format("it is full with {} entries", room)
                             : fmt::format("it is full with {} entries: raise {}", room, map.flag));
  }
  return Status::from_errno(error, operation, named(map));
}

// How far a pass over elements has come, and how often the same one was tried in vain.
struct Progress {
  size_t done = 0;
  int tries = 0;

  void advance(size_t count) {
    if (count == 0) return;
    done += count;
    tries = 0;
  }
  bool try_again(int error) { return may_pass(error) && ++tries < kPatience; }
};

const std::byte* at(const void* base, size_t index, uint32_t size) {
  return static_cast<const std::byte*>(base) + index * size;
}

Status update_singly(const MapHandle& map, const MapShape& shape, const void* keys,
                     const void* values, size_t count, Progress& progress) {
  while (progress.done < count) {
    const int error = -bpf_map_update_elem(map.fd, at(keys, progress.done, shape.key_size),
                                           at(values, progress.done, shape.value_size), BPF_ANY);
    if (error == 0) {
      progress.advance(1);
    } else if (!progress.try_again(error)) {
      return failed(error, "write to", map);
    }
  }
  return {};
}

Status remove_singly(const MapHandle& map, const MapShape& shape, const void* keys, size_t count,
                     Progress& progress) {
  while (progress.done < count) {
    const int error = -bpf_map_delete_elem(map.fd, at(keys, progress.done, shape.key_size));
    if (error == 0 || error == ENOENT) {
      progress.advance(1);
    } else if (!progress.try_again(error)) {
      return failed(error, "remove from", map);
    }
  }
  return {};
}

Result<Elements> read_singly(const MapHandle& map, const MapShape& shape) {
  Elements elements;
  std::vector<std::byte> key(shape.key_size);
  std::vector<std::byte> value(shape.value_size);
  const void* previous = nullptr;
  while (true) {
    const int error = -bpf_map_get_next_key(map.fd, previous, key.data());
    if (error == ENOENT) return elements;
    if (error != 0) return failed(error, "read", map);
    previous = key.data();
    if (bpf_map_lookup_elem(map.fd, key.data(), value.data()) != 0) continue;  // gone meanwhile
    elements.keys.insert(elements.keys.end(), key.begin(), key.end());
    elements.values.insert(elements.values.end(), value.begin(), value.end());
    ++elements.count;
  }
}

thread_local std::string* libbpf_text = nullptr;

int keep_text(libbpf_print_level level, const char* format, va_list arguments) {
  if (libbpf_text == nullptr || level == LIBBPF_DEBUG) return 0;
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length <= 0) return 0;
  const size_t end = libbpf_text->size();
  libbpf_text->resize(end + static_cast<size_t>(length) + 1);
  std::vsnprintf(libbpf_text->data() + end, static_cast<size_t>(length) + 1, format, arguments);
  libbpf_text->resize(end + static_cast<size_t>(length));
  return 0;
}

}  // namespace

Result<MapShape> shape_of(const MapHandle& map) {
  bpf_map_info info = {};
  uint32_t size = sizeof info;
  const int error = -bpf_obj_get_info_by_fd(map.fd, &info, &size);
  if (error != 0) return Status::from_errno(error, "ask for the size of", named(map));
  return MapShape{info.type, info.key_size, info.value_size, info.max_entries, info.map_flags};
}

Result<Fd> open_pinned_map(const std::string& path) {
  const int fd = bpf_obj_get(path.c_str());
  if (fd < 0) return Status::from_errno(-fd, "open", path);
  Fd map(fd);
  // The call opens whatever is pinned; only the name of the descriptor tells what it is.
  std::array<char, 64> kind = {};
  const std::string link = fmt::format("/proc/self/fd/{}", fd);
  const ssize_t length = ::readlink(link.c_str(), kind.data(), kind.size());
  if (length < 0) return Status::from_errno(errno, "read", link);
  if (!std::string_view(kind.data(), static_cast<size_t>(length)).ends_with("bpf-map")) {
    return Status::error(StatusCode::kConflict, "open", path, "what is pinned there is no map");
  }
  return map;
}

Status update_all(const MapHandle& map, const void* keys, const void* values, size_t count,
                  size_t* done) {
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of(map));
  Progress progress;
  const auto end = [&](Status status) {
    if (done != nullptr) *done = progress.done;
    return status;
  };
  while (progress.done < count) {
    const auto asked = static_cast<uint32_t>(std::min<size_t>(count - progress.done, kBatch));
    uint32_t written = asked;
    const int error =
        -bpf_map_update_batch(map.fd, at(keys, progress.done, shape.key_size),
                              at(values, progress.done, shape.value_size), &written, nullptr);
    if (lacks_batch(error)) {
      return end(update_singly(map, shape, keys, values, count, progress));
    }
    // After an error the kernel says how many it did; where it failed before it began, it leaves
    // the number as it was.
    progress.advance(error != 0 && written >= asked ? 0 : written);
    if (error != 0 && !progress.try_again(error)) return end(failed(error, "write to", map));
  }
  return end({});
}

Status remove_all(const MapHandle& map, const void* keys, size_t count) {
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of(map));
  Progress progress;
  while (progress.done < count) {
    const auto asked = static_cast<uint32_t>(std::min<size_t>(count - progress.done, kBatch));
    uint32_t removed = asked;
    const int error =
        -bpf_map_delete_batch(map.fd, at(keys, progress.done, shape.key_size), &removed, nullptr);
    if (lacks_batch(error)) return remove_singly(map, shape, keys, count, progress);
    progress.advance(error != 0 && removed >= asked ? 0 : removed);
    if (error == ENOENT) {
      progress.advance(1);  // the batch ends at the first key that is missing
    } else if (error != 0 && !progress.try_again(error)) {
      return failed(error, "remove from", map);
    }
  }
  return {};
}

Result<Elements> read_all(const MapHandle& map) {
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of(map));
  Elements elements;
  // Where the next batch begins: a bucket's number in a hash, a key elsewhere.
  std::vector<std::byte> next(std::max<size_t>(shape.key_size, sizeof(uint64_t)));
  bool begun = false;
  uint32_t asked = kFirstReadBatch;
  Progress progress;
  while (true) {
    elements.keys.resize((progress.done + asked) * shape.key_size);
    elements.values.resize((progress.done + asked) * shape.value_size);
    uint32_t read = asked;
    const int error = -bpf_map_lookup_batch(
        map.fd, begun ? next.data() : nullptr, next.data(),
        elements.keys.data() + progress.done * shape.key_size,
        elements.values.data() + progress.done * shape.value_size, &read, nullptr);
    if (lacks_batch(error) && !begun) return read_singly(map, shape);
    if (error == ENOSPC && asked < shape.max_entries) {
      asked *= 2;  // a whole bucket at a time, and this one holds more
      continue;
    }
    const bool whole = error == 0 || error == ENOENT;  // ENOENT: these were the last
    progress.advance(whole || read < asked ? read : 0);
    begun = begun || read > 0;
    if (error == ENOENT) break;
    if (error != 0 && !progress.try_again(error)) return failed(error, "read", map);
    asked = std::min(asked * 2, kBatch);
  }
  elements.count = progress.done;
  elements.keys.resize(progress.done * shape.key_size);
  elements.values.resize(progress.done * shape.value_size);
  return elements;
}

bool is_empty(const MapHandle& map) {
  const Result<MapShape> shape = shape_of(map);
  if (!shape) return true;
  std::vector<std::byte> key(shape->key_size);
  return bpf_map_get_next_key(map.fd, nullptr, key.data()) != 0;
}

Result<ArrayMapping> ArrayMapping::open(const MapHandle& map) {
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of(map));
  // The kernel rounds elements up to 8 bytes; a layout that relies on it would have to say so.
  if (shape.type != BPF_MAP_TYPE_ARRAY || shape.value_size % 8 != 0) {
    return Status::error(StatusCode::kInternal, "map into memory", named(map),
                         "not an array of elements of whole 8 bytes");
  }
  const size_t size = size_t{shape.max_entries} * shape.value_size;
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, map.fd, 0);
  if (address == MAP_FAILED) return Status::from_errno(errno, "map into memory", named(map));
  ArrayMapping mapping;
  mapping.bytes_ = {static_cast<std::byte*>(address), size};
  return mapping;
}

ArrayMapping::~ArrayMapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

ArrayMapping::ArrayMapping(ArrayMapping&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})) {}

ArrayMapping& ArrayMapping::operator=(ArrayMapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

LibbpfLog::LibbpfLog() : outer_(libbpf_text) {
  static std::once_flag installed;
  std::call_once(installed, [] { libbpf_set_print(keep_text); });
  libbpf_text = &text_;
}

LibbpfLog::~LibbpfLog() {
  libbpf_text = outer_;
}

}  // namespace fairlead::bpf
