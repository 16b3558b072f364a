// A network namespace, a BPF file system and a cgroup of a test's own, and programs that do next to
// nothing: what attaching can be tried with, without Fairlead's own programs.
//
// Threads: gtest's.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "bpf/attach.h"
#include "tests/harness/bpf_sandbox.h"

namespace fairlead::bpf::testing {

inline constexpr std::string_view kPinPath = "/sys/fs/bpf/fairlead";
std::string pins_of_this_layout();          // the directory below it: ".../v1"
inline constexpr uint32_t kPassedMark = 7;  // of packets that the ingress program has seen

// Output of a shell command, or "FAILED: " and its output.
std::string shell(const std::string& command);

// One generation of programs: all that are attached, each letting everything through.
class PassingPrograms {
 public:
  PassingPrograms();
  Programs fds() const;
  uint32_t id(Program program) const;

 private:
  std::array<Fd, kProgramCount> programs_;
};

class AttachTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  void ip(const std::string& command) { EXPECT_EQ(shell("ip " + command), "") << command; }
  // A pair of devices that are up; their indexes are looked up by name.
  void cable(const std::string& one, const std::string& other);
  static uint32_t index(const std::string& device);
  const std::string& cgroup() const { return sandbox_->inside_path(); }
  // A plan for the device `name` with ingress and egress, and with XDP in these modes.
  static DevicePlan plan(const std::string& name, std::vector<XdpMode> xdp = {});
  // Names below the pin path, absolute, sorted.
  static std::vector<std::string> pins();
  static uint32_t link_id(const std::string& pin);                         // 0: no such link
  static uint32_t program_id(const std::string& pin);                      // that hangs there
  static uint32_t classifier_id(const std::string& device, bool ingress);  // 0: none of ours

 private:
  Fd home_;
  std::unique_ptr<harness::BpfSandbox> sandbox_;
};

}  // namespace fairlead::bpf::testing
