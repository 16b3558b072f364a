// What the seams promise, tried on the fakes and on a real kernel alike: so the fakes are what they
// pretend to be. Where the machine's kernel has no IPVS, the second half runs in user-mode Linux
// (tests/uml).
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "fakes.h"
#include "ipvs/layout.h"
#include "text.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Family;
using dataplane::Protocol;
using dataplane::testing::address;
using Kind = Operation::Kind;

class Seams : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "Fake") {
      seams_ = testing::seams_of(host_);
      return;
    }
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces and IPVS";
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    if (const Status ready = probe(); !ready) GTEST_SKIP() << ready.message();
    // IPVS takes no address for one of a host where nothing is local.
    ASSERT_EQ(std::system("ip link set lo up"), 0);
    seams_.servers = std::move(open_virtual_servers()).value();
    seams_.sets = std::move(open_sets()).value();
    seams_.device = std::move(open_virtual_device()).value();
  }

  // The errno of each operation, 0 when it went well.
  std::vector<int> run(const std::vector<Operation>& operations) {
    std::vector<int> errors(operations.size());
    const Result<std::vector<Failure>> failures = seams_.servers->apply(operations);
    EXPECT_TRUE(failures.ok()) << failures.status().message();
    if (!failures) return errors;
    for (const Failure& failure : *failures) {
      errors[failure.index] = failure.status.system_errno();
    }
    return errors;
  }

  testing::Host host_;
  OwnedSeams seams_;
};
INSTANTIATE_TEST_SUITE_P(On, Seams, ::testing::Values("Fake", "Kernel"),
                         [](const auto& parameter) { return parameter.param; });

TEST_P(Seams, OperationsAreDoneOneByOne) {
  for (const auto& [vip, endpoint] :
       {std::pair("10.96.0.1", "10.1.0.1"), std::pair("fd00:96::1", "fd00:1::1")}) {
    const ServerKey key = ServerKey::at(Protocol::kTcp, {address(vip), 80});
    const Destination here{{address(endpoint), 8080}, 1};
    const ServerSettings settings{"rr", kPersistent, 120};
    EXPECT_EQ(run({{Kind::kAddDestination, key, {}, here},
                   {Kind::kAddServer, key, settings, {}},
                   {Kind::kAddServer, key, settings, {}},
                   {Kind::kChangeDestination, key, {}, here},
                   {Kind::kRemoveDestination, key, {}, here},
                   {Kind::kAddDestination, key, {}, here},
                   {Kind::kAddDestination, key, {}, here},
                   {Kind::kChangeDestination, key, {}, {here.address, 0}}}),
              (std::vector<int>{ESRCH, 0, EEXIST, ENOENT, ENOENT, 0, EEXIST, 0}));
    const auto listed = seams_.servers->destinations(key);
    ASSERT_TRUE(listed.ok() && listed->size() == 1);
    EXPECT_EQ(listed->front().destination, (Destination{here.address, 0}));
    EXPECT_TRUE(listed->front().masquerading);
    EXPECT_EQ(run({{Kind::kRemoveServer, key, {}, {}}, {Kind::kRemoveServer, key, {}, {}}}),
              (std::vector<int>{0, ESRCH}));
  }
}

TEST_P(Seams, ServersAreListedAsTheyWereMade) {
  std::vector<ListedServer> made;
  std::vector<Operation> operations;
  uint16_t port = 80;
  for (const char* scheduler : {"rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq"}) {
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
      ServerSettings settings{scheduler, 0, 0};
      if (settings.scheduler == "mh") settings.flags = kHashSourcePort;
      if (settings.scheduler == "sh") settings.flags = kHashFallback;
      made.push_back({ServerKey::at(protocol, {address("10.96.0.1"), ++port}), settings});
    }
  }
  made.push_back({ServerKey::marked(Family::kIPv6, 0x7a000003), {"wlc", 0, 0}});
  for (const ListedServer& each : made) {
    operations.push_back({Kind::kAddServer, each.key, each.settings, {}});
  }
  EXPECT_EQ(run(operations), std::vector<int>(operations.size()));
  const auto listed = seams_.servers->servers();
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->size(), made.size());
  for (const ListedServer& each : made) {
    const auto found = std::find_if(listed->begin(), listed->end(),
                                    [&](const auto& other) { return other.key == each.key; });
    ASSERT_NE(found, listed->end()) << each.key.to_string();
    EXPECT_EQ(found->settings, each.settings) << each.key.to_string();
  }
}

TEST_P(Seams, ManyOperationsAndOneThatFailsAmongThem) {
  std::vector<Operation> operations;
  std::vector<int> expected;
  const ServerKey key = ServerKey::at(Protocol::kUdp, {address("10.96.0.1"), 53});
  operations.push_back({Kind::kAddServer, key, {}, {}});
  for (uint32_t n = 0; n < 3000; ++n) {
    const uint32_t which = n == 2500 ? 7 : n;  // once more
    operations.push_back(
        {Kind::kAddDestination, key, {}, {{dataplane::Address::v4(0x0a010000 + which), 53}, 1}});
  }
  expected.resize(operations.size());
  expected[2501] = EEXIST;
  EXPECT_EQ(run(operations), expected);
  EXPECT_EQ(seams_.servers->destinations(key)->size(), 2999U);
}

// The kernel has one word for this and for a destination that is not there.
TEST_P(Seams, ASchedulerThatIsMissingIsNamed) {
  const ServerKey key = ServerKey::at(Protocol::kTcp, {address("10.96.0.1"), 80});
  const std::vector<Operation> operations = {{Kind::kAddServer, key, {"nosuch", 0, 0}, {}},
                                             {Kind::kAddServer, key, {"rr", 0, 0}, {}},
                                             {Kind::kChangeServer, key, {"nosuch", 0, 0}, {}}};
  const auto failures = seams_.servers->apply(operations);
  ASSERT_TRUE(failures.ok()) << failures.status().message();
  ASSERT_EQ(failures->size(), 2U);
  for (const Failure& failure : *failures) {
    EXPECT_EQ(failure.status.code(), StatusCode::kUnsupported);
    EXPECT_NE(failure.status.message().find("ip_vs_nosuch"), std::string::npos);
  }
  EXPECT_EQ(seams_.servers->servers()->size(), 1U);
}

TEST_P(Seams, SetsHoldWhatTheirTypesSay) {
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    for (size_t i = 0; i < kSetCount; ++i) {
      const SetSpec spec = describe(static_cast<SetId>(i), family);
      ASSERT_TRUE(seams_.sets->create(spec, 65536).ok()) << spec.name;
      SetElement element;
      const bool v4 = family == Family::kIPv4;
      if (spec.type != SetType::kBitmapPort) {
        element.address = address(v4 ? "10.96.0.1" : "fd00:96::1");
      }
      if (spec.type != SetType::kHashIp) element.port = 8080;
      if (spec.type == SetType::kHashIpPortIp) element.second = element.address;
      if (spec.type == SetType::kHashIpPortNet) {
        element.second = address(v4 ? "10.0.0.0" : "fd00::");
        element.length = 9;
      }
      if (spec.marks) element.mark = 0x7a000005;
      ASSERT_TRUE(seams_.sets->add(spec, {&element, 1}).ok()) << spec.name;
      const Status twice = seams_.sets->add(spec, {&element, 1});
      EXPECT_TRUE(twice.ok()) << twice.message();
      const auto listed = seams_.sets->elements(spec);
      ASSERT_TRUE(listed.ok()) << listed.status().message();
      EXPECT_EQ(*listed, (std::vector{element})) << spec.name;
      const auto header = seams_.sets->header(spec);
      ASSERT_TRUE(header.ok() && header->has_value()) << spec.name;
      EXPECT_TRUE((*header)->as_described) << spec.name;
      EXPECT_EQ((*header)->elements, 1U);
      EXPECT_TRUE(seams_.sets->remove(spec, {&element, 1}).ok());
      EXPECT_TRUE(seams_.sets->remove(spec, {&element, 1}).ok());
      EXPECT_TRUE(seams_.sets->elements(spec)->empty());
    }
  }
}

TEST_P(Seams, SetsThatAreMissingOrFullSaySo) {
  const SetSpec spec = describe(SetId::kClusterIp, Family::kIPv4);
  EXPECT_FALSE(seams_.sets->header(spec)->has_value());
  EXPECT_EQ(seams_.sets->destroy(spec.name).code(), StatusCode::kNotFound);
  EXPECT_EQ(seams_.sets->elements(spec).status().code(), StatusCode::kNotFound);
  ASSERT_TRUE(seams_.sets->create(spec, 2).ok());
  std::vector<SetElement> elements(3);
  for (uint16_t n = 0; n < 3; ++n) {
    elements[n].address = address("10.96.0.1");
    elements[n].port = static_cast<uint16_t>(80 + n);
  }
  EXPECT_EQ(seams_.sets->add(spec, elements).code(), StatusCode::kExhausted);
  SetSpec larger = spec;
  larger.name = "FAIRLEAD-GROWING";
  ASSERT_TRUE(seams_.sets->create(larger, 64).ok());
  ASSERT_TRUE(seams_.sets->add(larger, elements).ok());
  ASSERT_TRUE(seams_.sets->swap(spec.name, larger.name).ok());
  EXPECT_EQ(seams_.sets->elements(spec)->size(), 3U);
  EXPECT_EQ((*seams_.sets->header(spec))->room, 64U);
  EXPECT_TRUE(seams_.sets->destroy(larger.name).ok());
}

TEST_P(Seams, TheDeviceHoldsAddressesOfBothFamilies) {
  EXPECT_FALSE(*seams_.device->exists());
  EXPECT_TRUE(seams_.device->remove().ok());
  ASSERT_TRUE(seams_.device->create().ok());
  const Status again = seams_.device->create();
  EXPECT_TRUE(again.ok()) << again.message();
  const std::vector<dataplane::Address> some = {address("10.96.0.1"), address("fd00:96::1")};
  for (int round = 0; round < 2; ++round) {  // what is there already is no failure
    const auto refused = seams_.device->change({}, some);
    ASSERT_TRUE(refused.ok()) << refused.status().message();
    EXPECT_TRUE(refused->empty());
  }
  std::vector<dataplane::Address> ours;
  const auto all = seams_.device->addresses();
  ASSERT_TRUE(all.ok());
  for (const auto& held : *all) {
    if (held.ours) ours.push_back(held.address);
  }
  EXPECT_EQ(ours, some) << "and no link-local address";
  for (int round = 0; round < 2; ++round) {
    const auto refused = seams_.device->change(some, {});
    ASSERT_TRUE(refused.ok() && refused->empty());
  }
  EXPECT_TRUE(seams_.device->remove().ok());
  EXPECT_FALSE(*seams_.device->exists());
}

}  // namespace
}  // namespace fairlead::ipvs
