// What other modes left, and when it goes. Time is the test's own.
#include "proxy/mode_handover.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace fairlead::proxy {
namespace {

using std::chrono::seconds;
using Time = std::chrono::steady_clock::time_point;

// What has become of a backend that the handover owns, and forgets when it is done.
struct Fate {
  int releases = 0;
  int removals = 0;
};

// A mode that left something, and that can be told to fail.
class LeftBackend final : public dataplane::Backend {
 public:
  // `waits`: what it answers in turn; zero when they are all given.
  LeftBackend(Fate& fate, std::vector<Result<seconds>> waits, int failing_removals)
      : fate_(fate), waits_(std::move(waits)), failing_removals_(failing_removals) {}

  std::string_view name() const override { return "left"; }
  Status start(const dataplane::NodeRules&) override { return {}; }
  Result<dataplane::Ack> apply(const dataplane::Delta&) override { return dataplane::Ack{}; }
  bool disturbed() override { return false; }
  Result<dataplane::AuditReport> audit() override { return dataplane::AuditReport{}; }
  std::vector<dataplane::Counter> counters() override { return {}; }
  Result<seconds> release() override {
    const auto asked = static_cast<size_t>(fate_.releases++);
    return asked < waits_.size() ? waits_[asked] : seconds(0);
  }
  Status remove_all() override {
    if (failing_removals_-- > 0) return broken();
    ++fate_.removals;
    return {};
  }

  static Status broken() {
    return Status::error(StatusCode::kUnavailable, "remove", "left", "told to fail");
  }

 private:
  Fate& fate_;
  const std::vector<Result<seconds>> waits_;
  int failing_removals_;
};

class ModeHandoverTest : public ::testing::Test {
 protected:
  ModeHandover handover(std::vector<Result<seconds>> waits, seconds least_wait,
                        int failing_removals = 0) {
    std::vector<std::unique_ptr<dataplane::Backend>> others;
    others.push_back(std::make_unique<LeftBackend>(fate_, std::move(waits), failing_removals));
    return ModeHandover(std::move(others), least_wait);
  }
  // The first second at which it is removed, asked every second; -1: never.
  int removed_at(ModeHandover handover) {
    for (int second = 0; second < 120; ++second) {
      handover.remove_other_modes(Time{} + seconds(1000 + second));
      EXPECT_EQ(handover.done(), fate_.removals == 1);
      if (handover.done()) return second;
    }
    return -1;
  }

  Fate fate_;
};

TEST_F(ModeHandoverTest, WhatNothingDependsOnGoesAtOnce) {
  EXPECT_EQ(removed_at(handover({}, seconds(0))), 0);
  EXPECT_EQ(fate_.releases, 1);
}

TEST_F(ModeHandoverTest, WhatConnectionsDependOnStaysAsLongAsItAsks) {
  EXPECT_EQ(removed_at(handover({seconds(7)}, seconds(0))), 7);
  EXPECT_EQ(fate_.releases, 2);
}

TEST_F(ModeHandoverTest, WhileConnectionsGoOnItIsAskedAgain) {
  EXPECT_EQ(removed_at(handover({seconds(5), seconds(10), seconds(10)}, seconds(0))), 25);
  EXPECT_EQ(fate_.releases, 4);
}

TEST_F(ModeHandoverTest, NothingGoesBeforeTheLeastWait) {
  EXPECT_EQ(removed_at(handover({}, seconds(5))), 5);
}

TEST_F(ModeHandoverTest, TheLongerWaitCounts) {
  EXPECT_EQ(removed_at(handover({seconds(7)}, seconds(5))), 7);
  fate_ = {};
  EXPECT_EQ(removed_at(handover({seconds(3)}, seconds(5))), 5);
}

TEST_F(ModeHandoverTest, WhatCannotBeRemovedIsTriedAgain) {
  EXPECT_EQ(removed_at(handover({seconds(2)}, seconds(0), 1)), 32);
}

TEST_F(ModeHandoverTest, WhatCannotBeReleasedIsAskedOnceMore) {
  EXPECT_EQ(removed_at(handover({LeftBackend::broken(), seconds(10)}, seconds(0))), 40);
}

TEST_F(ModeHandoverTest, WhereConnectionsGoOnNoRefusalEndsThem) {
  EXPECT_EQ(
      removed_at(handover({seconds(5), LeftBackend::broken(), LeftBackend::broken()}, seconds(0))),
      65);
}

TEST_F(ModeHandoverTest, WhatCannotBeReleasedTwiceIsRemovedAllTheSame) {
  EXPECT_EQ(removed_at(handover({LeftBackend::broken(), LeftBackend::broken()}, seconds(0))), 30);
}

}  // namespace
}  // namespace fairlead::proxy
