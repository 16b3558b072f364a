#include "proxy/runtime/events.h"

#include <gtest/gtest.h>

#include <set>

namespace fairlead::proxy {
namespace {

TEST(Events, EveryReasonHasItsOwnNameAndAnAction) {
  std::set<std::string_view> reasons;
  for (size_t i = 0; i < kEventReasonCount; ++i) {
    const EventInfo& info = event_info(static_cast<EventReason>(i));
    EXPECT_TRUE(reasons.insert(info.reason).second) << info.reason;
    // The API's limit for both is 128 characters.
    EXPECT_FALSE(info.action.empty());
    EXPECT_LE(std::max(info.reason.size(), info.action.size()), 128U);
  }
}

TEST(Events, KubeProxyReasonsKeepTheirSpelling) {
  EXPECT_EQ(event_info(EventReason::kReadOnlySysFs).reason, "readOnlySysFS");
  EXPECT_EQ(event_info(EventReason::kFailedToStartServiceHealthcheck).action, "Listen");
  EXPECT_EQ(event_info(EventReason::kStarting).type, EventType::kNormal);
  EXPECT_EQ(to_string(EventType::kWarning), "Warning");
}

}  // namespace
}  // namespace fairlead::proxy
