#include "proxy/tracker.h"

#include <gtest/gtest.h>

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::ObjectName;

dataplane::Service service(const std::string& name) {
  dataplane::Service result;
  result.name = {"d", name};
  return result;
}

Slice slice(const std::string& name, const std::string& of,
            std::vector<std::pair<const char*, int>> endpoints) {
  Slice result;
  result.name = name;
  result.service = {"d", of};
  result.ports = {{"", dataplane::Protocol::kTcp, 80}};
  for (const auto& [address, flags] : endpoints) {
    result.endpoints.push_back({*Address::parse(address), static_cast<uint8_t>(flags), 0});
  }
  return result;
}

std::string changed(Tracker& tracker) {
  std::string text;
  for (const ObjectName& name : tracker.take_changed()) text += name.name + " ";
  return text;
}

std::string endpoints(const Tracker& tracker, const std::string& service) {
  std::string text;
  const ZoneHints hints;
  for (const auto& group : tracker.groups({"d", service}, hints, "")) {
    for (const auto& endpoint : group.endpoints) {
      text += endpoint.target.address.to_string() + (endpoint.local ? "L" : "") +
              (endpoint.ready ? "R" : "") + " ";
    }
  }
  return text;
}

constexpr int kGood = SliceEndpoint::kReady | SliceEndpoint::kServing;

TEST(Tracker, SlicesMayComeBeforeTheirService) {
  Tracker tracker;
  tracker.put_slice(slice("s1", "web", {{"10.1.0.1", kGood}}));
  EXPECT_EQ(changed(tracker), "web ");
  EXPECT_EQ(tracker.service({"d", "web"}), nullptr);
  tracker.put_service(service("web"));
  EXPECT_EQ(changed(tracker), "web ");
  EXPECT_EQ(endpoints(tracker, "web"), "10.1.0.1R ");
}

TEST(Tracker, AnEqualServiceIsNoChange) {
  Tracker tracker;
  tracker.put_service(service("web"));
  changed(tracker);
  tracker.put_service(service("web"));
  EXPECT_EQ(changed(tracker), "");
}

TEST(Tracker, SlicesAreUnitedAndCopiesChosen) {
  Tracker tracker;
  tracker.put_slice(slice("s1", "web", {{"10.1.0.1", 0}, {"10.1.0.2", kGood}}));
  tracker.put_slice(slice("s2", "web", {{"10.1.0.1", kGood}, {"10.1.0.2", SliceEndpoint::kLocal}}));
  EXPECT_EQ(endpoints(tracker, "web"), "10.1.0.1R 10.1.0.2L ");
  tracker.remove_slice("d", "s2");
  EXPECT_EQ(endpoints(tracker, "web"), "10.1.0.1 10.1.0.2R ");
}

TEST(Tracker, ASliceThatMovesLeavesItsOldService) {
  Tracker tracker;
  tracker.put_slice(slice("s1", "old", {{"10.1.0.1", kGood}}));
  changed(tracker);
  tracker.put_slice(slice("s1", "new", {{"10.1.0.1", kGood}}));
  EXPECT_EQ(changed(tracker), "new old ");
  EXPECT_EQ(endpoints(tracker, "old"), "");
  EXPECT_EQ(endpoints(tracker, "new"), "10.1.0.1R ");
}

TEST(Tracker, RemovalsAreChangesOnce) {
  Tracker tracker;
  tracker.put_service(service("web"));
  tracker.put_slice(slice("s1", "web", {}));
  changed(tracker);
  tracker.remove_service({"d", "web"});
  EXPECT_EQ(changed(tracker), "web ");
  tracker.remove_service({"d", "web"});
  tracker.remove_slice("d", "unknown");
  EXPECT_EQ(changed(tracker), "");
  tracker.remove_slice("d", "s1");
  EXPECT_EQ(tracker.slices(), 0U);
  EXPECT_EQ(tracker.services(), 0U);
}

TEST(Tracker, TriggerTimesAreTakenOnceAndBounded) {
  Tracker tracker;
  for (int i = 1; i <= 1000; ++i) {
    Slice one = slice("s1", "web", {});
    one.trigger_time_micros = i;
    tracker.put_slice(std::move(one));
  }
  EXPECT_LE(tracker.take_trigger_times({"d", "web"}).size(), 64U);
  EXPECT_TRUE(tracker.take_trigger_times({"d", "web"}).empty());
}

}  // namespace
}  // namespace fairlead::proxy
