// Policy Local, when the last endpoint here goes while connections are open.
#include "backend_fixture.h"

namespace fairlead::ipvs {
namespace {

using dataplane::testing::address;
using dataplane::testing::group;
using testing::IpvsBackend;
using testing::service;

// A service of policy Local, outside or inside, whose connections are at the only endpoint here.
class IpvsLastLocalEndpoint : public IpvsBackend, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    IpvsBackend::SetUp();
    web_ = service("web", "10.96.0.1");
    (GetParam() ? web_.internal_traffic_local : web_.external_traffic_local) = true;
    if (!GetParam()) web_.external_ips = {address("203.0.113.1")};
    vip_.address.address = address(GetParam() ? "10.96.0.1" : "203.0.113.1");
    vip_.address.port = 80;
  }
  void serve(const std::vector<std::string_view>& endpoints) {
    set(web_, endpoints);
    apply();
  }
  void hold(uint32_t connections) {
    host_.servers[vip_].destinations[{address("10.1.0.1"), 8080}].connections = connections;
  }
  // "10.1.0.1:8080*0", or "none" when there is no server.
  std::string server() const {
    const std::string all = host_.describe();
    const std::string beginning = vip_.to_string() + " rr ->";
    const size_t begin = all.find(beginning);
    if (begin == std::string::npos) return "none";
    const size_t end = begin + beginning.size();
    return all.substr(end, all.find('\n', begin) - end);
  }

  dataplane::Service web_;
  ServerKey vip_;
};
INSTANTIATE_TEST_SUITE_P(Policy, IpvsLastLocalEndpoint, ::testing::Bool(),
                         [](const auto& of) { return of.param ? "Internal" : "External"; });

TEST_P(IpvsLastLocalEndpoint, KeepsItsConnectionsAndGetsNoOther) {
  serve({"10.1.0.1:8080 local", "10.1.1.1:8080"});
  hold(1);
  serve({"10.1.1.1:8080"});
  EXPECT_EQ(server(), " 10.1.0.1:8080*0");
  EXPECT_EQ(host_.elements("FAIRLEAD-NO-LOCAL"), vip_.address.address.to_string() + ",tcp:80");
  EXPECT_TRUE(host_.on_device.contains(vip_.address.address));
  static_cast<void>(backend_->disturbed());
  EXPECT_EQ(server(), " 10.1.0.1:8080*0") << "reaped with a connection";
  hold(0);
  static_cast<void>(backend_->disturbed());
  EXPECT_EQ(server(), "none");
  const auto report = backend_->audit();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->repaired, 0U);
  serve({"10.1.0.1:8080 local", "10.1.1.1:8080"});
  EXPECT_EQ(server(), " 10.1.0.1:8080*1");
  EXPECT_EQ(host_.elements("FAIRLEAD-NO-LOCAL"), "");
}

TEST_P(IpvsLastLocalEndpoint, ServesAgainBeforeItsConnectionsHaveEnded) {
  serve({"10.1.0.1:8080 local", "10.1.1.1:8080"});
  hold(1);
  serve({"10.1.1.1:8080"});
  serve({"10.1.0.2:8080 local", "10.1.1.1:8080"});
  EXPECT_EQ(server(), " 10.1.0.1:8080*0 10.1.0.2:8080*1");
  hold(0);
  static_cast<void>(backend_->disturbed());
  EXPECT_EQ(server(), " 10.1.0.2:8080*1") << "the server is needed again";
}

TEST_P(IpvsLastLocalEndpoint, IsTheNextRunsAsWell) {
  serve({"10.1.0.1:8080 local", "10.1.1.1:8080"});
  hold(1);
  serve({"10.1.1.1:8080"});
  const std::string before = host_.describe();
  ASSERT_TRUE(backend_->audit().ok());
  EXPECT_EQ(host_.describe(), before);
  restart();
  static_cast<void>(backend_->disturbed());
  serve({"10.1.1.1:8080"});
  const auto report = backend_->audit();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->repaired, 0U);
  EXPECT_EQ(host_.describe(), before);
  hold(0);
  static_cast<void>(backend_->disturbed());
  EXPECT_EQ(server(), "none");
}

TEST_P(IpvsLastLocalEndpoint, GoesWithItsService) {
  serve({"10.1.0.1:8080 local", "10.1.1.1:8080"});
  hold(1);
  serve({"10.1.1.1:8080"});
  table_.replace(web_.name, {});
  apply();
  EXPECT_EQ(host_.describe(), "");
  EXPECT_TRUE(host_.on_device.empty());
}

TEST_P(IpvsLastLocalEndpoint, OfUdpGoesAtOnce) {
  web_.ports[0].protocol = vip_.protocol = dataplane::Protocol::kUdp;
  const auto serve_udp = [&](const std::vector<std::string_view>& endpoints) {
    std::vector<dataplane::EndpointGroup> groups = {group(endpoints)};
    groups[0].protocol = dataplane::Protocol::kUdp;
    table_.replace(web_.name, compile(web_, groups, view_));
    apply();
  };
  serve_udp({"10.1.0.1:8080 local", "10.1.1.1:8080"});
  hold(1);
  serve_udp({"10.1.1.1:8080"});
  EXPECT_EQ(server(), "none");
}

}  // namespace
}  // namespace fairlead::ipvs
