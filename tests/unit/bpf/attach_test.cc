// Where programs hang, across restarts, failures and departures. The programs are stand-ins.
#include "bpf/attach.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>

#include "bpf/hook.h"
#include "tests/harness/netns.h"
#include "tests/unit/bpf/attach_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr size_t kSockets = 8;

// One run of the loader's attaching part.
struct Loader {
  Loader(const std::string& cgroup, const Programs& fds, bool tcx = true)
      : attachments(*Pins::open(std::string(kPinPath)), {cgroup, tcx}, fds) {}

  Status start() {
    RETURN_IF_ERROR(attachments.find());
    return attachments.start();
  }

  Attachments attachments;
};

std::string pin(const char* program, uint32_t device, const char* mode = "") {
  return fmt::format("{}-{}{}", program, device, mode);
}

TEST(HookNameTest, SaysWhatItWasMadeFrom) {
  for (const char* text : {"fl_connect4", "fl_getpeername6", "fl_ingress-7", "fl_egress-4000000000",
                           "fl_xdp-7-native", "fl_xdp-12-generic"}) {
    const auto name = HookName::parse(text);
    ASSERT_TRUE(name) << text;
    EXPECT_EQ(name->text(), text);
  }
}

TEST(HookNameTest, RefusesWhatNoHookIsCalled) {
  for (const char* text : {"", "fl_", "fl_connect4-1", "fl_ingress", "fl_ingress-", "fl_ingress-0",
                           "fl_ingress-07", "fl_ingress-7x", "fl_ingress-7-native", "fl_xdp-7",
                           "fl_xdp-7-fast", "fl_sweep", "fl_ingress-99999999999", "x"}) {
    EXPECT_FALSE(HookName::parse(text)) << text;
  }
}

TEST_F(AttachTest, AFirstStartAttachesEverything) {
  cable("one", "two");
  const PassingPrograms programs;
  Loader run(cgroup(), programs.fds());
  ASSERT_TRUE(run.start().ok());
  EXPECT_EQ(run.attachments.follow(std::array{plan("one")}), 2U);
  EXPECT_EQ(run.attachments.size(), kSockets + 2);
  EXPECT_THAT(pins(), SizeIs(kSockets + 2));
  EXPECT_EQ(program_id("fl_connect4"), programs.id(Program::kConnect4));
  EXPECT_EQ(program_id(pin("fl_ingress", index("one"))), programs.id(Program::kIngress));
  EXPECT_EQ(program_id(pin("fl_egress", index("one"))), programs.id(Program::kEgress));
  EXPECT_TRUE(run.attachments.intact());
  EXPECT_EQ(run.attachments.follow(std::array{plan("one")}), 0U);
}

TEST_F(AttachTest, ARestartKeepsThePlacesAndExchangesThePrograms) {
  cable("one", "two");
  const PassingPrograms before;
  const std::array wanted{plan("one", {XdpMode::kGeneric})};
  {
    Loader run(cgroup(), before.fds());
    ASSERT_TRUE(run.start().ok());
    run.attachments.follow(wanted);
  }
  const auto names = pins();
  ASSERT_THAT(names, SizeIs(kSockets + 3));
  std::vector<uint32_t> links;
  for (const std::string& name : names) links.push_back(link_id(name));

  const PassingPrograms after;
  Loader run(cgroup(), after.fds());
  const Status started = run.start();
  ASSERT_TRUE(started.ok()) << started.message();
  EXPECT_EQ(run.attachments.follow(wanted), 0U);
  EXPECT_EQ(pins(), names);
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(link_id(names[i]), links[i]) << names[i];
    EXPECT_EQ(program_id(names[i]), after.id(HookName::parse(names[i])->program)) << names[i];
  }
}

// Programs of a wrong type for one place: the kernel refuses the exchange there.
Programs with_wrong(const PassingPrograms& programs, Program place, Program instead) {
  Programs fds = programs.fds();
  fds[static_cast<size_t>(place)] = fds[static_cast<size_t>(instead)];
  return fds;
}

void expect_programs(const std::vector<std::string>& names, const PassingPrograms& programs,
                     const std::function<uint32_t(const std::string&)>& id) {
  for (const std::string& name : names) {
    EXPECT_EQ(id(name), programs.id(HookName::parse(name)->program)) << name;
  }
}

TEST_F(AttachTest, AnExchangeThatFailsIsTakenBackEverywhere) {
  cable("one", "two");
  const PassingPrograms before;
  Loader first(cgroup(), before.fds());
  ASSERT_TRUE(first.start().ok());
  first.attachments.follow(std::array{plan("one")});
  const PassingPrograms after;
  // In the order of names: sockets, egress, ingress.
  Loader second(cgroup(), with_wrong(after, Program::kIngress, Program::kXdp));
  const Status refused = second.start();
  EXPECT_THAT(refused.message(), HasSubstr("fl_ingress on device"));
  EXPECT_THAT(refused.message(), HasSubstr("(one)"));
  expect_programs(pins(), before, program_id);
  EXPECT_THAT(pins(), SizeIs(kSockets + 2));
  EXPECT_TRUE(first.attachments.intact());
}

TEST_F(AttachTest, AFirstStartThatFailsLeavesNothing) {
  const PassingPrograms programs;
  Loader run(cgroup(), with_wrong(programs, Program::kSendmsg6, Program::kXdp));
  EXPECT_THAT(run.start().message(), HasSubstr("fl_sendmsg6"));
  EXPECT_THAT(pins(), IsEmpty());
  EXPECT_EQ(shell("bpftool cgroup show " + cgroup()), "");
}

TEST_F(AttachTest, WithoutTcxClassifiersDoTheSame) {
  cable("one", "two");
  const PassingPrograms before;
  const std::array wanted{plan("one")};
  {
    Loader run(cgroup(), before.fds(), false);
    ASSERT_TRUE(run.start().ok());
    EXPECT_EQ(run.attachments.follow(wanted), 2U);
  }
  EXPECT_THAT(pins(), SizeIs(kSockets));
  EXPECT_EQ(classifier_id("one", true), before.id(Program::kIngress));
  EXPECT_EQ(classifier_id("one", false), before.id(Program::kEgress));

  const PassingPrograms after;
  EXPECT_FALSE(
      Loader(cgroup(), with_wrong(after, Program::kIngress, Program::kXdp), false).start());
  EXPECT_EQ(classifier_id("one", false), before.id(Program::kEgress));
  Loader run(cgroup(), after.fds(), false);
  ASSERT_TRUE(run.start().ok());
  EXPECT_EQ(run.attachments.follow(wanted), 0U);
  EXPECT_EQ(classifier_id("one", true), after.id(Program::kIngress));
  EXPECT_EQ(classifier_id("one", false), after.id(Program::kEgress));

  EXPECT_EQ(run.attachments.follow({}), 2U);
  EXPECT_THAT(shell("tc qdisc show dev one"), Not(HasSubstr("clsact")));
}

TEST_F(AttachTest, OthersClassifiersStay) {
  cable("one", "two");
  ASSERT_EQ(shell("tc qdisc add dev one clsact"), "");
  const PassingPrograms programs;
  LIBBPF_OPTS(bpf_tc_hook, place);
  place.ifindex = static_cast<int>(index("one"));
  place.attach_point = BPF_TC_INGRESS;
  LIBBPF_OPTS(bpf_tc_opts, theirs);
  theirs.handle = 5;
  theirs.priority = 9;
  theirs.prog_fd = programs.fds()[static_cast<size_t>(Program::kEgress)];
  ASSERT_EQ(bpf_tc_attach(&place, &theirs), 0);
  Loader run(cgroup(), programs.fds(), false);
  ASSERT_TRUE(run.start().ok());
  run.attachments.follow(std::array{plan("one")});
  EXPECT_NE(classifier_id("one", true), 0U);
  ASSERT_TRUE(detach_all(std::string(kPinPath)).ok());
  EXPECT_EQ(classifier_id("one", true), 0U);
  EXPECT_THAT(shell("tc filter show dev one ingress"), HasSubstr("handle 0x5 "));
}

TEST_F(AttachTest, ADeviceThatGoesTakesItsPinsAlong) {
  cable("one", "two");
  cable("three", "four");
  const PassingPrograms programs;
  Loader run(cgroup(), programs.fds());
  ASSERT_TRUE(run.start().ok());
  run.attachments.follow(std::array{plan("one"), plan("three")});
  EXPECT_THAT(pins(), SizeIs(kSockets + 4));
  ip("link del one");
  EXPECT_FALSE(run.attachments.intact());
  EXPECT_EQ(run.attachments.follow(std::array{plan("three")}), 2U);
  EXPECT_THAT(pins(), SizeIs(kSockets + 2));
  EXPECT_TRUE(run.attachments.intact());
}

TEST_F(AttachTest, ADeviceThatWentWhileNobodyRanLeavesNoPins) {
  cable("one", "two");
  const PassingPrograms programs;
  {
    Loader run(cgroup(), programs.fds());
    ASSERT_TRUE(run.start().ok());
    run.attachments.follow(std::array{plan("one")});
  }
  ip("link del one");
  Loader run(cgroup(), programs.fds());
  ASSERT_TRUE(run.start().ok());
  EXPECT_THAT(pins(), SizeIs(kSockets));
}

TEST_F(AttachTest, OneDeviceThatRefusesDoesNotHoldUpTheOthers) {
  cable("one", "two");
  DevicePlan gone = plan("two");
  gone.index = 4000;
  const PassingPrograms programs;
  Loader run(cgroup(), programs.fds());
  ASSERT_TRUE(run.start().ok());
  EXPECT_EQ(run.attachments.follow(std::array{gone, plan("one")}), 2U);
}

TEST_F(AttachTest, XdpTakesTheFirstModeThatTheDriverHas) {
  cable("one", "two");
  ip("link add switch type bridge");
  ip("link set switch up");
  const PassingPrograms programs;
  Loader run(cgroup(), programs.fds());
  ASSERT_TRUE(run.start().ok());
  const std::vector<XdpMode> either = {XdpMode::kNative, XdpMode::kGeneric};
  run.attachments.follow(
      std::array{plan("one", {XdpMode::kGeneric}), plan("two", either), plan("switch", either)});
  EXPECT_EQ(run.attachments.xdp_mode(index("one")), XdpMode::kGeneric);
  EXPECT_EQ(run.attachments.xdp_mode(index("two")), XdpMode::kNative);
  EXPECT_EQ(run.attachments.xdp_mode(index("switch")), XdpMode::kGeneric);  // a bridge has no other
  EXPECT_THAT(shell("ip link show one"), HasSubstr("xdpgeneric"));
  // Another choice at the next start.
  run.attachments.follow(std::array{plan("one", {XdpMode::kNative}), plan("two")});
  EXPECT_EQ(run.attachments.xdp_mode(index("one")), XdpMode::kNative);
  EXPECT_EQ(run.attachments.xdp_mode(index("two")), std::nullopt);
}

TEST_F(AttachTest, AnotherXdpProgramKeepsItsDevice) {
  cable("one", "two");
  const PassingPrograms programs;
  ASSERT_EQ(bpf_xdp_attach(static_cast<int>(index("one")),
                           programs.fds()[static_cast<size_t>(Program::kXdp)], 2, nullptr),
            0);
  Loader run(cgroup(), programs.fds());
  ASSERT_TRUE(run.start().ok());
  EXPECT_EQ(run.attachments.follow(std::array{plan("one", {XdpMode::kGeneric})}), 2U);
  EXPECT_EQ(run.attachments.xdp_mode(index("one")), std::nullopt);
}

TEST_F(AttachTest, WhatSomebodyTookAwayIsPutBack) {
  cable("one", "two");
  const PassingPrograms programs, others;
  Loader run(cgroup(), programs.fds());
  ASSERT_TRUE(run.start().ok());
  const std::array wanted{plan("one")};
  run.attachments.follow(wanted);
  const std::string links = pins_of_this_layout() + "/links/";
  const Fd socket(bpf_obj_get((links + "fl_connect4").c_str()));
  const Fd device(bpf_obj_get((links + pin("fl_ingress", index("one"))).c_str()));
  const Fd changed(bpf_obj_get((links + "fl_connect6").c_str()));
  ASSERT_EQ(bpf_link_detach(socket.get()), 0);
  ASSERT_EQ(bpf_link_detach(device.get()), 0);
  ASSERT_EQ(bpf_link_update(changed.get(), others.fds()[static_cast<size_t>(Program::kConnect6)],
                            nullptr),
            0);
  ASSERT_EQ(::unlink((links + "fl_sendmsg4").c_str()), 0);
  EXPECT_FALSE(run.attachments.intact());
  const auto repaired = run.attachments.repair();
  ASSERT_TRUE(repaired.ok());
  EXPECT_EQ(*repaired, 4U);
  EXPECT_EQ(run.attachments.follow(wanted), 1U);
  EXPECT_TRUE(run.attachments.intact());
  EXPECT_THAT(pins(), SizeIs(kSockets + 2));
  expect_programs(pins(), programs, program_id);
}

TEST_F(AttachTest, AnotherLayoutsPlacesAreTakenOver) {
  cable("one", "two");
  const PassingPrograms before, after;
  const std::array wanted{plan("one")};
  {
    Loader run(cgroup(), before.fds());
    ASSERT_TRUE(run.start().ok());
    run.attachments.follow(wanted);
  }
  const uint32_t link = link_id(pin("fl_ingress", index("one")));
  const std::string root(kPinPath);
  ASSERT_EQ(::rename(pins_of_this_layout().c_str(), (root + "/v0").c_str()), 0);
  Loader run(cgroup(), after.fds());
  ASSERT_TRUE(run.attachments.find().ok());
  EXPECT_TRUE(run.attachments.others_stand());
  ASSERT_TRUE(run.attachments.start().ok());
  EXPECT_EQ(run.attachments.follow(wanted), 0U);
  EXPECT_EQ(link_id(pin("fl_ingress", index("one"))), link);
  EXPECT_THAT(pins(), SizeIs(kSockets + 2));  // none of them doubled
  expect_programs(pins(), after, program_id);
}

TEST_F(AttachTest, AnotherCgroupIsMovedTo) {
  const PassingPrograms programs;
  const std::string other = cgroup() + "/other";
  ASSERT_EQ(shell("mkdir " + other), "");
  ASSERT_TRUE(Loader(other, programs.fds()).start().ok());
  ASSERT_TRUE(Loader(cgroup(), programs.fds()).start().ok());
  EXPECT_EQ(shell("bpftool cgroup show " + other), "");
  EXPECT_THAT(shell("bpftool cgroup show " + cgroup()), HasSubstr("fl_connect4"));
  EXPECT_THAT(pins(), SizeIs(kSockets));
  EXPECT_EQ(shell("rmdir " + other), "");
}

TEST_F(AttachTest, DetachingWithoutALostPacketLeavesClsact) {
  cable("one", "two");
  const PassingPrograms programs;
  Loader run(cgroup(), programs.fds(), false);
  ASSERT_TRUE(run.start().ok());
  run.attachments.follow(std::array{plan("one")});
  ASSERT_TRUE(detach_all(std::string(kPinPath), EmptyClsact::kKeep).ok());
  EXPECT_THAT(shell("bpftool net show"), Not(HasSubstr("fl_")));
  EXPECT_THAT(shell("tc qdisc show dev one"), HasSubstr("clsact"));
}

TEST_F(AttachTest, DetachingAllLeavesNothing) {
  cable("one", "two");
  cable("three", "four");
  std::vector<uint32_t> ids;
  {
    const PassingPrograms programs;
    Loader run(cgroup(), programs.fds());
    ASSERT_TRUE(run.start().ok());
    run.attachments.follow(std::array{plan("one", {XdpMode::kGeneric})});
    Loader second(cgroup(), programs.fds(), false);
    ASSERT_TRUE(second.start().ok());
    second.attachments.follow(std::array{plan("one", {XdpMode::kGeneric}), plan("three")});
    for (size_t i = 0; i < kProgramCount; ++i) ids.push_back(programs.id(static_cast<Program>(i)));
    // Links that a process still holds open are detached all the same.
    const Status removed = detach_all(std::string(kPinPath));
    ASSERT_TRUE(removed.ok()) << removed.message();
    EXPECT_EQ(shell("bpftool cgroup show " + cgroup()), "");
    EXPECT_THAT(shell("bpftool net show"), Not(HasSubstr("fl_")));
    EXPECT_THAT(shell("ip link"), Not(HasSubstr("xdp")));
    EXPECT_THAT(shell("tc qdisc show"), Not(HasSubstr("clsact")));
    EXPECT_NE(::access(std::string(kPinPath).c_str(), F_OK), 0);
  }
  // Nobody holds them; the kernel takes its time to free them.
  const auto gone = [](uint32_t id) { return id == 0 || !program_of_id(id).ok(); };
  for (int tries = 0; tries < 500 && !std::all_of(ids.begin(), ids.end(), gone); ++tries) {
    ::usleep(10000);
  }
  EXPECT_TRUE(std::all_of(ids.begin(), ids.end(), gone));
  EXPECT_TRUE(detach_all(std::string(kPinPath)).ok());  // nothing to do is no error
}

// Accepts only what the ingress program has marked: a packet that met no program is lost.
void accept_marked_only(int socket) {
  std::array<sock_filter, 4> code = {{
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_MARK)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, kPassedMark},
      {BPF_RET | BPF_K, 0, 0, 0xffffffff},
      {BPF_RET | BPF_K, 0, 0, 0},
  }};
  const sock_fprog filter{code.size(), code.data()};
  ASSERT_EQ(::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter), 0);
}

class SwapTest : public AttachTest, public ::testing::WithParamInterface<bool> {};

TEST_P(SwapTest, NoPacketIsLostNorUnseenWhileProgramsAreExchanged) {
  auto sender = harness::Namespace::create("sender");
  ASSERT_TRUE(sender.ok());
  ip("link add one type veth peer name two netns " + (*sender)->path());
  ip("addr add 10.9.0.1/24 dev one");
  ip("link set one up");
  ASSERT_TRUE((*sender)->ip("addr add 10.9.0.2/24 dev two\nlink set two up").ok());
  const std::array wanted{plan("one", {XdpMode::kGeneric})};
  auto programs = std::make_unique<PassingPrograms>();
  {
    Loader run(cgroup(), programs->fds(), GetParam());
    ASSERT_TRUE(run.start().ok());
    ASSERT_EQ(run.attachments.follow(wanted), 3U);
  }
  const Fd receiver(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::inet_addr("10.9.0.1");
  address.sin_port = htons(9000);
  ASSERT_EQ(::bind(receiver.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  accept_marked_only(receiver.get());
  const int room = 64 << 20;
  ::setsockopt(receiver.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);

  std::atomic<bool> done = false;
  uint64_t sent = 0;
  const Fd out((*sender)->run([] { return ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); }));
  ASSERT_EQ(::connect(out.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  std::thread traffic([&] {
    while (!done) {
      for (int burst = 0; burst < 20; ++burst) {
        sent += ::send(out.get(), &sent, sizeof sent, 0) == sizeof sent ? 1 : 0;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  uint64_t received = 0;
  uint64_t out_of_order = 0;
  const auto drain = [&](int flags) {
    for (uint64_t number; ::recv(receiver.get(), &number, sizeof number, flags) > 0; ++received) {
      out_of_order += number != received ? 1 : 0;
    }
  };
  for (int swap = 0; swap < 200; ++swap) {
    auto next = std::make_unique<PassingPrograms>();
    Loader run(cgroup(), next->fds(), GetParam());
    const Status started = run.start();
    EXPECT_TRUE(started.ok()) << started.message();
    EXPECT_EQ(run.attachments.follow(wanted), 0U);
    programs = std::move(next);
    drain(MSG_DONTWAIT);
  }
  done = true;
  traffic.join();
  const timeval patience{0, 200000};
  ::setsockopt(receiver.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  drain(0);
  EXPECT_GT(sent, 200U);
  EXPECT_EQ(received, sent);
  EXPECT_EQ(out_of_order, 0U);
  RecordProperty("datagrams", static_cast<int>(sent));
}

INSTANTIATE_TEST_SUITE_P(Ways, SwapTest, ::testing::Values(true, false),
                         [](const auto& way) { return way.param ? "tcx" : "clsact"; });

}  // namespace
}  // namespace fairlead::bpf::testing
