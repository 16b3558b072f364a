#include "proxy/runtime/instance_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>

#include "tests/unit/proxy_runtime/netns.h"

namespace fairlead::proxy {
namespace {

class InstanceLockTest : public testing::Test {
 protected:
  ~InstanceLockTest() override { std::filesystem::remove_all(directory_); }
  const std::string directory_ =
      testing::TempDir() + "lock-" + std::to_string(::getpid()) + "/fairlead";
};

TEST_F(InstanceLockTest, TheSecondIsRefusedWithThePidOfTheFirst) {
  const auto first = InstanceLock::acquire(directory_);
  ASSERT_TRUE(first.ok()) << first.status().message();
  const auto second = InstanceLock::acquire(directory_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kConflict);
  EXPECT_THAT(second.status().message(), testing::EndsWith("pid " + std::to_string(::getpid())));
}

TEST_F(InstanceLockTest, GoesWithItsHolder) {
  for (int i = 0; i < 2; ++i) {
    const auto lock = InstanceLock::acquire(directory_);
    EXPECT_TRUE(lock.ok()) << lock.status().message();
  }
}

TEST_F(InstanceLockTest, AnotherNetworkNamespaceHasAnotherLock) {
  if (!can_create_netns()) GTEST_SKIP() << "needs to create a network namespace";
  const auto outside = InstanceLock::acquire(directory_);
  ASSERT_TRUE(outside.ok());
  in_new_netns([&] {
    const auto inside = InstanceLock::acquire(directory_);
    ASSERT_TRUE(inside.ok()) << inside.status().message();
    EXPECT_NE(inside->path(), outside->path());
  });
}

TEST_F(InstanceLockTest, AnUnusableDirectoryIsNamed) {
  const auto lock = InstanceLock::acquire("/proc/nowhere");
  ASSERT_FALSE(lock.ok());
  EXPECT_THAT(lock.status().message(), testing::HasSubstr("/proc/nowhere"));
}

}  // namespace
}  // namespace fairlead::proxy
