// What a host may have for one IP family and lack for the other.
#include <gtest/gtest.h>

#include "fakes.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Family;
using testing::Host;

// IPv4 works, and IPv6 does not, for a reason that has `words`; neither question leaves anything.
void expect_lack(Host host, const std::string& words) {
  const auto backend = create_backend(testing::seams_of(host), Options{});
  const Status works = backend->can_serve(Family::kIPv4);
  EXPECT_TRUE(works) << works.message();
  const Status lacks = backend->can_serve(Family::kIPv6);
  EXPECT_EQ(lacks.ok(), words.empty());
  EXPECT_NE(lacks.message().find(words), std::string::npos) << lacks.message();
  EXPECT_TRUE(host.sets.empty());
  EXPECT_TRUE(host.servers.empty());
  EXPECT_FALSE(host.device);
}

TEST(IpvsFamily, WhatTheHostLacksIsNamed) {
  expect_lack(Host{}, "");
  Host host;
  host.no_ip6tables = true;
  expect_lack(host, "run ip6tables-legacy-restore: No such file or directory (install ip6tables");
  host = {};
  host.no_ip6_sets = true;
  expect_lack(host, "use IP sets of type hash:ip for IPv6: Kernel error received");
  host = {};
  host.no_ip6_servers = true;
  expect_lack(host, "use IPVS for IPv6: Address family not supported");
}

TEST(IpvsFamily, AnInterruptedQuestionIsNoHindrance) {
  Host host;
  host.sets["FAIRLEAD-CHECK"].spec.name = "FAIRLEAD-CHECK";
  expect_lack(host, "");
}

TEST(IpvsFamily, ALockedTableSaysNothing) {
  Host host;
  host.fail_restore = 1;
  const auto backend = create_backend(testing::seams_of(host), Options{});
  EXPECT_EQ(backend->can_serve(Family::kIPv6).code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace fairlead::ipvs
