// The kernel without privileges: what it refuses is told from what it does not have.
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "ipvs/sets.h"

namespace fairlead::ipvs {
namespace {

TEST(Privileges, SetsThatMayNotBeSeenAreNotMissing) {
  Status status;
  std::thread([&status] {
    // The system call concerns this thread alone.
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none = {};
    ASSERT_EQ(::syscall(SYS_capset, &header, none.data()), 0);
    status = open_sets().status();
  }).join();
  EXPECT_EQ(status.code(), StatusCode::kPermission) << status.message();
}

}  // namespace
}  // namespace fairlead::ipvs
