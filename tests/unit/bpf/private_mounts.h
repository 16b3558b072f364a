// Tests that mount, pin and drop capabilities, without a trace on the machine.
//
// Threads: the test's.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/fd.h"
#include "bpf/options.h"

namespace fairlead::bpf::testing {

// Each test has a mount namespace of its own with an empty bpffs at /sys/fs/bpf and an empty /run;
// both vanish with it. Skips without root.
class PrivateMounts : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

 private:
  Fd outside_;
};

// Calls `function` on a thread that has no capability but those in `kept` (bits).
void with_capabilities(uint64_t kept, const std::function<void()>& function);

// Sizes that load fast.
Sizes small_sizes();

// The kernel's number of a map; 0 when `fd` is none.
uint32_t map_id(int fd);
// The same for what is pinned; 0 when it is no map.
uint32_t pinned_map_id(const std::string& path);

}  // namespace fairlead::bpf::testing
