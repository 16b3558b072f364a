// Beside another mode, whose rules translate in the network stack: what is ours, and what is its.
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using harness::tcp;
using harness::udp;

class Handover : public PacketTest {
 protected:
  static constexpr std::string_view kClient = "10.1.0.5:4000";
  static constexpr std::string_view kOther = "10.1.0.6:4000";
  static constexpr std::string_view kOutside = "198.51.100.7:1";
  static constexpr std::string_view kService = "10.96.0.1:80";
  static constexpr std::string_view kEndpoint = "10.1.0.2:8080";

  void serve_one(uint8_t protocol = 6) {
    serve({.at = kService, .protocol = protocol, .endpoints = {kEndpoint}});
  }
  void become(fl_handover state) {
    configure([state](fl_config& config) { config.handover = state; });
  }
  // Where it leaves the node, having come in by another device.
  void forwarded_by_the_stack(const harness::Packet& packet) {
    via(Program::kEgress);
    expect_pass(packet);
    via(Program::kIngress);
  }
  // A question from outside while this mode comes; whom the endpoint hears it from.
  std::string ask_from_outside() {
    serve_one(17);
    become(FL_HANDOVER_COMING);
    const uint16_t port =
        expect_masquerade(udp(kOutside, kService), udp("192.168.7.1:1", kEndpoint).ttl(63));
    return "192.168.7.1:" + std::to_string(port);
  }
};

// ---- Aside: before the first sync, and when this mode leaves ----

TEST_F(Handover, AsideConnectionsGoOnAndNoneBegins) {
  serve_one();
  establish(kClient, kService);
  become(FL_HANDOVER_ASIDE);
  expect_forward(tcp(kClient, kService).flags("PA"), tcp(kClient, kEndpoint).flags("PA").ttl(63));
  expect_forward(tcp(kEndpoint, kClient).flags("PA"), tcp(kService, kClient).flags("PA").ttl(63));
  expect_pass(tcp(kOther, kService).flags("S"));
  expect_pass(tcp(kOther, kService).flags("PA"));
  expect_pass(tcp(kOther, kService).flags("R"));
  EXPECT_EQ(datapath().flows().size(), 1U);
}

TEST_F(Handover, AsideAHandshakeIsCompleted) {
  serve_one();
  after(tcp(kClient, kService).flags("S"));
  become(FL_HANDOVER_ASIDE);
  expect_forward(tcp(kEndpoint, kClient).flags("SA"), tcp(kService, kClient).flags("SA").ttl(63));
  expect_forward(tcp(kClient, kService).flags("A"), tcp(kClient, kEndpoint).flags("A").ttl(63));
}

TEST_F(Handover, AsideADatagramIsStillAnswered) {
  serve_one(17);
  after(udp(kClient, kService));
  become(FL_HANDOVER_ASIDE);
  expect_forward(udp(kEndpoint, kClient), udp(kService, kClient).ttl(63));
  expect_forward(udp(kEndpoint, kClient), udp(kService, kClient).ttl(63));  // of two datagrams
  expect_pass(udp(kOther, kService));
}

// The other mode masquerades with ports of its own choice: one of them may have been a flow's.
TEST_F(Handover, AsideTheSlotOfAnAnsweredQuestionIsGivenUpInTheEnd) {
  serve_one(17);
  after(udp(kClient, kService));
  after(udp(kEndpoint, kClient));
  become(FL_HANDOVER_ASIDE);
  datapath().let_pass(2);
  expect_pass(udp(kEndpoint, kClient));
}

// At once, where somebody is seen to speak from that port.
TEST_F(Handover, AsideWhatTheOtherModeForwardsIsAnsweredOnAPortWhoseFlowIsOver) {
  serve_one(17);
  after(udp(kClient, kService));
  after(udp(kEndpoint, kClient));
  become(FL_HANDOVER_ASIDE);
  forwarded_by_the_stack(udp(kClient, kEndpoint));
  expect_pass(udp(kEndpoint, kClient));
}

TEST_F(Handover, AsideAQuestionOfOursOnItsWayOutIsNotTheOthers) {
  serve_one(17);
  after(udp(kClient, kService));
  become(FL_HANDOVER_ASIDE);
  forwarded_by_the_stack(udp(kClient, kEndpoint));
  expect_forward(udp(kEndpoint, kClient), udp(kService, kClient).ttl(63));
}

TEST_F(Handover, AsideAConversationKeepsItsPort) {
  serve_one(17);
  after(udp(kClient, kService));
  after(udp(kEndpoint, kClient));
  after(udp(kClient, kService));
  become(FL_HANDOVER_ASIDE);
  forwarded_by_the_stack(udp(kClient, kEndpoint));
  expect_forward(udp(kEndpoint, kClient), udp(kService, kClient).ttl(63));
}

TEST_F(Handover, InChargeWhatIsForwardedIsNotLookedAt) {
  serve_one(17);
  after(udp(kClient, kService));
  after(udp(kEndpoint, kClient));
  forwarded_by_the_stack(udp(kClient, kEndpoint));
  expect_forward(udp(kEndpoint, kClient), udp(kService, kClient).ttl(63));
}

TEST_F(Handover, AsideTheSlotOfAnUnansweredQuestionIsKept) {
  serve_one(17);
  after(udp(kClient, kService));
  become(FL_HANDOVER_ASIDE);
  datapath().let_pass(1);
  expect_forward(udp(kEndpoint, kClient), udp(kService, kClient).ttl(63));
}

TEST_F(Handover, AsideTheSlotOfAClosedConnectionIsGivenUpForANewOne) {
  serve_one();
  establish(kClient, kService);
  after(tcp(kClient, kService).flags("R"));
  become(FL_HANDOVER_ASIDE);
  expect_pass(tcp(kEndpoint, kClient).flags("SA"));
  expect_pass(tcp(kEndpoint, kClient).flags("PA"));
}

TEST_F(Handover, AsideTheUnknownIsLeftToTheStack) {
  claim_address("10.96.0.1");
  claim_services("10.96.0.0/12");
  become(FL_HANDOVER_ASIDE);
  expect_pass(tcp(kClient, "10.96.0.1:81").flags("S"));
  expect_pass(udp(kClient, "10.96.0.2:80"));
}

// ---- Coming: in charge, with connections about that the other mode has begun ----

TEST_F(Handover, ComingTheMiddleOfAnUnknownConnectionIsTheOthers) {
  serve_one();
  become(FL_HANDOVER_COMING);
  expect_pass(tcp(kClient, kService).flags("A"));
  expect_pass(tcp(kClient, kService).flags("PA"));
  expect_pass(tcp(kClient, kService).flags("FA"));
  expect_pass(tcp(kClient, kService).flags("R"));
  EXPECT_TRUE(datapath().flows().empty());
}

TEST_F(Handover, ComingAConnectionBeginsWithItsFirstPacket) {
  serve_one();
  become(FL_HANDOVER_COMING);
  expect_forward(tcp(kClient, kService).flags("S"), tcp(kClient, kEndpoint).flags("S").ttl(63));
  after(tcp(kEndpoint, kClient).flags("SA"));
  expect_forward(tcp(kClient, kService).flags("A"), tcp(kClient, kEndpoint).flags("A").ttl(63));
}

TEST_F(Handover, ComingDatagramsBegin) {
  serve_one(17);
  become(FL_HANDOVER_COMING);
  expect_forward(udp(kClient, kService), udp(kClient, kEndpoint).ttl(63));
}

// Connection tracking knows nothing of our flows: the port that it gives to a question of the node
// may be one of theirs.
TEST_F(Handover, ComingTheNodeIsAnsweredOnAPortWhoseFlowIsOver) {
  const std::string node = ask_from_outside();
  const auto node_asks = [&] {
    via(Program::kEgress, {.made_here = true});
    expect_pass(udp(node, kEndpoint));
    via(Program::kIngress);
  };
  node_asks();  // the flow's own question has no answer yet
  expect_forward(udp(kEndpoint, node), udp(kService, kOutside).ttl(63));
  node_asks();
  expect_pass(udp(kEndpoint, node));
  expect_masquerade(udp(kOutside, kService), udp("192.168.7.1:1", kEndpoint).ttl(63));
}

TEST_F(Handover, ComingAConversationKeepsItsPort) {
  const std::string node = ask_from_outside();
  after(udp(kEndpoint, node));
  after(udp(kOutside, kService));
  via(Program::kEgress, {.made_here = true});
  expect_pass(udp(node, kEndpoint));
  via(Program::kIngress);
  expect_forward(udp(kEndpoint, node), udp(kService, kOutside).ttl(63));
}

TEST_F(Handover, ComingTheUnknownIsJudged) {
  claim_services("10.96.0.0/12");
  become(FL_HANDOVER_COMING);
  expect_drop(udp(kClient, "10.96.0.2:80"), "no_such_service");
}

TEST_F(Handover, InXdpAsInTc) {
  via(Program::kXdp);
  serve_one();
  become(FL_HANDOVER_ASIDE);
  expect_pass(tcp(kClient, kService).flags("S"));
  become(FL_HANDOVER_COMING);
  expect_pass(tcp(kClient, kService).flags("PA"));
  EXPECT_TRUE(datapath().flows().empty());
}

}  // namespace
}  // namespace fairlead::bpf::testing
