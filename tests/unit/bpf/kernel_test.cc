#include "bpf/kernel.h"

#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <iterator>

#include "bpf/backend.h"
#include "bpf/load_failure.h"
#include "private_mounts.h"

namespace fairlead::bpf {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t bit(unsigned capability) {
  return uint64_t{1} << capability;
}

class KernelTest : public testing::PrivateMounts {};

long open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST_F(KernelTest, ProbeAcceptsThisKernelAndLeavesNothing) {
  const long before = open_descriptors();
  const Status status = probe();
  EXPECT_TRUE(status) << status.message();
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(KernelTest, ProbeNamesTheMissingCapability) {
  struct Case {
    uint64_t kept;
    const char* named;
  };
  for (const Case& c : {Case{0, "needs capabilities BPF, NET_ADMIN, PERFMON: "},
                        Case{bit(CAP_SYS_ADMIN), "needs capabilities NET_ADMIN: "},
                        Case{bit(CAP_BPF) | bit(CAP_NET_ADMIN), "needs capabilities PERFMON: "}}) {
    testing::with_capabilities(c.kept, [&] {
      const Status status = probe();
      EXPECT_EQ(status.code(), StatusCode::kPermission);
      EXPECT_THAT(status.message(),
                  AllOf(HasSubstr(c.named), HasSubstr("privileged: true"), Not(HasSubstr("\n"))));
    });
  }
  testing::with_capabilities(bit(CAP_BPF) | bit(CAP_NET_ADMIN) | bit(CAP_PERFMON),
                             [] { EXPECT_TRUE(probe()) << probe().message(); });
}

TEST_F(KernelTest, RowsThatTryFailWithoutPermission) {
  testing::with_capabilities(0, [] {
    for (const FeatureRow& row : feature_rows()) {
      const bool readable = row.feature == Feature::kSystemCall || row.feature == Feature::kBtf ||
                            row.feature == Feature::kMappedArrays ||
                            row.feature == Feature::kBpffs || row.feature == Feature::kCgroup2;
      EXPECT_TRUE(readable || !row.test()) << row.name;
    }
  });
}

TEST_F(KernelTest, KnowsAHelperFromAnUnknownOne) {
  EXPECT_TRUE(has_helper(BPF_PROG_TYPE_SCHED_CLS, 0, BPF_FUNC_redirect_neigh));
  EXPECT_FALSE(has_helper(BPF_PROG_TYPE_SCHED_CLS, 0, 1000000));
  // Known to the kernel, but not for this type of program.
  EXPECT_FALSE(has_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT,
                          BPF_FUNC_redirect_neigh));
}

TEST(FeatureRowsTest, AreInOrderAndSayWhatToDo) {
  const auto rows = feature_rows();
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].feature, static_cast<Feature>(i));
    EXPECT_TRUE(!rows[i].answer.empty() || rows[i].feature == Feature::kCapabilities)
        << rows[i].name;
  }
  EXPECT_EQ(rows.size(), static_cast<size_t>(Feature::kXdp) + 1);
}

TEST(MissingCapabilitiesTest, SysAdminStandsForTwoOfThem) {
  EXPECT_EQ(missing_capabilities(0), "BPF, NET_ADMIN, PERFMON");
  EXPECT_EQ(missing_capabilities(bit(CAP_SYS_ADMIN)), "NET_ADMIN");
  EXPECT_EQ(missing_capabilities(bit(CAP_NET_ADMIN) | bit(CAP_BPF)), "PERFMON");
  EXPECT_EQ(missing_capabilities(bit(CAP_NET_ADMIN) | bit(CAP_SYS_ADMIN)), "");
  EXPECT_EQ(missing_capabilities(bit(CAP_NET_ADMIN) | bit(CAP_BPF) | bit(CAP_PERFMON)), "");
}

// As libbpf 1.1 words them.
constexpr const char* kVerifierRefusal =
    R"(libbpf: prog 'fl_ingress': BPF program load failed: Permission denied
libbpf: prog 'fl_ingress': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=m,ks=4,vs=4)
7: (61) r0 = *(u32 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'fl_ingress': failed to load: -13
libbpf: failed to load object 'fairlead_bpf'
)";
constexpr const char* kMapRefusal =
    R"(libbpf: Error in bpf_create_map_xattr(fl_flows):Cannot allocate memory(-12). Retrying without BTF.
libbpf: map 'fl_flows': failed to create: Cannot allocate memory(-12)
libbpf: failed to load object 'fairlead_bpf'
)";
constexpr const char* kNoTypes =
    R"(libbpf: failed to find valid kernel BTF
libbpf: Error loading vmlinux BTF: -3
libbpf: failed to load object 'fairlead_bpf'
)";

TEST(LoadFailureTest, NamesWhatWasRefusedAndWhatToDo) {
  struct Case {
    int error;
    const char* log;
    StatusCode code;
    const char* line;
  };
  for (const Case& c : {
           Case{
               EACCES, kVerifierRefusal, StatusCode::kUnsupported,
               "load eBPF program fl_ingress: the kernel refuses it: Permission denied: 6: (85) "
               "call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=m,ks=4,vs=4) | 7: "
               "(61) r0 = *(u32 *)(r0 +0) | R0 invalid mem access 'map_value_or_null'; do without"},
           Case{ENOMEM, kMapRefusal, StatusCode::kExhausted,
                "create eBPF map fl_flows: Cannot allocate memory; lower --ebpf-max-flows, or give "
                "the node more memory"},
           Case{ESRCH, kNoTypes, StatusCode::kUnsupported,
                "load the eBPF programs: No such process: Error loading vmlinux BTF: -3"},
           Case{EPERM, "libbpf: Couldn't load trivial BPF program.\n", StatusCode::kPermission,
                "load the eBPF programs: Operation not permitted; give the container \"privileged: "
                "true\" or capabilities BPF, NET_ADMIN, PERFMON"},
           Case{EINVAL, "", StatusCode::kUnsupported, "load the eBPF programs: Invalid argument"},
           Case{EINVAL, "libbpf: prog '", StatusCode::kUnsupported,
                "load the eBPF programs: Invalid argument: prog '"},
       }) {
    const Status status = explain_load_failure(c.error, c.log, "do without");
    EXPECT_EQ(status.message(), c.line);
    EXPECT_EQ(status.code(), c.code) << status.message();
  }
}

}  // namespace
}  // namespace fairlead::bpf
