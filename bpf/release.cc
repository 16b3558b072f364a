#include "bpf/release.h"

#include <cstring>
#include <vector>

#include "bpf/layout.h"
#include "bpf/map_rows.h"
#include "bpf/pins.h"
#include "bpf/system.h"
#include "bpf/tables_render.h"

namespace fairlead::bpf {
namespace {

// Deletes the elements of a pinned map whose key and value `goes` picks.
template <typename Key, typename Value, typename Predicate>
Status delete_elements(const std::string& directory, Map map, Predicate goes) {
  const MapRow& row = row_of(map);
  const Result<Fd> pinned = open_pinned_map(directory + "/" + std::string(row.name));
  if (!pinned) return pinned.status().code() == StatusCode::kNotFound ? Status() : pinned.status();
  const MapHandle handle{pinned->get(), row.name, row.flag};
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of(handle));
  if (shape.key_size != sizeof(Key) || shape.value_size != sizeof(Value)) {
    return Status::error(StatusCode::kUnsupported, "empty", directory + "/" + std::string(row.name),
                         "a map of another layout");
  }
  Elements elements;
  ASSIGN_OR_RETURN(elements, read_all(handle));
  std::vector<std::byte> keys;
  for (size_t i = 0; i < elements.count; ++i) {
    Key key;
    Value value;
    std::memcpy(&key, elements.keys.data() + i * sizeof key, sizeof key);
    std::memcpy(&value, elements.values.data() + i * sizeof value, sizeof value);
    if (!goes(key, value)) continue;
    const std::byte* const begin = elements.keys.data() + i * sizeof key;
    keys.insert(keys.end(), begin, begin + sizeof key);
  }
  return remove_all(handle, keys.data(), keys.size() / sizeof(Key));
}

}  // namespace

Result<bool> release_pins(const std::string& pin_path) {
  std::vector<std::string> versions;
  ASSIGN_OR_RETURN(versions, list_directory(pin_path));
  for (const std::string& version : versions) {
    const std::string maps = pin_path + "/" + version + "/maps";
    // What refuses packets that nobody is served by goes before the services.
    RETURN_IF_ERROR((delete_elements<fl_prefix_key, fl_u32>(
        maps, Map::kPrefixes,
        [](const fl_prefix_key& key, fl_u32) { return domain_of(key) == FL_DOMAIN_SERVICES; })));
    const auto refuses = [](const fl_frontend_key&, const fl_frontend& value) {
      return value.kind == FL_KIND_CLUSTER_ADDRESS;
    };
    RETURN_IF_ERROR(
        (delete_elements<fl_frontend_key, fl_frontend>(maps, Map::kFrontends, refuses)));
    RETURN_IF_ERROR((delete_elements<fl_frontend_key, fl_frontend>(
        maps, Map::kFrontends, [](const auto&, const auto&) { return true; })));
  }
  return !versions.empty();
}

}  // namespace fairlead::bpf
