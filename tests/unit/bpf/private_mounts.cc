#include "private_mounts.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "bpf/system.h"

namespace fairlead::bpf::testing {

void PrivateMounts::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts a bpf file system of its own";
  outside_.reset(::open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(outside_.valid());
  if (::unshare(CLONE_NEWNS) != 0) {
    outside_.reset();
    GTEST_SKIP() << "needs CAP_SYS_ADMIN: for a mount namespace of its own";
  }
  ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0);
  ASSERT_EQ(::mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr), 0);
}

void PrivateMounts::TearDown() {
  EXPECT_TRUE(!outside_.valid() || ::setns(outside_.get(), CLONE_NEWNS) == 0);
}

void with_capabilities(uint64_t kept, const std::function<void()>& function) {
  std::thread([&] {
    // The system call concerns this thread alone.
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data = {};
    ASSERT_EQ(::syscall(SYS_capget, &header, data.data()), 0);
    data[0].effective &= static_cast<uint32_t>(kept);
    data[1].effective &= static_cast<uint32_t>(kept >> 32);
    ASSERT_EQ(::syscall(SYS_capset, &header, data.data()), 0);
    function();
  }).join();
}

Sizes small_sizes() {
  Sizes sizes;
  sizes.frontends = 256;
  sizes.entries = 128;
  sizes.endpoints = 512;
  sizes.ring_slots = 1024;
  sizes.prefixes = 256;
  sizes.flows = 128;
  sizes.new_flows = 1024;
  sizes.return_classes = 1;
  sizes.affinity = 1024;
  sizes.fragments = 1024;
  return sizes;
}

uint32_t map_id(int fd) {
  bpf_map_info info = {};
  uint32_t size = sizeof info;
  return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

uint32_t pinned_map_id(const std::string& path) {
  const Result<Fd> map = open_pinned_map(path);
  return map ? map_id(map->get()) : 0;
}

}  // namespace fairlead::bpf::testing
