#include "iptables/process.h"

#include <gtest/gtest.h>

namespace fairlead::iptables {
namespace {

using namespace std::chrono_literals;  // NOLINT: literals only

Result<CommandResult> run(std::vector<std::string> arguments, std::string_view input = {},
                          std::chrono::milliseconds deadline = 30s) {
  Command command;
  command.arguments = std::move(arguments);
  command.input = input;
  command.deadline = deadline;
  return create_process_runner()->run(command);
}

TEST(Process, OutputErrorsAndExitCodeComeBack) {
  const auto result = run({"sh", "-c", "cat; echo wrong >&2; exit 3"}, "text");
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->output, "text");
  EXPECT_EQ(result->errors, "wrong\n");
  EXPECT_EQ(result->exit_code, 3);
}

TEST(Process, MoreThanAPipeHoldsGoesThroughBothWays) {
  const std::string large(3 << 20, 'x');
  const auto result = run({"cat"}, large);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->output, large);
}

TEST(Process, AProgramMayStopReading) {
  const std::string large(3 << 20, 'x');
  const auto result = run({"sh", "-c", "exec 0<&-; echo done"}, large);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->output, "done\n");
}

TEST(Process, AMissingProgramIsNotFound) {
  EXPECT_EQ(run({"fairlead-has-no-such-program"}).status().code(), StatusCode::kNotFound);
}

TEST(Process, TheDeadlineKills) {
  const auto result = run({"sleep", "60"}, {}, 50ms);
  EXPECT_EQ(result.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(result.status().message().find("50 ms"), std::string::npos);
}

TEST(Process, ASignalIsAnError) {
  const auto result = run({"sh", "-c", "kill -SEGV $$"});
  EXPECT_EQ(result.status().code(), StatusCode::kInternal);
  EXPECT_NE(result.status().message().find("signal"), std::string::npos);
}

TEST(Process, AGrandchildThatHoldsThePipeIsNotWaitedFor) {
  const auto result = run({"sh", "-c", "echo parent; sleep 5 & exit 0"}, {}, 3s);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->output, "parent\n");
}

TEST(Process, TheChildHasNoDescriptorsOfOurs) {
  const auto result = run({"sh", "-c", "ls /proc/self/fd | wc -w"});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->output, "4\n");  // three, and the one that ls reads the directory by
}

}  // namespace
}  // namespace fairlead::iptables
