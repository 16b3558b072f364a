#include "proxy/runtime/http_endpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "tests/unit/proxy_runtime/http_get.h"
#include "tests/unit/proxy_runtime/manual_clock.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::SocketAddress;
using testing::HasSubstr;
using testing::StartsWith;

SocketAddress loopback(uint16_t port = 0) {
  return {Address::parse("127.0.0.1").value(), port};
}

class HttpEndpointsTest : public testing::Test {
 protected:
  Status start(HttpEndpointsOptions options) {
    auto started = HttpEndpoints::start(std::move(options), health_, metrics_,
                                        [this](const Event& event) { events_.push_back(event); });
    if (!started) return started.status();
    endpoints_ = std::move(*started);
    return Status();
  }
  void start_both(bool profiling = false) {
    HttpEndpointsOptions options;
    options.health = loopback();
    options.metrics = loopback();
    options.profiling = profiling;
    options.configuration_json = [] { return std::string(R"({"mode":"nftables"})"); };
    ASSERT_TRUE(start(std::move(options)).ok());
  }
  HttpReply health(std::string_view path) { return http_get(endpoints_->health_port(), path); }
  HttpReply metrics(std::string_view path) { return http_get(endpoints_->metrics_port(), path); }

  ManualClock clock_;
  Health health_{{std::chrono::seconds(60), {Family::kIPv4}}, clock_};
  Metrics metrics_{{"nftables", {Family::kIPv4}, "v1.34.0", "", ""}};
  std::vector<Event> events_;  // written by start() only
  std::unique_ptr<HttpEndpoints> endpoints_;
};

TEST_F(HttpEndpointsTest, HealthPages) {
  start_both();
  EXPECT_EQ(health("/healthz").status, 200);
  EXPECT_EQ(health("/readyz").status, 503);
  health_.first_sync_done();
  EXPECT_EQ(health("/readyz").status, 200);
  health_.set_node_gone();
  EXPECT_EQ(health("/healthz").status, 503);
  EXPECT_EQ(health("/livez").status, 200);
  EXPECT_THAT(health("/livez").head, HasSubstr("application/json"));
  EXPECT_EQ(health("/metrics").status, 404);
  EXPECT_EQ(health("/").status, 404);

  const std::string page = metrics("/metrics").body;
  EXPECT_THAT(page, HasSubstr("kubeproxy_proxy_healthz_total{code=\"200\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("kubeproxy_proxy_healthz_total{code=\"503\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("kubeproxy_proxy_livez_total{code=\"200\"} 2\n"));
}

TEST_F(HttpEndpointsTest, MetricsPages) {
  start_both();
  const HttpReply page = metrics("/metrics");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.head, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(page.body, HasSubstr("fairlead_api_server_reachable 1\n"));
  EXPECT_THAT(metrics("/metrics/slis").body,
              HasSubstr("kubernetes_healthcheck{name=\"proxy\",type=\"readyz\"} 0\n"));
  EXPECT_EQ(metrics("/healthz").body, "ok");
  EXPECT_EQ(metrics("/proxyMode").body, "nftables");
  EXPECT_EQ(metrics("/configz").body, R"({"kubeproxy.config.k8s.io":{"mode":"nftables"}})");
  EXPECT_EQ(metrics("/livez").status, 404);
  EXPECT_EQ(metrics("/debug/threads").status, 404);
  EXPECT_EQ(http_get(endpoints_->metrics_port(), "/metrics", "127.0.0.1", "DELETE").status, 405);
}

TEST_F(HttpEndpointsTest, DebugPagesWhenProfiling) {
  start_both(true);
  EXPECT_THAT(metrics("/debug/").body, StartsWith("/debug/threads"));
  EXPECT_THAT(metrics("/debug/threads").body, StartsWith("tid name cpu_seconds\n"));
  EXPECT_THAT(metrics("/debug/allocations").body, HasSubstr("bytes in use"));
  EXPECT_THAT(metrics("/debug/arenas").body, StartsWith("<malloc"));
  EXPECT_EQ(metrics("/debug/other").status, 404);
}

TEST_F(HttpEndpointsTest, EitherListenerMayBeAbsent) {
  HttpEndpointsOptions options;
  options.metrics = loopback();
  ASSERT_TRUE(start(std::move(options)).ok());
  EXPECT_EQ(endpoints_->health_port(), 0);
  EXPECT_EQ(metrics("/healthz").status, 200);
}

TEST_F(HttpEndpointsTest, HardFailureNamesTheAddress) {
  uint16_t taken = 0;
  const Fd holder = occupy_port(taken);
  HttpEndpointsOptions options;
  options.health = loopback(taken);
  options.hard_fail = true;
  const Status status = start(std::move(options));
  EXPECT_EQ(status.code(), StatusCode::kConflict) << status.message();
  EXPECT_THAT(status.message(), HasSubstr(std::to_string(taken)));
}

TEST_F(HttpEndpointsTest, ATakenPortIsAnEventAndIsTriedAgain) {
  uint16_t taken = 0;
  Fd holder = occupy_port(taken);
  HttpEndpointsOptions options;
  options.health = loopback(taken);
  options.metrics = loopback();
  options.retry_period = std::chrono::milliseconds(1);
  ASSERT_TRUE(start(std::move(options)).ok());
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_EQ(events_[0].reason, EventReason::kFailedToStartProxierHealthcheck);
  EXPECT_EQ(metrics("/healthz").status, 200);
  EXPECT_EQ(endpoints_->health_port(), 0);
  holder.reset();
  while (endpoints_->health_port() == 0) std::this_thread::yield();  // ctest's time-out ends this
  EXPECT_EQ(health("/healthz").status, 200);
}

TEST_F(HttpEndpointsTest, StopsWhileStillTrying) {
  uint16_t taken = 0;
  const Fd holder = occupy_port(taken);
  HttpEndpointsOptions options;
  options.health = loopback(taken);
  options.metrics = loopback(taken);
  ASSERT_TRUE(start(std::move(options)).ok());
  EXPECT_EQ(events_.size(), 2U);
  endpoints_.reset();  // does not wait for the period
}

}  // namespace
}  // namespace fairlead::proxy
