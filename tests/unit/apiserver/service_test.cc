// Cluster addresses and node ports: picked, refused, given back, repaired; system objects.
#include <set>
#include <thread>

#include "control/apiserver/compactor.h"
#include "control/apiserver/service_repair.h"
#include "control/apiserver/service_reserver.h"
#include "control/apiserver/system_objects.h"
#include "tests/unit/apiserver/support.h"

namespace fairlead::apiserver {
namespace {

class Services : public RegistryTest {
 protected:
  explicit Services(const char* cidrs = "10.0.0.0/24", const char* ports = "30000-30063")
      : ranges_(ServiceRanges::parse(cidrs, ports).value()) {}

  void add_hooks(Hooks& hooks) override {
    hooks.reservers.push_back(std::make_unique<ServiceReserver>(*store_, *pool_, ranges_));
  }
  std::string make(std::string_view name, std::string_view spec) {
    return create("services", fmt::format("{{metadata: {{name: {}}}, spec: {{ports: [{{port: 80}}]"
                                          ", {}}}}}",
                                          name, spec));
  }
  int64_t port() const {
    return last_->value().at("spec.ports").items()[0].get("nodePort").as_int();
  }
  // The names of what is reserved.
  std::string reserved() {
    std::promise<Result<store::RangeResult>> promise;
    store::RangeRequest request;
    request.key = "/reserved/";
    request.end = store::prefix_end("/reserved/");
    store_->range(request, [&](auto result) { promise.set_value(std::move(result)); });
    const auto result = promise.get_future().get();
    std::string text;
    for (const auto& entry : result->entries) {
      text += (text.empty() ? "" : " ") + entry->key.substr(entry->key.rfind('/') + 1);
    }
    return text;
  }
  void expect_reserved(const std::string& expected) { EXPECT_EQ(reserved(), expected); }
  std::string repair(ServiceRepair& repairer) {
    std::promise<Result<RepairReport>> promise;
    repairer.run([&](Result<RepairReport> report) { promise.set_value(std::move(report)); });
    const Result<RepairReport> report = promise.get_future().get();
    if (!report) return report.status().message();
    return fmt::format("{} back, {} made, {} conflicts", report->given_back, report->made,
                       report->conflicts.size());
  }

  ServiceRanges ranges_;
};

class SmallServices : public Services {
 protected:
  SmallServices() : Services("10.0.0.0/29", "30000-30003") {}
};

class DualServices : public Services {
 protected:
  DualServices() : Services("10.0.0.0/24,fd00::/112") {}
};

TEST(AddressRange, IndexesAndAddresses) {
  const AddressRange range = AddressRange::parse("10.0.1.0/23").value();
  EXPECT_EQ(range.text(), "10.0.0.0/23");
  EXPECT_EQ(range.size(), 510u);
  EXPECT_EQ(range.band(), 32u);
  EXPECT_EQ(range.address(0), "10.0.0.1");
  EXPECT_EQ(range.address(509), "10.0.1.254");
  for (const uint32_t index : {0u, 1u, 254u, 255u, 256u, 509u}) {
    EXPECT_EQ(range.index_of(range.address(index)), index);
  }
  for (const char* outside :
       {"10.0.0.0", "10.0.1.255", "10.0.2.1", "9.255.255.255", "fd00::1", "x"}) {
    EXPECT_FALSE(range.index_of(outside)) << outside;
  }
  const AddressRange six = AddressRange::parse("fd00::/108").value();
  EXPECT_EQ(six.address(0), "fd00::1");
  EXPECT_EQ(six.index_of("fd00::f:ffff"), six.size() - 1);
  EXPECT_FALSE(six.index_of("fd00::10:0"));
  for (const char* bad : {"", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/31", "10.0.0.0/x", "::/0x"}) {
    EXPECT_FALSE(AddressRange::parse(bad).ok()) << bad;
  }
}

TEST_F(Services, PicksFromTheUpperBand) {
  ASSERT_EQ(make("a", "type: NodePort"), "a");
  const auto index = ranges_.addresses[0].index_of(last("spec.clusterIP"));
  ASSERT_TRUE(index);
  EXPECT_GE(*index, ranges_.addresses[0].band());
  EXPECT_GE(port(), 30016);
  EXPECT_EQ(last("spec.ipFamilies"), "[\"IPv4\"]");
  EXPECT_EQ(last("spec.ipFamilyPolicy"), "SingleStack");
  EXPECT_EQ(last("spec.clusterIPs"), fmt::format("[\"{}\"]", last("spec.clusterIP")));
}

TEST_F(Services, ChosenOnesAreChecked) {
  ASSERT_EQ(make("a", "clusterIP: 10.0.0.5"), "a");
  EXPECT_EQ(make("b", "clusterIP: 10.0.0.5"),
            "422 Invalid: Service \"b\" is invalid: spec.clusterIPs: Invalid value: "
            "[\"10.0.0.5\"]: failed to allocate IP 10.0.0.5: provided IP is already allocated");
  EXPECT_EQ(
      make("b", "clusterIP: 10.9.0.5"),
      "422 Invalid: Service \"b\" is invalid: spec.clusterIPs: Invalid value: "
      "[\"10.9.0.5\"]: failed to allocate IP 10.9.0.5: provided IP is not in the valid range. "
      "The range of valid IPs is 10.0.0.0/24");
  const auto with_port = [this](const char* name, int number) {
    return create("services", fmt::format("{{metadata: {{name: {}}}, spec: {{type: NodePort, "
                                          "clusterIP: 10.0.0.{}, ports: [{{port: 80, nodePort: "
                                          "{}}}]}}}}",
                                          name, static_cast<int>(name[0]), number));
  };
  ASSERT_EQ(with_port("c", 30001), "c");
  EXPECT_EQ(with_port("d", 30001),
            "422 Invalid: Service \"d\" is invalid: spec.ports[0].nodePort: Invalid value: 30001: "
            "provided port is already allocated");
  EXPECT_EQ(with_port("d", 29999),
            "422 Invalid: Service \"d\" is invalid: spec.ports[0].nodePort: Invalid value: 29999: "
            "provided port is not in the valid range. The range of valid ports is 30000-30063");
  // Nothing of what was refused is left: only the addresses and the port of a and c.
  EXPECT_EQ(reserved().find("10.0.0.100"), std::string::npos);
}

TEST_F(Services, GivenBack) {
  ASSERT_EQ(make("a", "type: NodePort"), "a");
  const std::string address = last("spec.clusterIP");
  const int64_t node_port = port();
  expect_reserved(fmt::format("{} {}", address, node_port));
  EXPECT_EQ(patch("services", "a", "{spec: {type: ClusterIP, ports: [{port: 80}]}}"), "a");
  expect_reserved(address);
  EXPECT_EQ(remove("services", "a"), "Success");
  expect_reserved("");
}

TEST_F(Services, FreeAgainWhenTheAnswerIsThere) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(make("a", "type: NodePort, clusterIP: 10.0.0.5"), "a");
    ASSERT_EQ(remove("services", "a"), "Success");
    ASSERT_EQ(reserved(), "");
  }
}

// A write that gives a port back is late: another one of the same service has taken it again.
TEST_F(Services, LateReturnLeavesWhatIsTakenAgain) {
  ServiceReserver reserver(*store_, *pool_, ranges_);
  const auto service = [](std::string_view type, std::string_view port) {
    return parsed(
        fmt::format("{{apiVersion: v1, kind: Service, metadata: {{name: a, namespace: "
                    "default, uid: u}}, spec: {{type: {}, clusterIP: None, clusterIPs: "
                    "[None], ports: [{{port: 80{}}}]}}}}",
                    type, port));
  };
  const schema::Document with = service("NodePort", ", nodePort: 30001");
  const schema::Document without = service("ClusterIP", "");
  const auto reserve = [&](const schema::Document* previous, const schema::Document& next) {
    schema::Document wanted = next.clone();
    Write write;
    write.operation = previous ? Operation::kUpdate : Operation::kCreate;
    write.resource = target("services").resource;
    write.space = "default";
    write.name = "a";
    write.next = &wanted;
    write.previous = previous ? &previous->root : nullptr;
    std::promise<Outcome<std::unique_ptr<Reservation>>> made;
    reserver.reserve(write, [&made](auto outcome) { made.set_value(std::move(outcome)); });
    auto outcome = made.get_future().get();
    EXPECT_TRUE(outcome.ok());
    return std::move(*outcome);
  };
  const auto settle = [](Reservation& reservation, bool happened) {
    std::promise<void> settled;
    reservation.settle(happened, [&settled] { settled.set_value(); });
    settled.get_future().get();
  };
  settle(*reserve(nullptr, with), true);
  ASSERT_EQ(reserved(), "30001");
  const auto gives_back = reserve(&with, without);
  const auto takes_again = reserve(&without, with);
  settle(*takes_again, true);
  settle(*gives_back, true);
  EXPECT_EQ(reserved(), "30001");
  // Nor does one that takes it again and fails.
  const auto fails = reserve(&without, with);
  settle(*fails, false);
  EXPECT_EQ(reserved(), "30001");
  settle(*reserve(&with, without), true);
  EXPECT_EQ(reserved(), "");
}

TEST_F(Services, KeptByAPutWithout) {
  ASSERT_EQ(make("a", "type: NodePort"), "a");
  const std::string before = reserved();
  EXPECT_EQ(update("services", "a",
                   "{metadata: {name: a}, spec: {type: NodePort, selector: {x: z}, ports: [{port: "
                   "80}]}}"),
            "a");
  expect_reserved(before);
  EXPECT_EQ(before, fmt::format("{} {}", last("spec.clusterIP"), port()));
}

TEST_F(Services, WithoutAddress) {
  EXPECT_EQ(make("a", "clusterIP: None"), "a");
  EXPECT_EQ(create("services",
                   "{metadata: {name: b}, spec: {type: ExternalName, externalName: "
                   "example.com}}"),
            "b");
  expect_reserved("");
}

TEST_F(Services, OnePortForBothProtocols) {
  ASSERT_EQ(create("services",
                   "{metadata: {name: a}, spec: {type: NodePort, ports: [{name: t, "
                   "port: 53, protocol: TCP}, {name: u, port: 53, protocol: UDP}]}}"),
            "a");
  EXPECT_EQ(last_->value().at("spec.ports").items()[1].get("nodePort").as_int(), port());
}

TEST_F(Services, HealthCheckPort) {
  ASSERT_EQ(make("a", "type: LoadBalancer, externalTrafficPolicy: Local"), "a");
  EXPECT_NE(last("spec.healthCheckNodePort"), "null");
  EXPECT_EQ(patch("services", "a", "{spec: {externalTrafficPolicy: Cluster}}"), "a");
}

TEST_F(Services, DryRunReservesNothing) {
  context_.dry_run = true;
  EXPECT_EQ(make("a", "type: NodePort"), "a");
  EXPECT_NE(last("spec.clusterIP"), "null");
  expect_reserved("");
}

TEST_F(SmallServices, Full) {
  for (int i = 0; i < 6; ++i)
    ASSERT_EQ(make(fmt::format("s{}", i), "type: ClusterIP"), fmt::format("s{}", i));
  EXPECT_EQ(make("x", "type: ClusterIP"),
            "500 InternalError: Internal error occurred: failed to allocate a serviceIP: range is "
            "full");
  EXPECT_EQ(remove("services", "s3"), "Success");
  EXPECT_EQ(make("x", "type: ClusterIP"), "x");
}

TEST_F(DualServices, Families) {
  ASSERT_EQ(make("a", "ipFamilyPolicy: PreferDualStack"), "a");
  EXPECT_EQ(last("spec.ipFamilies"), "[\"IPv4\",\"IPv6\"]");
  EXPECT_EQ(last_->value().at("spec.clusterIPs").size(), 2u);
  ASSERT_EQ(make("b", "ipFamilies: [IPv6]"), "b");
  EXPECT_TRUE(is_v6(last("spec.clusterIP")));
  ASSERT_EQ(patch("services", "a", "{spec: {ipFamilyPolicy: SingleStack}}"), "a");
  EXPECT_EQ(last("spec.ipFamilies"), "[\"IPv4\"]");
  EXPECT_EQ(last_->value().at("spec.clusterIPs").size(), 1u);
}

TEST_F(Services, RequireDualStackNeedsIt) {
  EXPECT_EQ(make("a", "ipFamilyPolicy: RequireDualStack"),
            "422 Invalid: Service \"a\" is invalid: spec.ipFamilyPolicy: Invalid value: "
            "\"RequireDualStack\": this cluster is not configured for dual-stack services");
}

TEST_F(Services, ThreadsNeverGetTheSame) {
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::multiset<std::string> addresses;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 8; ++j) {
        auto outcome = wait<Written>([&](auto done) {
          registry_->create(target("services"),
                            parsed(fmt::format("{{metadata: {{name: s{}-{}}}, spec: {{ports: "
                                               "[{{port: 80}}]}}}}",
                                               i, j)),
                            {}, done);
        });
        ASSERT_TRUE(outcome.ok()) << outcome.error().message;
        const std::lock_guard lock(mutex);
        addresses.insert(field_text(outcome->object->value(), "spec.clusterIP"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(addresses.size(), 64u);
  EXPECT_EQ(std::set<std::string>(addresses.begin(), addresses.end()).size(), 64u);
}

TEST_F(Services, Repair) {
  ASSERT_EQ(make("a", "clusterIP: 10.0.0.5"), "a");
  const auto write = [this](const std::string& key, bool put) {
    std::promise<bool> promise;
    const auto done = [&](Result<store::WriteOutcome> outcome) { promise.set_value(outcome.ok()); };
    if (put) {
      store_->put(key, "default/gone/uid", store::Expect::anything(), 0, done);
    } else {
      store_->remove(key, store::Expect::anything(), done);
    }
    EXPECT_TRUE(promise.get_future().get());
  };
  ServiceRepair repairer(*store_, *pool_, [this] { return now_.load(); });
  EXPECT_EQ(repair(repairer), "0 back, 0 made, 0 conflicts");
  write("/reserved/services/addresses/10.0.0.5", false);
  write("/reserved/services/addresses/10.0.0.9", true);
  EXPECT_EQ(repair(repairer), "0 back, 1 made, 0 conflicts");
  expect_reserved("10.0.0.5 10.0.0.9");
  write("/reserved/services/addresses/10.0.0.5", true);
  now_ += ServiceRepair::kGraceSeconds;
  EXPECT_EQ(repair(repairer), "1 back, 1 made, 0 conflicts");
  expect_reserved("10.0.0.5");
}

TEST_F(Services, SystemObjects) {
  SystemOptions options;
  options.address = "192.0.2.1";
  options.ranges = ranges_;
  SystemObjects system(*registry_, *store_, options);
  for (int i = 0; i < 2; ++i) {
    const Status status = system.refresh();
    ASSERT_TRUE(status.ok()) << status.message();
  }
  EXPECT_EQ(list("namespaces"), "default kube-node-lease kube-public kube-system");
  EXPECT_EQ(get("services", "kubernetes", "spec.clusterIP"), "10.0.0.1");
  options.address = "192.0.2.2";
  SystemObjects other(*registry_, *store_, options);
  ASSERT_TRUE(other.refresh().ok());
  get("endpoints", "kubernetes", "kind");
  EXPECT_EQ(last_->value().at("subsets").items()[0].get("addresses").size(), 2u);
  other.leave();
  ASSERT_TRUE(system.refresh().ok());
  get("discovery.k8s.io/v1 endpointslices", "kubernetes", "kind");
  EXPECT_EQ(last_->value().at("endpoints").size(), 1u);
}

// A cluster without its namespaces or its service is one that a user has damaged, or that somebody
// else's service is in the way of: it mends itself, and says what is wrong until then.
TEST_F(Services, SystemObjectsComeAgain) {
  ASSERT_EQ(make("squatter", "clusterIP: 10.0.0.1"), "squatter");
  SystemOptions options;
  options.address = "192.0.2.1";
  options.ranges = ranges_;
  SystemObjects system(*registry_, *store_, options);
  EXPECT_FALSE(system.refresh().ok());
  EXPECT_EQ(list("namespaces"), "default kube-node-lease kube-public kube-system");
  EXPECT_EQ(get("endpoints", "kubernetes", "kind"), "Endpoints");
  ASSERT_EQ(remove("services", "squatter"), "Success");
  EXPECT_TRUE(system.refresh().ok());
  EXPECT_EQ(get("services", "kubernetes", "spec.clusterIP"), "10.0.0.1");
  ASSERT_EQ(remove("services", "kubernetes"), "Success");
  EXPECT_TRUE(system.refresh().ok());
  EXPECT_EQ(get("services", "kubernetes", "spec.clusterIP"), "10.0.0.1");
}

TEST_F(Services, CompactionForgetsWhatIsOlderThanTheLast) {
  Compactor compactor(*store_);
  Compactor other(*store_);
  ASSERT_EQ(create("configmaps", "{metadata: {name: a}}"), "a");
  const std::string then = last("metadata.resourceVersion");
  ASSERT_TRUE(compactor.run().ok());
  ASSERT_TRUE(other.run().ok());
  ListOptions exact;
  exact.resource_version = then;
  exact.match = "Exact";
  EXPECT_EQ(list("configmaps", exact), "a");
  ASSERT_EQ(create("configmaps", "{metadata: {name: b}}"), "b");
  ASSERT_TRUE(compactor.run().ok());
  ASSERT_TRUE(compactor.run().ok());
  EXPECT_EQ(list("configmaps", exact).substr(0, 11), "410 Expired");
}

}  // namespace
}  // namespace fairlead::apiserver
