#include "tests/unit/bpf/attach_fixture.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <regex>

#include "bpf/layout.h"

namespace fairlead::bpf::testing {

std::string pins_of_this_layout() {
  return fmt::format("{}/v{}", kPinPath, FL_LAYOUT_VERSION);
}

namespace {

struct Kind {
  bpf_prog_type type;
  bpf_attach_type attach = static_cast<bpf_attach_type>(0);
  int32_t verdict = 1;
};

std::optional<Kind> kind_of(Program program) {
  constexpr auto socket = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  switch (program) {
    case Program::kIngress:
    case Program::kEgress:
      return Kind{BPF_PROG_TYPE_SCHED_CLS, {}, TC_ACT_UNSPEC};
    case Program::kXdp:
      return Kind{BPF_PROG_TYPE_XDP, {}, XDP_PASS};
    case Program::kConnect4:
      return Kind{socket, BPF_CGROUP_INET4_CONNECT};
    case Program::kConnect6:
      return Kind{socket, BPF_CGROUP_INET6_CONNECT};
    case Program::kSendmsg4:
      return Kind{socket, BPF_CGROUP_UDP4_SENDMSG};
    case Program::kSendmsg6:
      return Kind{socket, BPF_CGROUP_UDP6_SENDMSG};
    case Program::kRecvmsg4:
      return Kind{socket, BPF_CGROUP_UDP4_RECVMSG};
    case Program::kRecvmsg6:
      return Kind{socket, BPF_CGROUP_UDP6_RECVMSG};
    case Program::kGetpeername4:
      return Kind{socket, BPF_CGROUP_INET4_GETPEERNAME};
    case Program::kGetpeername6:
      return Kind{socket, BPF_CGROUP_INET6_GETPEERNAME};
    default:
      return std::nullopt;
  }
}

Fd load(Program program, const Kind& kind) {
  std::vector<bpf_insn> code;
  if (program == Program::kIngress) {
    code.push_back({BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, kPassedMark});
    code.push_back({BPF_STX | BPF_MEM | BPF_W, BPF_REG_1, BPF_REG_0,
                    static_cast<int16_t>(offsetof(__sk_buff, mark)), 0});
  }
  code.push_back({BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, kind.verdict});
  code.push_back({BPF_JMP | BPF_EXIT, 0, 0, 0, 0});
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = kind.attach;
  return Fd(bpf_prog_load(kind.type, std::string(to_string(program)).c_str(), "GPL", code.data(),
                          code.size(), &options));
}

bpf_link_info info_of(const std::string& pin) {
  bpf_link_info info{};
  uint32_t length = sizeof info;
  const Fd link(bpf_obj_get((pins_of_this_layout() + "/links/" + pin).c_str()));
  if (!link.valid() || bpf_obj_get_info_by_fd(link.get(), &info, &length) != 0) return {};
  return info;
}

}  // namespace

std::string shell(const std::string& command) {
  std::string output;
  FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  while (const size_t length = ::fread(buffer, 1, sizeof buffer, pipe)) {
    output.append(buffer, length);
  }
  return ::pclose(pipe) == 0 ? output : "FAILED: " + output;
}

PassingPrograms::PassingPrograms() {
  for (size_t i = 0; i < kProgramCount; ++i) {
    const auto program = static_cast<Program>(i);
    if (const auto kind = kind_of(program)) {
      programs_[i] = load(program, *kind);
      EXPECT_TRUE(programs_[i].valid()) << to_string(program);
    }
  }
}

Programs PassingPrograms::fds() const {
  Programs fds;
  std::transform(programs_.begin(), programs_.end(), fds.begin(),
                 [](const Fd& fd) { return fd.get(); });
  return fds;
}

uint32_t PassingPrograms::id(Program program) const {
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  bpf_obj_get_info_by_fd(programs_[static_cast<size_t>(program)].get(), &info, &length);
  return info.id;
}

void AttachTest::SetUp() {
  for (const std::string& missing :
       {harness::BpfSandbox::why_no_bpf(), harness::BpfSandbox::why_no_cgroup()}) {
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
  home_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  auto sandbox = harness::BpfSandbox::create();
  ASSERT_TRUE(sandbox.ok()) << sandbox.status().message();
  sandbox_ = *std::move(sandbox);
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  ip("link set lo up");
}

void AttachTest::TearDown() {
  sandbox_.reset();
  if (home_.valid()) {
    EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
  }
}

void AttachTest::cable(const std::string& one, const std::string& other) {
  ip("link add " + one + " type veth peer name " + other);
  ip("link set " + one + " up");
  ip("link set " + other + " up");
}

uint32_t AttachTest::index(const std::string& device) {
  return ::if_nametoindex(device.c_str());
}

DevicePlan AttachTest::plan(const std::string& name, std::vector<XdpMode> xdp) {
  DevicePlan plan;
  plan.index = index(name);
  plan.name = name;
  plan.xdp = std::move(xdp);
  plan.xdp_off = "the test wants none";
  return plan;
}

std::vector<std::string> AttachTest::pins() {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& each : std::filesystem::recursive_directory_iterator(kPinPath, ignored)) {
    if (!each.is_directory()) found.push_back(each.path().filename());
  }
  std::sort(found.begin(), found.end());
  return found;
}

uint32_t AttachTest::link_id(const std::string& pin) {
  return info_of(pin).id;
}
uint32_t AttachTest::program_id(const std::string& pin) {
  return info_of(pin).prog_id;
}

uint32_t AttachTest::classifier_id(const std::string& device, bool ingress) {
  const std::string shown =
      shell(fmt::format("tc filter show dev {} {}", device, ingress ? "ingress" : "egress"));
  std::smatch match;
  const std::regex ours(" handle 0xfa1 .* id ([0-9]+) ");
  return std::regex_search(shown, match, ours) ? static_cast<uint32_t>(std::stoul(match[1])) : 0;
}

}  // namespace fairlead::bpf::testing
