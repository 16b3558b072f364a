// Ways that are remembered (programs/way.bpf.h): what they are right for, and what ends them.
#include <chrono>
#include <string>
#include <thread>

#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::Packet;
using harness::tcp;
using harness::udp;

constexpr std::string_view kCaller = "10.1.0.5:4000";
constexpr std::string_view kCalled = "10.96.0.1:80";

class KnownWay : public PacketTest {
 protected:
  // A flow whose next packet finds its way remembered, in either direction.
  void know(std::string_view endpoint = "10.1.0.2:8080") {
    served_ = serve({.at = kCalled, .kind = FL_KIND_EXTERNAL_IP, .endpoints = {endpoint}});
    establish(kCaller, kCalled);
    after(tcp(kCaller, kCalled).flags("A"));
    after(tcp(endpoint, kCaller).flags("A"));
  }

  Served served_;
};

// The way alone knows the flow when its frontend is gone, and it does not know it for long.
TEST_F(KnownWay, NeedsNoFrontendForAMoment) {
  bool remembered = false;
  for (int turn = 0; turn < 20 && !remembered; ++turn) {  // a busy machine may take the moment
    datapath().reset();
    know();
    datapath().remove(Map::kFrontends, served_.key);
    remembered = run(tcp(kCaller, kCalled).flags("A")).verdict == kRedirect;
  }
  EXPECT_TRUE(remembered);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  expect_pass(tcp(kCaller, kCalled).flags("A"));
}

TEST_F(KnownWay, CountsAndRewritesAsTheLongWay) {
  know();
  for (int i = 0; i < 3; ++i) {
    expect_forward(tcp(kCaller, kCalled).flags("A").payload("there"),
                   tcp(kCaller, "10.1.0.2:8080").flags("A").payload("there").ttl(63));
    expect_forward(tcp("10.1.0.2:8080", kCaller).flags("A").payload("back"),
                   tcp(kCalled, kCaller).flags("A").payload("back").ttl(63));
  }
  EXPECT_EQ(counted(run(tcp(kCaller, kCalled).flags("A")), "forwarded"), 1U);
  EXPECT_EQ(counted(run(tcp("10.1.0.2:8080", kCaller).flags("A")), "returned"), 1U);
}

// Its slot went to another flow, or was given back: it is no way any more, at once.
TEST_F(KnownWay, EndsWithItsSlot) {
  know();
  const Flow flow = datapath().flows().at(0);
  fl_return slot;
  ASSERT_TRUE(datapath().get(Map::kReturns, flow.value.slot, slot));
  datapath().remove(Map::kFlows, flow.key);
  slot.claim += 2;
  datapath().put(Map::kReturns, flow.value.slot, slot);
  EXPECT_EQ(counted(run(tcp(kCaller, kCalled).flags("A")), "flows_created"), 1U);
}

// A connection that both sides closed may lose its slot to another one.
TEST_F(KnownWay, EndsWithTheConnection) {
  know();
  after(tcp(kCaller, kCalled).flags("FA"));
  after(tcp("10.1.0.2:8080", kCaller).flags("FA"));
  const Flow flow = datapath().flows().at(0);
  fl_return slot;
  ASSERT_TRUE(datapath().get(Map::kReturns, flow.value.slot, slot));
  slot.client_port++;
  datapath().put(Map::kReturns, flow.value.slot, slot);
  EXPECT_EQ(counted(run(tcp(kCaller, kCalled).flags("A")), "flows_created"), 1U);
}

TEST_F(KnownWay, LimitsHoldOnIt) {
  know("10.3.0.2:8080");
  expect_drop(tcp(kCaller, kCalled).flags("A").ttl(1), "hop_limit");
  expect_too_big(tcp(kCaller, kCalled).flags("A").payload_size(1280 - 39), 1280);
  expect_forward(tcp(kCaller, kCalled).flags("A").payload_size(1280 - 40),
                 tcp(kCaller, "10.3.0.2:8080").flags("A").payload_size(1280 - 40).ttl(63));
}

TEST_F(KnownWay, IsOfItsDeviceAndPortsAlone) {
  know();
  expect_pass(tcp(kCaller, "10.96.0.1:81").flags("A"));
  expect_pass(udp(kCaller, kCalled));
  EXPECT_EQ(counted(run(tcp("10.1.0.5:4001", kCalled).flags("A")), "flows_created"), 1U);
  // Enough of them that some share the way's place in the array.
  for (int port = 1; port < 20'000; ++port) {
    if (port == 80) continue;
    const auto at = "10.96.0.1:" + std::to_string(port);
    ASSERT_EQ(run(tcp(kCaller, at).flags("A")).verdict, kPass) << at;
  }
}

}  // namespace
}  // namespace fairlead::bpf::testing
