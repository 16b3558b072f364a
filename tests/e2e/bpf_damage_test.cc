// The eBPF mode's programs and maps that somebody else damages are repaired within the audit
// period; devices that come are served; --cleanup removes what is ours and nobody else's.
#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "tests/e2e/bpf_maps.h"
#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

class BpfDamage : public Scenario {
 protected:
  void SetUp() override {
    Scenario::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    web_ = service().endpoints({"a1", "b1"}).node_port();
    empty_ = service("empty").no_endpoints();
    web_->write();
    empty_->apply();
  }

  void expect_all_works() {
    reaches(everywhere(), web_->at_cluster_ip(family()), {"a1", "b1"});
    reaches({outside()}, web_->at_node_port(family()), {"a1", "b1"}, Seen::kNode);
    refused(everywhere(), empty_->at_cluster_ip(family()));
  }

  void expect_repair(const std::string& what, const std::function<void()>& damage) {
    SCOPED_TRACE(what);
    const double repairs = world().proxy().metric("fairlead_audit_repairs_total");
    damage();
    EXPECT_TRUE(eventually([&] {
      return world().proxy().metric("fairlead_audit_repairs_total") > repairs;
    })) << "not repaired, or not counted";
    expect_all_works();
  }

  std::vector<fl_frontend_key> frontends_of_web() {
    const fl_addr address = map_address(of(web_->cluster_ip()));
    std::vector<fl_frontend_key> found;
    for (const auto& key : PinnedMap("fl_frontends").keys<fl_frontend_key>()) {
      const bool ours = std::memcmp(&key.address, &address, sizeof address) == 0;
      const bool node_port = key.port == htons(web_->node_port_number());
      if (ours || node_port) found.push_back(key);
    }
    EXPECT_GE(found.size(), 4U) << "TCP and UDP at two addresses";
    return found;
  }
  fl_frontend frontend_of(Protocol protocol) {
    fl_frontend_key key{map_address(of(web_->cluster_ip())), htons(web_->port()),
                        static_cast<fl_u8>(protocol), 0};
    const auto frontend = PinnedMap("fl_frontends").get<fl_frontend>(key);
    EXPECT_NE(frontend.entry, 0U);
    return frontend;
  }

  std::optional<ServiceObject> web_;
  std::optional<ServiceObject> empty_;
};
FAIRLEAD_SCENARIOS_OF(BpfDamage, "ebpf");

TEST_P(BpfDamage, DetachedProgramsAreAttachedAgain) {
  std::set<std::string> programs;  // one link of each
  for (const std::string& link : pins("links")) {
    const std::string name = std::filesystem::path(link).filename();
    if (!programs.insert(name.substr(0, name.find('-'))).second) continue;
    expect_repair("detach " + link, [&] { detach_link(link); });
  }
  EXPECT_EQ(programs.size(), 10U) << "four at the sockets of each family, two at devices";
}

TEST_P(BpfDamage, AllDetachedAtOnceAreAttachedAgain) {
  expect_repair("detach all", [] {
    for (const std::string& link : pins("links")) detach_link(link);
  });
}

TEST_P(BpfDamage, RemovedPinsComeBack) {
  const auto all_exist = [](const std::set<std::string>& paths) {
    return std::all_of(paths.begin(), paths.end(),
                       [](const std::string& path) { return std::filesystem::exists(path); });
  };
  for (const std::string kind : {"maps", "links"}) {
    const std::vector<std::string> found = pins(kind);
    ASSERT_GT(found.size(), 8U);
    for (const std::set<std::string>& removed :
         {std::set<std::string>{found.front()},
          std::set<std::string>(found.begin(), found.end())}) {
      SCOPED_TRACE(kind + ", " + std::to_string(removed.size()) + " at once");
      for (const std::string& pin : removed) ASSERT_EQ(::unlink(pin.c_str()), 0);
      EXPECT_TRUE(eventually([&] { return all_exist(removed); }));
    }
  }
  expect_all_works();
}

TEST_P(BpfDamage, DeletedFrontendsComeBack) {
  for (const fl_frontend_key& key : frontends_of_web()) {
    expect_repair("delete port " + std::to_string(ntohs(key.port)),
                  [&] { PinnedMap("fl_frontends").remove(key); });
  }
}

TEST_P(BpfDamage, OverwrittenFrontendsAreRestored) {
  for (const fl_frontend_key& key : frontends_of_web()) {
    expect_repair("another entry's id", [&] {
      PinnedMap frontends("fl_frontends");
      fl_frontend frontend = frontends.get<fl_frontend>(key);
      ++frontend.entry;
      frontends.put(key, frontend);
    });
  }
}

TEST_P(BpfDamage, AddedFrontendsGo) {
  auto removed = service("removed").endpoints({"a2"});
  fl_frontend_key key{map_address(of(removed.cluster_ip())), htons(80), IPPROTO_TCP, 0};
  expect_repair("a frontend that no service has", [&] {
    PinnedMap frontends("fl_frontends");
    frontends.put(key, frontend_of(Protocol::kTcp));
  });
  dropped({outside()}, removed.at_cluster_ip(family()));
}

TEST_P(BpfDamage, OverwrittenEntriesAndRingsAreRestored) {
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    const fl_u32 index = frontend_of(protocol).entry;
    expect_repair("an entry of zeros", [&] { PinnedMap("fl_entries").put(index, fl_entry{}); });
    const auto entry = PinnedMap("fl_entries").get<fl_entry>(index);
    ASSERT_NE(FL_RING_SIZE(entry.ring[FL_CHOICE_CLUSTER]), 0U);
    const fl_u32 block_index = FL_RING_OFFSET(entry.ring[FL_CHOICE_CLUSTER]) / FL_RING_BLOCK;
    expect_repair("a ring of nobody",
                  [&] { PinnedMap("fl_rings").put(block_index, fl_ring_block{}); });
    const auto block = PinnedMap("fl_rings").get<fl_ring_block>(block_index);
    const fl_u32 endpoint_index =
        block.endpoint[FL_RING_OFFSET(entry.ring[FL_CHOICE_CLUSTER]) % FL_RING_BLOCK];
    ASSERT_NE(endpoint_index, 0U);
    expect_repair("an endpoint elsewhere", [&] {
      PinnedMap endpoints("fl_endpoints");
      auto endpoint = endpoints.get<fl_endpoint>(endpoint_index);
      endpoint.address = map_address(of(Topology::pod("a4")));
      endpoints.put(endpoint_index, endpoint);
    });
  }
}

TEST_P(BpfDamage, NodeAddressesAndDevicesAreRestored) {
  const auto addresses = PinnedMap("fl_node_addresses").keys<fl_addr>();
  const auto devices = PinnedMap("fl_devices").keys<fl_u32>();
  ASSERT_GT(addresses.size(), 1U);
  ASSERT_GT(devices.size(), 1U);
  expect_repair("a node address",
                [&] { PinnedMap("fl_node_addresses").remove(addresses.front()); });
  expect_repair("a device", [&] { PinnedMap("fl_devices").remove(devices.front()); });
  expect_repair("all of both", [&] {
    for (const fl_addr& address : addresses) PinnedMap("fl_node_addresses").remove(address);
    for (const fl_u32 device : devices) PinnedMap("fl_devices").remove(device);
  });
  EXPECT_TRUE(eventually([&] {
    return PinnedMap("fl_node_addresses").keys<fl_addr>().size() == addresses.size() &&
           PinnedMap("fl_devices").keys<fl_u32>().size() == devices.size();
  }));
}

TEST_P(BpfDamage, CleanupRemovesOursAndNobodyElses) {
  const std::string foreign = "/sys/fs/bpf/somebody_elses";
  ASSERT_TRUE(std::filesystem::create_directory(foreign));
  ASSERT_FALSE(pins("links").empty());
  world().stop_proxy();
  reaches(everywhere(), web_->at_cluster_ip(family()), {"a1", "b1"});
  const Status cleaned = world().clean_up();
  EXPECT_TRUE(cleaned.ok()) << cleaned.message();
  EXPECT_FALSE(std::filesystem::exists("/sys/fs/bpf/fairlead"));
  EXPECT_TRUE(std::filesystem::exists(foreign));
  dropped({outside()}, web_->at_cluster_ip(family()));
  dropped({pod(), node()}, web_->at_cluster_ip(family()));
  const Status again = world().clean_up();
  EXPECT_TRUE(again.ok()) << "with nothing left to remove: " << again.message();

  ASSERT_TRUE(world().start_proxy().ok());
  settle();
  expect_all_works();
  std::filesystem::remove(foreign);
}

// A pod that comes has a device that comes; its sockets are in no cgroup of ours, so that it is the
// device that must be served.
class NewDevices : public Scenario {
 protected:
  // The kernel takes namespaces down at its leisure: a test begins when the devices of the one
  // before are gone, and their places with them.
  void SetUp() override {
    Scenario::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const auto served = [] {
      const std::vector<std::string> all = pins("links");
      return static_cast<size_t>(std::count_if(all.begin(), all.end(), [](const auto& path) {
        return path.find("/fl_ingress-") != std::string::npos;
      }));
    };
    EXPECT_TRUE(eventually([&] { return served() == devices_; })) << served();
  }
  // A namespace behind node-a by a cable of its own; it goes with the returned value.
  std::unique_ptr<harness::Namespace> new_pod(const std::string& cable) {
    auto made = harness::Namespace::create(cable);
    EXPECT_TRUE(made.ok()) << made.status().message();
    std::unique_ptr<harness::Namespace> pod = std::move(made).value();
    harness::Namespace& node = world().at("node-a");
    const bool v4 = family() == Family::kIPv4;
    const std::string own = v4 ? "10.244.1.77" : "fd00:10:244:1::77";
    const std::string gateway = v4 ? "10.244.1.1" : "fd00:10:244:1::1";
    const std::string length = v4 ? "/32" : "/128";
    const std::string no_wait = v4 ? "" : " nodad";
    EXPECT_TRUE(pod->sysctl("net.ipv6.conf.default.accept_dad", "0").ok());
    Status laid = harness::connect(node, cable, *pod, "eth0");
    if (laid) {
      laid = node.ip("address add " + gateway + length + " dev " + cable + no_wait +
                     "\nroute replace " + own + " dev " + cable + "\n");
    }
    if (laid) {
      laid = pod->ip("address add " + own + length + " dev eth0" + no_wait + "\nroute add " +
                     gateway + " dev eth0\nroute add default via " + gateway + "\n");
    }
    EXPECT_TRUE(laid.ok()) << laid.message();
    return pod;
  }

 private:
  const size_t devices_ = 2 + 5;  // of node-a: to outside and node-b, and to its five pods
};
FAIRLEAD_SCENARIOS_OF(NewDevices, "ebpf");

TEST_P(NewDevices, AreServedAsSoonAsTheyCome) {
  auto web = service().endpoints({"a1", "b1"});
  web.apply();
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    const std::unique_ptr<harness::Namespace> pod = new_pod("veth-new" + std::to_string(i));
    for (const Target& target : web.at_cluster_ip(family())) {
      Answer last;
      EXPECT_TRUE(eventually([&] {
        last = harness::ask({pod.get(), target, "", 0}, kSilence);
        return last.fate == Fate::kAnswered;
      })) << last.to_string();
      EXPECT_EQ(last.source, family() == Family::kIPv4 ? "10.244.1.77" : "fd00:10:244:1::77");
    }
  }
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
}

TEST_P(NewDevices, ThatComeAndGoLeaveNothing) {
  auto web = service().endpoints({"a1", "b1"});
  web.apply();
  const size_t devices = PinnedMap("fl_devices").keys<fl_u32>().size();
  const size_t links = pins("links").size();
  for (int i = 0; i < 5; ++i) {
    const std::unique_ptr<harness::Namespace> pod = new_pod("veth-brief" + std::to_string(i));
    if (i % 2 == 0) continue;
    EXPECT_TRUE(eventually([&] { return pins("links").size() > links; }));
  }
  EXPECT_TRUE(eventually([&] { return pins("links").size() == links; })) << pins("links").size();
  EXPECT_TRUE(eventually([&] { return PinnedMap("fl_devices").keys<fl_u32>().size() == devices; }));
  reaches(everywhere(), web.at_cluster_ip(family()), {"a1", "b1"});
}

}  // namespace
}  // namespace fairlead::e2e
