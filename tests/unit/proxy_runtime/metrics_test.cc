#include "proxy/runtime/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "proxy/runtime/metric_records.h"

namespace fairlead::proxy {
namespace {

using dataplane::Family;
using testing::HasSubstr;
using testing::Not;

MetricsOptions options(std::string mode) {
  return {std::move(mode), {Family::kIPv4, Family::kIPv6}, "v1.34.5-fairlead", "abc", "today"};
}

std::string type_name(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter:
      return "counter";
    case MetricKind::kGauge:
      return "gauge";
    default:
      return "histogram";
  }
}

TEST(MetricList, NamesAreUniqueAndWellFormed) {
  std::set<std::string_view> names;
  for (const MetricInfo& info : metric_infos()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_FALSE(info.help.empty()) << info.name;
    EXPECT_EQ(info.kind == MetricKind::kHistogram, info.buckets != MetricBuckets::kNone)
        << info.name;
    const bool ours = info.name.starts_with("fairlead_");
    if (ours && info.kind == MetricKind::kCounter) {
      EXPECT_TRUE(info.name.ends_with("_total")) << info.name;
    }
  }
}

// docs/metrics.md has exactly one row a metric: | `name` | type | labels | meaning |
TEST(MetricList, IsDocumented) {
  std::ifstream file(FAIRLEAD_SOURCE_DIR "/docs/metrics.md");
  ASSERT_TRUE(file);
  std::set<std::string> rows;
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with("| `")) continue;
    size_t end = 0;
    for (int column = 0; column < 4; ++column) end = line.find('|', end + 1);
    const std::string row = line.substr(0, end == std::string::npos ? end : end + 1);
    EXPECT_TRUE(rows.insert(row.substr(0, row.rfind('|', row.size() - 2) + 1)).second) << line;
  }
  for (const MetricInfo& info : metric_infos()) {
    std::string labels;
    std::istringstream words{std::string(info.labels)};
    for (std::string word; std::getline(words, word, ',');) {
      labels += (labels.empty() ? "" : ", ") + word;
    }
    const std::string row = "| `" + std::string(info.name) + "` | " + type_name(info.kind) + " | " +
                            (labels.empty() ? "–" : labels) + " |";
    EXPECT_EQ(rows.erase(row), 1U) << "missing from docs/metrics.md: " << row;
  }
  EXPECT_THAT(rows, testing::IsEmpty()) << "documented, but there is no such metric";
}

TEST(MetricsTest, CountersGaugesAndHistogramsAreWritten) {
  Metrics metrics(options("nftables"));
  metrics.counter(Metric::kReflectorLists, {"services"}).add();
  metrics.counter(Metric::kReflectorLists, {"services"}).add(2);
  metrics.gauge(Metric::kTableEntries, {"IPv6"}).set(7);
  metrics.histogram(Metric::kSyncDuration, {"IPv4"}).observe(0.003);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("fairlead_reflector_lists_total{resource=\"services\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("fairlead_table_entries{ip_family=\"IPv6\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram"));
  EXPECT_THAT(text, HasSubstr("kubeproxy_sync_proxy_rules_duration_seconds_bucket{"
                              "ip_family=\"IPv4\",le=\"0.002\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("kubeproxy_sync_proxy_rules_duration_seconds_bucket{"
                              "ip_family=\"IPv4\",le=\"0.004\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("le=\"16.384\"} 1\n"));
  // Not touched, but there from the start.
  EXPECT_THAT(text,
              HasSubstr("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 0"));
  EXPECT_THAT(text, HasSubstr("kubeproxy_sync_proxy_rules_service_changes_total 0\n"));
}

TEST(MetricsTest, BucketsReachAsFarAsKubeProxys) {
  Metrics metrics(options("nftables"));
  metrics.histogram(Metric::kNetworkProgrammingDuration, {"IPv4"}).observe(1);
  metrics.histogram(Metric::kRestDuration, {"GET", "api"}).observe(1);
  const std::string text = metrics.text();
  for (const char* bound : {"0.25", "59", "60", "115", "120", "300"}) {
    EXPECT_THAT(text,
                HasSubstr("network_programming_duration_seconds_bucket{ip_family=\"IPv4\",le=\"" +
                          std::string(bound) + "\"}"));
  }
  EXPECT_THAT(text,
              HasSubstr("rest_client_request_duration_seconds_bucket{host=\"api\",verb=\"GET\","
                        "le=\"0.005\"} 0"));
}

TEST(MetricsTest, FamiliesOfAnotherModeAreAbsentAndHarmless) {
  Metrics nftables(options("nftables"));
  nftables.gauge(Metric::kIptablesRules, {"IPv4", "nat"}).set(5);
  EXPECT_THAT(nftables.text(), Not(HasSubstr("iptables")));
  EXPECT_THAT(nftables.text(), HasSubstr("nftables_sync_failures_total{ip_family=\"IPv4\"} 0"));

  Metrics iptables(options("iptables"));
  iptables.gauge(Metric::kIptablesRules, {"IPv4", "nat"}).set(5);
  EXPECT_THAT(iptables.text(),
              HasSubstr("sync_proxy_rules_iptables_total{ip_family=\"IPv4\",table=\"nat\"} 5\n"));
  EXPECT_THAT(iptables.text(), Not(HasSubstr("nftables_sync_failures")));
}

TEST(MetricsTest, BuildInfoSplitsTheVersion) {
  Metrics metrics(options("nftables"));
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("git_version=\"v1.34.5-fairlead\""));
  EXPECT_THAT(text, HasSubstr("major=\"1\",minor=\"34\""));
  EXPECT_THAT(text, HasSubstr("fairlead_info{mode=\"nftables\",version=\"v1.34.5-fairlead\"} 1"));
}

TEST(MetricsTest, ProcessFiguresAreReadAtEachScrape) {
  Metrics metrics(options("nftables"));
  EXPECT_THAT(metrics.text(), Not(HasSubstr("process_resident_memory_bytes 0\n")));
  EXPECT_THAT(metrics.text(), HasSubstr("# TYPE process_cpu_seconds_total counter"));
}

TEST(MetricsTest, RaiseToNeverGoesDown) {
  Metrics metrics(options("nftables"));
  const Counter counter = metrics.counter(Metric::kAuditRuns);
  counter.raise_to(5);
  counter.raise_to(3);
  counter.add(-1);
  EXPECT_EQ(counter.value(), 5);
}

TEST(MetricsTest, BackendCountersAreExportedByTheirNames) {
  Metrics metrics(options("nftables"));
  metrics.set_backend_counters(
      {{"packets.dropped", "Dropped packets", 3, true}, {"set_elements", "Elements", 9, false}});
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("# TYPE fairlead_backend_packets_dropped counter\n"
                              "fairlead_backend_packets_dropped 3\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE fairlead_backend_set_elements gauge\n"
                              "fairlead_backend_set_elements 9\n"));
}

TEST(MetricsTest, BackendsFeedKubeProxysFamilies) {
  Metrics metrics(options("iptables"));
  const auto say = [&metrics](double rules, double failures) {
    metrics.set_backend_counters(
        {{"kubeproxy_sync_proxy_rules_iptables_total", "", rules, false, {"IPv4", "nat"}},
         {"kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
          "",
          failures,
          true,
          {"IPv4"}}});
  };
  say(12, 3);
  say(7, 4);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("\nkubeproxy_sync_proxy_rules_iptables_total"
                              "{ip_family=\"IPv4\",table=\"nat\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("\nkubeproxy_sync_proxy_rules_iptables_restore_failures_total"
                              "{ip_family=\"IPv4\"} 4\n"));
  EXPECT_EQ(text.find("fairlead_backend_kubeproxy"), std::string::npos);
}

TEST(MetricsTest, SeriesAreBounded) {
  Metrics metrics(options("nftables"));
  for (size_t i = 0; i < Metrics::kMaxSeriesPerFamily + 10; ++i) {
    metrics.counter(Metric::kReflectorFailures, {std::to_string(i)}).add();
  }
  EXPECT_EQ(metrics.counter(Metric::kReflectorFailures, {"other"}).value(), 10);
  EXPECT_EQ(metrics.counter(Metric::kReflectorFailures, {"1"}).value(), 1);
}

TEST(MetricsTest, LabelValuesThatOnlyJoinAlikeAreDifferent) {
  Metrics metrics(options("nftables"));
  metrics.counter(Metric::kRestRequests, {"a", "bc", "d"}).add();
  EXPECT_EQ(metrics.counter(Metric::kRestRequests, {"ab", "c", "d"}).value(), 0);
}

TEST(MetricsTest, HostileLabelValuesAreEscaped) {
  Metrics metrics(options("nftables"));
  metrics.counter(Metric::kReflectorFailures, {"a\"\n} 1"}).add();
  EXPECT_THAT(metrics.text(), HasSubstr("resource=\"a\\\"\\n} 1\"} 1\n"));
}

TEST(MetricsTest, SlisHaveAPageOfTheirOwn) {
  Metrics metrics(options("nftables"));
  metrics.gauge(Metric::kSliHealthcheck, {"proxy", "healthz"}).set(1);
  EXPECT_THAT(metrics.slis_text(),
              HasSubstr("kubernetes_healthcheck{name=\"proxy\",type=\"healthz\"} 1\n"));
  EXPECT_THAT(metrics.slis_text(), Not(HasSubstr("kubeproxy_")));
  EXPECT_THAT(metrics.text(), Not(HasSubstr("kubernetes_healthcheck")));
}

TEST(MetricsTest, CallbacksRunBeforeAScrape) {
  Metrics metrics(options("nftables"));
  const Gauge gauge = metrics.gauge(Metric::kRefusedEntries);
  metrics.before_scrape([gauge] { gauge.add(1); });
  EXPECT_THAT(metrics.text(), HasSubstr("fairlead_refused_entries 1\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("fairlead_refused_entries 2\n"));
}

TEST(MetricsTest, ThreadsDoNotLoseIncrements) {
  Metrics metrics(options("nftables"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&metrics] {
      const Counter counter = metrics.counter(Metric::kBackendOperations);
      for (int j = 0; j < 1000; ++j) counter.add();
    });
  }
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(metrics.text().empty());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.counter(Metric::kBackendOperations).value(), 4000);
}

TEST(MetricRecords, ConntrackPasses) {
  Metrics metrics(options("nftables"));
  const ConntrackRecorder record(metrics, std::vector<Family>{Family::kIPv4});
  const Status failure = Status::error(StatusCode::kUnavailable, "list", "flows", "busy");
  record({Family::kIPv4, 1, 10, 3, std::chrono::milliseconds(5), Status()});
  record({Family::kIPv4, 1, 10, 1, std::chrono::milliseconds(5), failure});
  record({Family::kIPv6, 1, 10, 9, std::chrono::milliseconds(5), Status()});  // not ours: ignored
  const std::string text = metrics.text();
  EXPECT_THAT(text,
              HasSubstr("conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("conntrack_scanned_entries_total{ip_family=\"IPv4\"} 20\n"));
  EXPECT_THAT(text, HasSubstr("conntrack_failures_total{ip_family=\"IPv4\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sync_duration_seconds_count{ip_family=\"IPv4\"} 2\n"));
}

TEST(MetricRecords, Requests) {
  Metrics metrics(options("nftables"));
  client::Client::RequestReport report;
  report.method = "GET";
  report.verb = "WATCH";
  report.host = "10.0.0.1:6443";
  report.duration = std::chrono::milliseconds(200);
  RequestRecorder record(metrics);
  record(report);
  report.code = 200;
  record(report);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("rest_client_requests_total{code=\"200\",host=\"10.0.0.1:6443\","
                              "method=\"GET\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("code=\"<error>\""));
  EXPECT_THAT(text, HasSubstr("rest_client_request_duration_seconds_count{host=\"10.0.0.1:6443\","
                              "verb=\"WATCH\"} 2\n"));
}

}  // namespace
}  // namespace fairlead::proxy
