#include "bpf/table_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <linux/if_ether.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "bpf/object.h"
#include "bpf/system.h"
#include "private_mounts.h"

namespace fairlead::bpf {
namespace {

using ::testing::HasSubstr;

FrontendRecord frontend(uint32_t number) {
  FrontendRecord record = {};
  record.key.address.word[3] = number;
  record.key.port = static_cast<fl_be16>(number * 7);
  record.key.protocol = 6;
  record.value.id = number + 1;
  record.value.entry = number / 2;
  return record;
}

fl_prefix_key prefix(uint32_t number) {
  fl_prefix_key key = {};
  key.prefix_bits = FL_PREFIX_FIXED_BITS + 128;
  key.domain = htonl(FL_DOMAIN_PODS);
  key.address.word[3] = number;
  return key;
}

class TableMapsTest : public testing::PrivateMounts {
 protected:
  void SetUp() override {
    PrivateMounts::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    open(testing::small_sizes());
  }
  void open(const Sizes& sizes) {
    maps_.reset();
    Result<std::unique_ptr<Object>> object = Object::load(sizes, "", Load::kMapsOnly);
    ASSERT_TRUE(object) << object.status().message();
    object_ = std::move(object).value();
    Result<std::unique_ptr<TableMaps>> maps = open_table_maps(*object_);
    ASSERT_TRUE(maps) << maps.status().message();
    maps_ = std::move(maps).value();
  }
  // What the kernel's own lookup of an array's element says.
  template <typename T>
  T element(Map map, uint32_t index) {
    T value = {};
    EXPECT_EQ(bpf_map_lookup_elem(object_->fd(map), &index, &value), 0);
    return value;
  }
  std::set<uint32_t> ids() {
    const Result<std::vector<FrontendRecord>> records = maps_->read_frontends();
    EXPECT_TRUE(records) << records.status().message();
    std::set<uint32_t> found;
    for (const FrontendRecord& record : *records) {
      const FrontendRecord expected = frontend(record.value.id - 1);
      EXPECT_EQ(std::memcmp(&record, &expected, sizeof record), 0) << record.value.id;
      EXPECT_TRUE(found.insert(record.value.id).second) << "met twice: " << record.value.id;
    }
    return found;
  }

  std::unique_ptr<Object> object_;
  std::unique_ptr<TableMaps> maps_;
};

TEST_F(TableMapsTest, SpansAreTheMapsElementByElement) {
  const Sizes sizes = testing::small_sizes();
  ASSERT_EQ(maps_->entries().size(), sizes.entries);
  ASSERT_EQ(maps_->endpoints().size(), sizes.endpoints);
  ASSERT_EQ(maps_->ring_slots().size(), sizes.ring_slots);
  EXPECT_EQ(maps_->frontend_capacity(), sizes.frontends);
  EXPECT_EQ(maps_->prefix_capacity(), sizes.prefixes);
  for (const uint32_t index : {0U, 1U, 5U, 63U, 127U}) {
    maps_->entries()[index].affinity_seconds = index + 1000;
    maps_->endpoints()[index * 4].generation = index + 2000;
    EXPECT_EQ(element<fl_entry>(Map::kEntries, index).affinity_seconds, index + 1000);
    EXPECT_EQ(element<fl_endpoint>(Map::kEndpoints, index * 4).generation, index + 2000);
  }
  for (const uint32_t slot : {0U, 15U, 16U, 17U, 1023U}) {
    maps_->ring_slots()[slot] = slot + 3000;
    const auto block = element<fl_ring_block>(Map::kRings, slot / FL_RING_BLOCK);
    EXPECT_EQ(block.endpoint[slot % FL_RING_BLOCK], slot + 3000);
  }
  maps_->config().next_frontend_id = 77;
  EXPECT_EQ(element<fl_config>(Map::kConfig, 0).next_frontend_id, 77U);
}

TEST_F(TableMapsTest, FrontendsAreReadAsTheyWereWritten) {
  EXPECT_EQ(ids(), std::set<uint32_t>{});
  std::vector<FrontendRecord> records;
  for (uint32_t i = 0; i < 200; ++i) records.push_back(frontend(i));
  ASSERT_TRUE(maps_->put_frontends(records));
  ASSERT_TRUE(maps_->put_frontends(records)) << "the same again";
  EXPECT_EQ(ids().size(), 200U);

  // Every other one, twice, in any order: those that are gone already are no error.
  std::vector<fl_frontend_key> keys;
  for (uint32_t i = 0; i < 200; i += 2) keys.insert(keys.end(), 2, records[i].key);
  std::shuffle(keys.begin(), keys.end(), std::mt19937(1));
  ASSERT_TRUE(maps_->remove_frontends(keys));
  const std::set<uint32_t> left = ids();
  EXPECT_EQ(left.size(), 100U);
  EXPECT_TRUE(std::all_of(left.begin(), left.end(), [](uint32_t id) { return id % 2 == 0; }));
  ASSERT_TRUE(maps_->remove_frontends(keys));
  ASSERT_TRUE(maps_->put_frontends({}));
  ASSERT_TRUE(maps_->remove_frontends({}));
  EXPECT_EQ(ids(), left);
}

TEST_F(TableMapsTest, ProgramsAreToldBetweenWhichPortsNodePortsAre) {
  const auto expect_told = [this](int first, int last) {
    const auto config = element<fl_config>(Map::kConfig, 0);
    EXPECT_EQ(config.node_port_first, first);
    EXPECT_EQ(config.node_port_last, last);
  };
  const auto node_port = [](uint16_t port, bool v6) {
    FrontendRecord record{};
    record.key.address.word[2] = v6 ? 0 : htonl(0xffff);
    record.key.port = htons(port);
    record.key.protocol = IPPROTO_TCP;
    record.value.id = port;
    return record;
  };
  ASSERT_TRUE(maps_->put_frontends(std::vector{frontend(1), frontend(2)}));
  expect_told(0, 0);
  const std::vector several = {node_port(30500, true), node_port(30400, false)};
  ASSERT_TRUE(maps_->put_frontends(several));
  expect_told(30400, 30500);
  ASSERT_TRUE(maps_->put_frontends(std::vector{node_port(30450, false)}));
  expect_told(30400, 30500);

  // Adopted from a build that did not tell.
  maps_->config().node_port_first = maps_->config().node_port_last = 0;
  ASSERT_TRUE(maps_->read_frontends());
  expect_told(30400, 30500);
}

TEST_F(TableMapsTest, ReadsMoreThanOneBatch) {
  Sizes sizes = testing::small_sizes();
  sizes.frontends = 50000;
  ASSERT_NO_FATAL_FAILURE(open(sizes));
  std::vector<FrontendRecord> records;
  for (uint32_t i = 0; i < 40000; ++i) records.push_back(frontend(i));
  ASSERT_TRUE(maps_->put_frontends(records));
  EXPECT_EQ(ids().size(), 40000U);
}

TEST_F(TableMapsTest, SaysWhichMapIsFullAndWhatRaisesIt) {
  std::vector<FrontendRecord> records;
  for (uint32_t i = 0; i < 300; ++i) records.push_back(frontend(i));
  const Status status = maps_->put_frontends(records);
  EXPECT_EQ(status.code(), StatusCode::kExhausted);
  EXPECT_EQ(status.message(),
            "write to map fl_frontends: it is full with 256 entries: raise --ebpf-max-frontends");
  EXPECT_EQ(ids().size(), 256U);

  std::vector<fl_prefix_key> keys;
  for (uint32_t i = 0; i < 300; ++i) keys.push_back(prefix(i));
  EXPECT_EQ(
      maps_->put_prefixes(keys).message(),
      "write to map fl_prefixes: it is full with 256 entries: raise --ebpf-max-source-ranges");
}

TEST_F(TableMapsTest, PrefixesAreReadAsTheyWereWritten) {
  std::vector<fl_prefix_key> keys;
  for (uint32_t i = 0; i < 200; ++i) keys.push_back(prefix(i));
  keys[7].prefix_bits = FL_PREFIX_FIXED_BITS;
  keys[8].domain = htonl(5);
  ASSERT_TRUE(maps_->put_prefixes(keys));
  const auto bytes = [](const fl_prefix_key& key) {
    return std::string(reinterpret_cast<const char*>(&key), sizeof key);
  };
  const auto read = [&] {
    std::set<std::string> found;
    const Result<std::vector<fl_prefix_key>> all = maps_->read_prefixes();
    EXPECT_TRUE(all) << all.status().message();
    for (const fl_prefix_key& key : *all) {
      // Bits beyond the prefix mean nothing, and the trie keeps them as they were given.
      EXPECT_TRUE(found.insert(bytes(key)).second);
    }
    return found;
  };
  std::set<std::string> expected;
  for (const fl_prefix_key& key : keys) expected.insert(bytes(key));
  EXPECT_EQ(read(), expected);

  const std::span<const fl_prefix_key> half = std::span(keys).first(100);
  ASSERT_TRUE(maps_->remove_prefixes(half));
  ASSERT_TRUE(maps_->remove_prefixes(half)) << "a second time";
  for (const fl_prefix_key& key : half) expected.erase(bytes(key));
  EXPECT_EQ(read(), expected);
}

// A map without batch calls: processors, which take a queue's length.
TEST_F(TableMapsTest, GoesOneByOneWhereThereAreNoBatches) {
  const Fd cpus(bpf_map_create(BPF_MAP_TYPE_CPUMAP, "cpus", 4, 4, 1, nullptr));
  if (!cpus.valid()) GTEST_SKIP() << "needs a CPU map";
  const MapHandle map = {cpus.get(), "cpus", ""};
  const uint32_t keys[] = {0, 9};
  const uint32_t values[] = {128, 128};
  size_t done = 77;
  EXPECT_EQ(update_all(map, keys, values, 2, &done).code(), StatusCode::kExhausted);
  EXPECT_EQ(done, 1U) << "the second processor is beyond the map's end";
  Result<Elements> elements = read_all(map);
  ASSERT_TRUE(elements) << elements.status().message();
  ASSERT_EQ(elements->count, 1U);
  EXPECT_EQ(std::memcmp(elements->values.data(), values, 4), 0);
  EXPECT_FALSE(is_empty({object_->fd(Map::kConfig), "fl_config", ""}));
}

TEST_F(TableMapsTest, ErrorsNameTheMap) {
  const MapHandle none = {-1, "fl_flows", ""};
  EXPECT_THAT(read_all(none).status().message(), HasSubstr("map fl_flows: "));
  EXPECT_THAT(update_all(none, nullptr, nullptr, 1).message(), HasSubstr("map fl_flows"));
  EXPECT_THAT(remove_all(none, nullptr, 1).message(), HasSubstr("map fl_flows"));
  const MapHandle flows = {object_->fd(Map::kFlows), "fl_flows", ""};
  EXPECT_THAT(ArrayMapping::open(flows).status().message(), HasSubstr("map fl_flows"));
}

// A program that writes 1 to the first word of `state`, takes its time, and writes 2.
Fd slow_program(int state, int hash) {
  const auto move = [](uint8_t to, uint8_t from) {
    return bpf_insn{BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0};
  };
  const auto set = [](uint8_t to, int32_t value) {
    return bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value};
  };
  const auto add = [](uint8_t to, int32_t value) {
    return bpf_insn{BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value};
  };
  const auto store = [](uint8_t at, int16_t offset, int32_t value) {
    return bpf_insn{BPF_ST | BPF_MEM | BPF_W, at, 0, offset, value};
  };
  const auto call = [](int32_t helper) { return bpf_insn{BPF_JMP | BPF_CALL, 0, 0, 0, helper}; };
  const bpf_insn load_hash = {BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, hash};
  const bpf_insn high = {0, 0, 0, 0, 0};
  const bpf_insn program[] = {
      {BPF_LD | BPF_DW | BPF_IMM, BPF_REG_6, BPF_PSEUDO_MAP_VALUE, 0, state},
      high,
      store(BPF_REG_6, 0, 1),
      set(BPF_REG_7, 50000),
      store(BPF_REG_10, -4, 0),
      // The loop: an update of a hash map, 50,000 times.
      load_hash,
      high,
      move(BPF_REG_2, BPF_REG_10),
      add(BPF_REG_2, -4),
      move(BPF_REG_3, BPF_REG_2),
      set(BPF_REG_4, BPF_ANY),
      call(BPF_FUNC_map_update_elem),
      add(BPF_REG_7, -1),
      {BPF_JMP | BPF_JNE | BPF_K, BPF_REG_7, 0, -9, 0},
      store(BPF_REG_6, 0, 2),
      set(BPF_REG_0, 0),
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  };
  return Fd(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "slow", "GPL", program, std::size(program), nullptr));
}

TEST_F(TableMapsTest, WaitsForTheProgramThatRuns) {
  LIBBPF_OPTS(bpf_map_create_opts, mapped);
  mapped.map_flags = BPF_F_MMAPABLE;
  const Fd state(bpf_map_create(BPF_MAP_TYPE_ARRAY, "state", 4, 8, 1, &mapped));
  const Fd hash(bpf_map_create(BPF_MAP_TYPE_HASH, "hash", 4, 4, 8, nullptr));
  const Fd program = slow_program(state.get(), hash.get());
  ASSERT_TRUE(program.valid());
  Result<ArrayMapping> mapping = ArrayMapping::open({state.get(), "state", ""});
  ASSERT_TRUE(mapping) << mapping.status().message();
  std::atomic_ref<uint32_t> word(mapping->as<uint32_t>()[0]);
  for (int round = 0; round < 20; ++round) {
    word = 0;
    int error = 0;
    std::thread runner([&] {
      char packet[ETH_HLEN + 20] = {};
      LIBBPF_OPTS(bpf_test_run_opts, run);
      run.data_in = packet;
      run.data_size_in = sizeof packet;
      error = bpf_prog_test_run_opts(program.get(), &run);
      if (error != 0) word = 2;
    });
    while (word == 0) std::this_thread::yield();
    EXPECT_TRUE(maps_->wait_for_readers());
    EXPECT_EQ(word, 2U);
    runner.join();
    ASSERT_EQ(error, 0);
  }
}

}  // namespace
}  // namespace fairlead::bpf
