#include "proxy/runtime/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/proxy_runtime/manual_clock.h"

namespace fairlead::proxy {
namespace {

using dataplane::Family;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

class HealthTest : public testing::Test {
 protected:
  void wait(int by) { clock_.advance(seconds(by)); }

  ManualClock clock_;
  Health health_{{seconds(60), {Family::kIPv4, Family::kIPv6}}, clock_};
};

TEST_F(HealthTest, HealthyBeforeAnythingHappened) {
  wait(1000);
  EXPECT_EQ(health_.healthz().http_status, 200);
  EXPECT_EQ(health_.livez().http_status, 200);
  EXPECT_TRUE(health_.keeps_up());
  EXPECT_EQ(health_.readyz().http_status, 503);
}

TEST_F(HealthTest, BodyIsWhatKubeProxyWrites) {
  EXPECT_EQ(health_.healthz().body,
            R"({"lastUpdated":"2026-01-02 03:04:06.000000000 +0000 UTC",)"
            R"("currentTime":"2026-01-02 03:04:06.000000000 +0000 UTC","nodeEligible":true,)"
            R"("healthy":true,"apiServer":"ok"})");
  EXPECT_THAT(health_.livez().body, Not(HasSubstr("nodeEligible")));
}

TEST_F(HealthTest, AChangePendingTooLongIsUnhealthyUntilApplied) {
  health_.queued(Family::kIPv4);
  wait(59);
  health_.queued(Family::kIPv4);  // a newer one does not reset the wait of the oldest
  EXPECT_TRUE(health_.keeps_up());
  wait(1);
  EXPECT_FALSE(health_.keeps_up());
  EXPECT_EQ(health_.healthz().http_status, 503);
  EXPECT_EQ(health_.livez().http_status, 503);
  EXPECT_THAT(health_.healthz().body, HasSubstr(R"("late":"IPv4")"));
  health_.applied(Family::kIPv4, clock_.steady());
  EXPECT_EQ(health_.healthz().http_status, 200);
}

TEST_F(HealthTest, LastUpdatedOfAnUnhealthyProxyIsItsLastSuccess) {
  health_.applied(Family::kIPv6, clock_.steady());
  health_.queued(Family::kIPv6);
  wait(100);
  EXPECT_THAT(health_.healthz().body,
              HasSubstr(R"("lastUpdated":"2026-01-02 03:04:06.000000000 +0000 UTC",)"
                        R"("currentTime":"2026-01-02 03:05:46.000000000 +0000 UTC")"));
}

TEST_F(HealthTest, NeverUpdatedIsTheZeroTime) {
  health_.queued(Family::kIPv6);
  wait(100);
  EXPECT_THAT(health_.livez().body, HasSubstr(R"("lastUpdated":"0001-01-01 00:00:00 +0000 UTC")"));
}

TEST_F(HealthTest, FamiliesAreIndependent) {
  health_.queued(Family::kIPv4);
  health_.queued(Family::kIPv6);
  wait(30);
  health_.applied(Family::kIPv4, clock_.steady());
  wait(40);
  EXPECT_FALSE(health_.keeps_up());
  health_.applied(Family::kIPv6, clock_.steady());
  EXPECT_TRUE(health_.keeps_up());
}

TEST_F(HealthTest, WhatIsQueuedDuringAnApplyStaysPending) {
  health_.queued(Family::kIPv4);
  wait(10);
  const auto snapshot = clock_.steady();
  wait(10);
  health_.queued(Family::kIPv4);
  wait(10);
  health_.applied(Family::kIPv4, snapshot);
  wait(39);
  EXPECT_TRUE(health_.keeps_up());
  wait(1);  // sixty seconds after the snapshot
  EXPECT_FALSE(health_.keeps_up());
}

TEST_F(HealthTest, ADrainingNodeFailsHealthzOnly) {
  api::Node node;
  node.taints = {{"ToBeDeletedByClusterAutoscaler", "", "NoSchedule"}};
  health_.set_node(node);
  EXPECT_EQ(health_.healthz().http_status, 503);
  EXPECT_THAT(health_.healthz().body, HasSubstr(R"("nodeEligible":false)"));
  EXPECT_EQ(health_.livez().http_status, 200);
  EXPECT_TRUE(health_.keeps_up());  // what the service health ports repeat

  node.taints = {{"node.kubernetes.io/unschedulable", "", "NoSchedule"}};
  health_.set_node(node);
  EXPECT_EQ(health_.healthz().http_status, 200);

  node.meta.deletion_timestamp = 1;
  health_.set_node(node);
  EXPECT_EQ(health_.healthz().http_status, 503);

  health_.set_node(api::Node());
  EXPECT_EQ(health_.healthz().http_status, 200);
  health_.set_node_gone();
  EXPECT_EQ(health_.healthz().http_status, 503);
}

TEST_F(HealthTest, AnUnreachableApiServerIsToldButNotUnhealthy) {
  health_.set_api_server(Status::error(StatusCode::kUnavailable, "watch", "services", "refused"));
  EXPECT_EQ(health_.healthz().http_status, 200);
  EXPECT_THAT(health_.healthz().body, HasSubstr(R"("apiServer":"watch services: refused")"));
  EXPECT_FALSE(health_.api_server_reachable());
}

TEST_F(HealthTest, ReadyAfterTheFirstSync) {
  health_.first_sync_done();
  EXPECT_EQ(health_.readyz().http_status, 200);
  EXPECT_TRUE(health_.ready());
}

}  // namespace
}  // namespace fairlead::proxy
