#include "bpf/table_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>

#include "base/fd.h"
#include "bpf/map_rows.h"
#include "bpf/object.h"
#include "bpf/system.h"

namespace fairlead::bpf {
namespace {

// What fl_prefixes holds under a key: only that it is there matters.
constexpr uint32_t kPresent = 1;

// Waits for an RCU grace period, under which every program runs that is attached here: the kernel
// promises one at the end of each change of a map of maps, on any number of CPUs. (membarrier()
// costs the same and does nothing where one CPU is online.)
class GracePeriod {
 public:
  Status open() {
    inner_.reset(bpf_map_create(BPF_MAP_TYPE_ARRAY, "fl_grace_inner", 4, 4, 1, nullptr));
    if (!inner_.valid()) return Status::from_errno(errno, "create", "map fl_grace_inner");
    LIBBPF_OPTS(bpf_map_create_opts, options);
    options.inner_map_fd = static_cast<uint32_t>(inner_.get());
    outer_.reset(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "fl_grace", 4, 4, 1, &options));
    if (!outer_.valid()) return Status::from_errno(errno, "create", "map fl_grace");
    return {};
  }

  Status wait() {
    const uint32_t slot = 0;
    const int inner = inner_.get();
    const int error = -bpf_map_update_elem(outer_.get(), &slot, &inner, BPF_ANY);
    if (error != 0) return Status::from_errno(error, "wait for readers with", "map fl_grace");
    return {};
  }

 private:
  Fd inner_;
  Fd outer_;
};

class KernelTableMaps final : public TableMaps {
 public:
  Status open(const Object& object);

  std::span<fl_entry> entries() override { return entries_.as<fl_entry>(); }
  std::span<fl_endpoint> endpoints() override { return endpoints_.as<fl_endpoint>(); }
  std::span<uint32_t> ring_slots() override { return rings_.as<uint32_t>(); }
  fl_config& config() override { return config_.as<fl_config>().front(); }

  uint32_t frontend_capacity() const override { return frontend_capacity_; }
  uint32_t prefix_capacity() const override { return prefix_capacity_; }

  Status put_frontends(std::span<const FrontendRecord> records) override;
  Status remove_frontends(std::span<const fl_frontend_key> keys) override {
    return remove_all(frontends_, keys.data(), keys.size());
  }
  Result<std::vector<FrontendRecord>> read_frontends() override;
  Status put_prefixes(std::span<const fl_prefix_key> keys) override {
    const std::vector<uint32_t> values(keys.size(), kPresent);
    return update_all(prefixes_, keys.data(), values.data(), keys.size());
  }
  Status remove_prefixes(std::span<const fl_prefix_key> keys) override {
    return remove_all(prefixes_, keys.data(), keys.size());
  }
  Result<std::vector<fl_prefix_key>> read_prefixes() override;
  Status wait_for_readers() override { return grace_period_.wait(); }

 private:
  // Before the programs can meet it. It may be there already, put by a build that did not tell.
  void tell_node_port(const fl_frontend_key& key);

  MapHandle frontends_;
  MapHandle prefixes_;
  uint32_t frontend_capacity_ = 0;
  uint32_t prefix_capacity_ = 0;
  ArrayMapping entries_;
  ArrayMapping endpoints_;
  ArrayMapping rings_;
  ArrayMapping config_;
  GracePeriod grace_period_;
};

// Stands under its family's unspecified address.
bool is_node_port(const fl_frontend_key& key) {
  const fl_be32* const word = key.address.word;
  return key.port != 0 && word[0] == 0 && word[1] == 0 && word[3] == 0 &&
         (word[2] == 0 || word[2] == htonl(0xffff));
}

// Fails unless keys and values of `map` have these sizes: the casts below rely on it.
Result<MapShape> check_shape(const MapHandle& map, size_t key_size, size_t value_size) {
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of(map));
  if (shape.key_size == key_size && shape.value_size == value_size) return shape;
  return Status::error(StatusCode::kInternal, "use", "map " + std::string(map.name),
                       "its keys or values have not the size of this build's");
}

Status KernelTableMaps::open(const Object& object) {
  const auto handle = [&](Map map) {
    return MapHandle{object.fd(map), to_string(map), row_of(map).flag};
  };
  const std::array<std::tuple<Map, size_t, ArrayMapping*>, 4> arrays = {{
      {Map::kEntries, sizeof(fl_entry), &entries_},
      {Map::kEndpoints, sizeof(fl_endpoint), &endpoints_},
      {Map::kRings, sizeof(fl_ring_block), &rings_},
      {Map::kConfig, sizeof(fl_config), &config_},
  }};
  for (const auto& [map, value_size, mapping] : arrays) {
    RETURN_IF_ERROR(check_shape(handle(map), sizeof(uint32_t), value_size).status());
    ASSIGN_OR_RETURN(*mapping, ArrayMapping::open(handle(map)));
  }
  frontends_ = handle(Map::kFrontends);
  prefixes_ = handle(Map::kPrefixes);
  MapShape shape;
  ASSIGN_OR_RETURN(shape, check_shape(frontends_, sizeof(fl_frontend_key), sizeof(fl_frontend)));
  frontend_capacity_ = shape.max_entries;
  ASSIGN_OR_RETURN(shape, check_shape(prefixes_, sizeof(fl_prefix_key), sizeof kPresent));
  prefix_capacity_ = shape.max_entries;
  return grace_period_.open();
}

void KernelTableMaps::tell_node_port(const fl_frontend_key& key) {
  if (!is_node_port(key)) return;
  const uint16_t port = ntohs(key.port);
  volatile fl_config& held = config();
  if (held.node_port_last == 0 || port < held.node_port_first) held.node_port_first = port;
  if (port > held.node_port_last) held.node_port_last = port;
}

Status KernelTableMaps::put_frontends(std::span<const FrontendRecord> records) {
  std::vector<fl_frontend_key> keys;
  std::vector<fl_frontend> values;
  keys.reserve(records.size());
  values.reserve(records.size());
  for (const FrontendRecord& record : records) {
    tell_node_port(record.key);
    keys.push_back(record.key);
    values.push_back(record.value);
  }
  return update_all(frontends_, keys.data(), values.data(), records.size());
}

Result<std::vector<FrontendRecord>> KernelTableMaps::read_frontends() {
  Elements elements;
  ASSIGN_OR_RETURN(elements, read_all(frontends_));
  std::vector<FrontendRecord> records(elements.count);
  const std::byte* key = elements.keys.data();
  const std::byte* value = elements.values.data();
  for (FrontendRecord& record : records) {
    std::memcpy(&record.key, key, sizeof record.key);
    std::memcpy(&record.value, value, sizeof record.value);
    tell_node_port(record.key);
    key += sizeof record.key;
    value += sizeof record.value;
  }
  return records;
}

Result<std::vector<fl_prefix_key>> KernelTableMaps::read_prefixes() {
  Elements elements;
  ASSIGN_OR_RETURN(elements, read_all(prefixes_));
  std::vector<fl_prefix_key> keys(elements.count);
  if (!keys.empty()) std::memcpy(keys.data(), elements.keys.data(), elements.keys.size());
  return keys;
}

}  // namespace

Result<std::unique_ptr<TableMaps>> open_table_maps(const Object& object) {
  auto maps = std::make_unique<KernelTableMaps>();
  RETURN_IF_ERROR(maps->open(object));
  return std::unique_ptr<TableMaps>(std::move(maps));
}

}  // namespace fairlead::bpf
