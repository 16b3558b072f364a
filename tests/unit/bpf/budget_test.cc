// What the verifier has to look at before it lets a program in. Its limit is a million
// instructions; programs that stay far below it load on kernels whose verifier takes other roads.
#include <bpf/bpf.h>

#include <cstdio>

#include "bpf/kernel.h"
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

constexpr uint32_t kBudget = 100'000;

class Budget : public PacketTest {};

TEST_F(Budget, TenthOfWhatTheVerifierAllows) {
  std::printf("%-16s %10s %8s %8s\n", "program", "verified", "insns", "native");
  for (size_t i = 0; i < kProgramCount; ++i) {
    const auto program = static_cast<Program>(i);
    const std::string name(to_string(program));
    const int fd = datapath().object().fd(program);
    if (fd < 0 && program == Program::kUdpSockets && !has(Feature::kSockDestroy)) continue;
    EXPECT_GE(fd, 0) << name << " is not loaded";
    if (fd < 0) continue;
    bpf_prog_info info = {};
    uint32_t size = sizeof(info);
    ASSERT_EQ(::bpf_obj_get_info_by_fd(fd, &info, &size), 0) << name;
    std::printf("%-16s %10u %8zu %8u\n", name.c_str(), info.verified_insns,
                info.xlated_prog_len / sizeof(bpf_insn), info.jited_prog_len);
    EXPECT_GT(info.verified_insns, 0U) << name;
    EXPECT_LE(info.verified_insns, kBudget) << name;
  }
}

}  // namespace
}  // namespace fairlead::bpf::testing
