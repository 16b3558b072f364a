#include "bpf/object.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>

#include "bpf/map_rows.h"
#include "bpf/pins.h"
#include "bpf/system.h"
#include "private_mounts.h"

namespace fairlead::bpf {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t kMark = 4711;  // in what must stay together with flows

class ObjectTest : public testing::PrivateMounts {
 protected:
  void SetUp() override {
    PrivateMounts::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const Result<Pins> pins = Pins::open("/sys/fs/bpf/fairlead");
    ASSERT_TRUE(pins) << pins.status().message();
    maps_ = pins->maps();
  }

  std::unique_ptr<Object> load(const Sizes& sizes = testing::small_sizes()) {
    Result<std::unique_ptr<Object>> object = Object::load(sizes, maps_, Load::kMapsOnly);
    EXPECT_TRUE(object) << object.status().message();
    return object ? std::move(object).value() : nullptr;
  }
  // load(), and what it wrote to standard error.
  std::string load_and_listen(const Sizes& sizes) {
    ::testing::internal::CaptureStderr();
    load();
    ::testing::internal::GetCapturedStderr();
    ::testing::internal::CaptureStderr();
    load(sizes);
    return ::testing::internal::GetCapturedStderr();
  }
  std::string path(Map map) const { return maps_ + "/" + std::string(to_string(map)); }

  static MapHandle handle(const Object& object, Map map) {
    return {object.fd(map), to_string(map), ""};
  }
  static size_t count(const Object& object, Map map) {
    const Result<Elements> elements = read_all(handle(object, map));
    EXPECT_TRUE(elements) << elements.status().message();
    return elements ? elements->count : 0;
  }
  static void put_flows(const Object& object, Map map, uint32_t number) {
    std::vector<fl_flow_key> keys(number);
    std::vector<fl_flow> values(number);
    for (uint32_t i = 0; i < number; ++i) {
      keys[i].frontend = i + 1;
      values[i].slot = i;
    }
    EXPECT_TRUE(update_all(handle(object, map), keys.data(), values.data(), number));
  }
  template <typename T>
  static T element(const Object& object, Map map, uint32_t index) {
    T value = {};
    EXPECT_EQ(bpf_map_lookup_elem(object.fd(map), &index, &value), 0) << to_string(map);
    return value;
  }
  template <typename T>
  static void set_element(const Object& object, Map map, uint32_t index, const T& value) {
    EXPECT_EQ(bpf_map_update_elem(object.fd(map), &index, &value, BPF_ANY), 0) << to_string(map);
  }

  // One flow, and a mark in everything that it needs.
  static void mark(const Object& object) {
    put_flows(object, Map::kFlows, 1);
    put_flows(object, Map::kNewFlows, 1);
    fl_config config = element<fl_config>(object, Map::kConfig, 0);
    config.next_frontend_id = kMark;
    set_element(object, Map::kConfig, 0, config);
    fl_return way_back = {};
    way_back.frontend = kMark;
    set_element(object, Map::kReturns, 0, way_back);
    fl_endpoint endpoint = {};
    endpoint.generation = kMark;
    set_element(object, Map::kEndpoints, 1, endpoint);
  }
  // What must hold after whatever happened to the pins.
  void expect_sound(const Object& object, const std::string& after) {
    for (const MapRow& row : kMapRows) {
      EXPECT_EQ(testing::pinned_map_id(path(row.map)), testing::map_id(object.fd(row.map)))
          << row.name << " after " << after;
      EXPECT_NE(::access((path(row.map) + "_new").c_str(), F_OK), 0) << row.name << after;
    }
    if (count(object, Map::kFlows) + count(object, Map::kNewFlows) == 0) return;
    EXPECT_EQ(element<fl_config>(object, Map::kConfig, 0).next_frontend_id, kMark) << after;
    EXPECT_EQ(element<fl_return>(object, Map::kReturns, 0).frontend, kMark) << after;
    EXPECT_EQ(element<fl_endpoint>(object, Map::kEndpoints, 1).generation, kMark) << after;
  }

  void pin_map(const std::string& at, bpf_map_type type, uint32_t key, uint32_t value,
               uint32_t entries) {
    const Fd map(bpf_map_create(type, "other", key, value, entries, nullptr));
    ASSERT_EQ(bpf_obj_pin(map.get(), at.c_str()), 0) << at << ": " << std::strerror(errno);
  }
  void pin_program(const std::string& at) {
    const bpf_insn instructions[] = {{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
                                     {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    const Fd program(
        bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "other", "GPL", instructions, 2, nullptr));
    ASSERT_EQ(bpf_obj_pin(program.get(), at.c_str()), 0) << at << ": " << std::strerror(errno);
  }

  // Puts something wrong at `at`, where nothing is; `what` 0 leaves it at that.
  void damage(const std::string& at, size_t what) {
    const std::array<std::function<void()>, 7> ways = {{
        [] {},
        [&] { ASSERT_EQ(::mkdir(at.c_str(), 0700), 0); },
        [&] { ASSERT_EQ(::symlink(maps_.c_str(), at.c_str()), 0); },
        [&] { pin_program(at); },
        [&] { pin_map(at, BPF_MAP_TYPE_ARRAY, 4, 24, 7); },
        [&] { pin_map(at, BPF_MAP_TYPE_HASH, 24, 56, 7); },
        [&] { pin_program(fmt::format("{}_stray{}", at, ++strays_)); },
    }};
    ways[what]();
  }

  std::string maps_;
  int strays_ = 0;
};

TEST_F(ObjectTest, LoadsWithMapsOfItsOwn) {
  Result<std::unique_ptr<Object>> object =
      Object::load(testing::small_sizes(), "", Load::kMapsOnly);
  ASSERT_TRUE(object) << object.status().message();
  for (const MapRow& row : kMapRows) {
    const Result<MapShape> shape = shape_of({(*object)->fd(row.map), row.name, ""});
    ASSERT_TRUE(shape) << shape.status().message();
    if (row.size == nullptr) continue;
    EXPECT_EQ(shape->max_entries, testing::small_sizes().*row.size * row.multiply / row.divide);
  }
  EXPECT_TRUE(list_directory(maps_).value().empty());
}

TEST_F(ObjectTest, EveryProgramIsWellWithinTheVerifiersLimit) {
  const Result<std::unique_ptr<Object>> object = Object::load(testing::small_sizes(), maps_);
  ASSERT_TRUE(object) << object.status().message();
  ASSERT_FALSE((*object)->facts().empty());
  for (const ProgramFacts& facts : (*object)->facts()) {
    EXPECT_GT(facts.verified_instructions, 0U) << to_string(facts.program);
    EXPECT_LT(facts.verified_instructions, 250'000U) << to_string(facts.program);
    EXPECT_GE((*object)->fd(facts.program), 0);
  }
  expect_sound(**object, "loading everything");
}

TEST_F(ObjectTest, MapsAloneComeWithoutPrograms) {
  const std::unique_ptr<Object> object = load();
  ASSERT_NE(object, nullptr);
  EXPECT_TRUE(object->facts().empty());
  EXPECT_EQ(object->fd(Program::kIngress), -1);
}

TEST_F(ObjectTest, TwoLoadsInARowShareTheirMaps) {
  std::unique_ptr<Object> first = load();
  ASSERT_NE(first, nullptr);
  mark(*first);
  put_flows(*first, Map::kFlows, 100);
  std::array<uint32_t, kMapCount> ids = {};
  for (const MapRow& row : kMapRows) {
    ids[static_cast<size_t>(row.map)] = testing::map_id(first->fd(row.map));
  }
  first.reset();
  const std::unique_ptr<Object> second = load();
  ASSERT_NE(second, nullptr);
  for (const MapRow& row : kMapRows) {
    EXPECT_EQ(testing::map_id(second->fd(row.map)), ids[static_cast<size_t>(row.map)]) << row.name;
  }
  EXPECT_EQ(count(*second, Map::kFlows), 100U);
  expect_sound(*second, "a second load");
}

TEST_F(ObjectTest, RemovingThePinsLeavesNothing) {
  load();
  ASSERT_TRUE(remove_pins("/sys/fs/bpf/fairlead"));
  EXPECT_NE(::access("/sys/fs/bpf/fairlead", F_OK), 0);
}

TEST_F(ObjectTest, EntriesMoveToMapsOfAnotherSize) {
  std::unique_ptr<Object> object = load();
  ASSERT_NE(object, nullptr);
  mark(*object);
  put_flows(*object, Map::kFlows, 100);
  put_flows(*object, Map::kNewFlows, 50);
  fl_frontend_key key = {};
  fl_frontend value = {};
  value.id = 9;
  ASSERT_TRUE(update_all(handle(*object, Map::kFrontends), &key, &value, 1));
  fl_entry entry = {};
  entry.live = 1;
  set_element(*object, Map::kEntries, 5, entry);
  object.reset();

  Sizes sizes = testing::small_sizes();
  for (const MapRow& row : kMapRows) {
    if (row.size != nullptr && row.map != Map::kReturns) sizes.*row.size *= 2;
  }
  object = load(sizes);
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(count(*object, Map::kFlows), 100U);
  EXPECT_EQ(count(*object, Map::kNewFlows), 50U);
  EXPECT_EQ(count(*object, Map::kFrontends), 1U);
  EXPECT_EQ(element<fl_entry>(*object, Map::kEntries, 5).live, 1);
  EXPECT_EQ(element<fl_entry>(*object, Map::kEntries, 255).live, 0) << "the new part";
  EXPECT_EQ(shape_of(handle(*object, Map::kFlows))->max_entries, sizes.flows);
  expect_sound(*object, "growth");
}

TEST_F(ObjectTest, WhatDoesNotFitIsGivenUpAndSaid) {
  {
    const std::unique_ptr<Object> object = load();
    ASSERT_NE(object, nullptr);
    mark(*object);
    put_flows(*object, Map::kFlows, 100);
    fl_entry entry = {};
    entry.live = 1;
    set_element(*object, Map::kEntries, 100, entry);
  }
  Sizes sizes = testing::small_sizes();
  sizes.flows = 40;
  sizes.entries = 64;
  const std::string said = load_and_listen(sizes);
  EXPECT_THAT(said, HasSubstr("fl_flows: now too small for what it held: 60 of 100 entries are "
                              "given up (--ebpf-max-flows)"));
  EXPECT_THAT(said, HasSubstr("fl_entries: now too small"));
  const std::unique_ptr<Object> object = load(sizes);
  EXPECT_EQ(count(*object, Map::kFlows), 40U);
}

TEST_F(ObjectTest, OtherReturnClassesGiveUpTheFlows) {
  const std::unique_ptr<Object> before = load();
  ASSERT_NE(before, nullptr);
  mark(*before);
  Sizes sizes = testing::small_sizes();
  sizes.return_classes = 2;
  EXPECT_THAT(load_and_listen(sizes), HasSubstr("--ebpf-return-classes changed"));
  const std::unique_ptr<Object> after = load(sizes);
  ASSERT_NE(after, nullptr);
  EXPECT_EQ(count(*after, Map::kFlows), 0U);
  EXPECT_EQ(count(*after, Map::kNewFlows), 0U);
  EXPECT_EQ(element<fl_return>(*after, Map::kReturns, 0).frontend, 0U);
  // Ids go on from where they were, but not in the map that programs of before still read.
  EXPECT_EQ(element<fl_config>(*after, Map::kConfig, 0).next_frontend_id, kMark);
  EXPECT_NE(testing::map_id(before->fd(Map::kConfig)), testing::map_id(after->fd(Map::kConfig)));
  expect_sound(*after, "other classes");
}

TEST_F(ObjectTest, SaysNothingWhenNothingIsLost) {
  EXPECT_EQ(load_and_listen(testing::small_sizes()).find("warning"), std::string::npos);
  Sizes sizes = testing::small_sizes();
  sizes.return_classes = 2;
  sizes.flows = 500;
  EXPECT_EQ(load_and_listen(sizes).find("warning"), std::string::npos) << "there were no flows";
}

TEST_F(ObjectTest, FlowsGoWithWhatTheyNeed) {
  for (const Map lost : {Map::kConfig, Map::kReturns, Map::kEndpoints, Map::kFlows}) {
    std::unique_ptr<Object> object = load();
    ASSERT_NE(object, nullptr);
    mark(*object);
    object.reset();
    ASSERT_EQ(::unlink(path(lost).c_str()), 0);
    object = load();
    ASSERT_NE(object, nullptr);
    EXPECT_EQ(count(*object, Map::kFlows), 0U) << to_string(lost);
    EXPECT_EQ(count(*object, Map::kNewFlows), 0U) << to_string(lost);
  }
  std::unique_ptr<Object> object = load();
  mark(*object);
  object.reset();
  ASSERT_EQ(::unlink(path(Map::kDevices).c_str()), 0);
  object = load();
  EXPECT_EQ(count(*object, Map::kFlows), 1U) << "devices are none of their business";
}

TEST_F(ObjectTest, WhatIsNoMapOfThisBuildIsReplaced) {
  struct Case {
    Map map;
    const char* said;
    std::function<void(const std::string&)> put;
  };
  const std::array<Case, 5> cases = {{
      {Map::kFrontends, "not a pinned map", [&](const std::string& at) { pin_program(at); }},
      {Map::kDevices, "not a pinned map",
       [&](const std::string& at) {
         ASSERT_EQ(::mkdir(at.c_str(), 0700), 0);
         pin_program(at + "/within");
       }},
      {Map::kPrefixes, "not a pinned map",
       [&](const std::string& at) { ASSERT_EQ(::symlink("/sys/fs/bpf/nowhere", at.c_str()), 0); }},
      {Map::kFlows, "keys of 24 and values of 8 bytes",
       [&](const std::string& at) { pin_map(at, BPF_MAP_TYPE_HASH, 24, 8, 128); }},
      {Map::kEntries, "flags 0x0",
       [&](const std::string& at) { pin_map(at, BPF_MAP_TYPE_ARRAY, 4, 24, 128); }},
  }};
  for (const Case& c : cases) {
    load();
    ASSERT_TRUE(remove_tree(path(c.map)));
    c.put(path(c.map));
    ::testing::internal::CaptureStderr();
    const std::unique_ptr<Object> object = load();
    const std::string said = ::testing::internal::GetCapturedStderr();
    ASSERT_NE(object, nullptr);
    EXPECT_THAT(said, AllOf(HasSubstr(path(c.map)), HasSubstr(c.said)));
    expect_sound(*object, c.said);
  }
}

TEST_F(ObjectTest, RefusesSizesThatCannotBe) {
  struct Case {
    uint32_t Sizes::*size;
    uint32_t value;
    StatusCode code;
    const char* named;
  };
  for (const Case& c :
       {Case{&Sizes::flows, 0, StatusCode::kInvalid, "--ebpf-max-flows=0"},
        Case{&Sizes::ring_slots, 15, StatusCode::kInvalid, "--ebpf-max-ring-slots=15"},
        Case{&Sizes::return_classes, 3, StatusCode::kInvalid, "--ebpf-return-classes=3"},
        Case{&Sizes::return_classes, 1U << 31, StatusCode::kInvalid, "--ebpf-return-classes="},
        Case{&Sizes::flows, 1U << 31, StatusCode::kExhausted, "lower --ebpf-max-flows"}}) {
    Sizes sizes = testing::small_sizes();
    sizes.*c.size = c.value;
    ::testing::internal::CaptureStderr();
    const Status status = Object::load(sizes, "", Load::kMapsOnly).status();
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "libbpf speaks for itself";
    EXPECT_EQ(status.code(), c.code) << status.message();
    EXPECT_THAT(status.message(), AllOf(HasSubstr(c.named), Not(HasSubstr("\n"))));
  }
}

TEST_F(ObjectTest, WithoutPermissionSaysWhatToGive) {
  testing::with_capabilities(0, [] {
    const Status status = Object::load(testing::small_sizes(), "").status();
    EXPECT_EQ(status.code(), StatusCode::kPermission);
    EXPECT_THAT(status.message(), AllOf(HasSubstr("privileged: true"), Not(HasSubstr("\n"))));
  });
}

TEST_F(ObjectTest, AnyDamageToThePinsIsMended) {
  std::mt19937 random(20240501);
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  for (int round = 0; round < 40; ++round) {
    std::unique_ptr<Object> object = load();
    ASSERT_NE(object, nullptr);
    mark(*object);
    object.reset();
    std::string done = fmt::format("round {}:", round);
    for (size_t i = 0; i < 1 + below(3); ++i) {
      const std::string name(to_string(static_cast<Map>(below(kMapCount))));
      const std::string at = maps_ + "/" + name + (below(4) == 0 ? "_new" : "");
      const size_t what = below(7);
      done += fmt::format(" {}={}", at.substr(maps_.size() + 1), what);
      ASSERT_TRUE(remove_tree(at));
      damage(at, what);
    }
    object = load();
    ASSERT_NE(object, nullptr) << done;
    expect_sound(*object, done);
  }
}

// Flows without what they need would lead astray: at no step of replacing pins may that be the
// state which the next run finds. A pin with something mounted on it cannot be replaced.
TEST_F(ObjectTest, StoppedAtAnyPinTheNextRunGoesOn) {
  constexpr std::array<Map, 6> kPins = {Map::kFlows,   Map::kNewFlows, Map::kAffinity,
                                        Map::kReturns, Map::kConfig,   Map::kEndpoints};
  Sizes other = testing::small_sizes();
  other.return_classes = 2;
  for (const Map lost : {Map::kConfig, Map::kEndpoints, Map::kReturns, Map::kDevices}) {
    for (const Map stop : kPins) {
      if (stop == lost) continue;
      const std::string done = fmt::format("losing {}, stopped at {}", to_string(lost), path(stop));
      ASSERT_TRUE(remove_tree(maps_));
      std::unique_ptr<Object> object = load();
      ASSERT_NE(object, nullptr);
      mark(*object);
      object.reset();
      ASSERT_EQ(::unlink(path(lost).c_str()), 0);
      const std::string at = path(stop);
      ASSERT_EQ(::mount(at.c_str(), at.c_str(), nullptr, MS_BIND, nullptr), 0) << done;
      const Sizes sizes = lost == Map::kDevices ? other : testing::small_sizes();
      const bool kept = stop == Map::kEndpoints;  // as the only one of these
      EXPECT_EQ(Object::load(sizes, maps_, Load::kMapsOnly).ok(), kept) << done;
      ASSERT_EQ(::umount2(at.c_str(), MNT_DETACH), 0) << done;
      object = load(sizes);
      ASSERT_NE(object, nullptr) << done;
      expect_sound(*object, done);
    }
  }
}

// Loads again and again with sizes that change, killed at any moment.
TEST_F(ObjectTest, KilledAtAnyMomentTheNextRunGoesOn) {
  std::mt19937 random(7);
  Sizes other = testing::small_sizes();
  other.return_classes = 2;
  other.flows = 256;
  other.endpoints = 1024;
  for (int round = 0; round < 10; ++round) {
    std::unique_ptr<Object> object = load();
    ASSERT_NE(object, nullptr);
    mark(*object);
    object.reset();
    const pid_t child = ::fork();
    if (child == 0) {
      std::freopen("/dev/null", "w", stderr);
      for (bool turn = true;; turn = !turn) {
        if (!Object::load(turn ? other : testing::small_sizes(), maps_, Load::kMapsOnly))
          ::_exit(1);
      }
    }
    ::usleep(random() % 200'000);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";
    object = load(round % 2 == 0 ? testing::small_sizes() : other);
    ASSERT_NE(object, nullptr);
    expect_sound(*object, fmt::format("kill {}", round));
  }
}

}  // namespace
}  // namespace fairlead::bpf
