// Which devices are served, what the programs are told of the node, and how both follow the kernel.
#include "bpf/devices.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/if_arp.h>

#include <algorithm>
#include <utility>

#include "bpf/node_maps.h"
#include "bpf/tables.h"
#include "tests/unit/bpf/attach_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::NodeRules;
using dataplane::Prefix;
using dataplane::SourceDetector;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

// A node by hand: devices count from 1, in the order in which they are added.
struct Node {
  NodeView view;

  Node& add(std::string name, std::string kind = "", const std::string& master = "",
            const std::string& parent = "", uint16_t type = ARPHRD_ETHER) {
    Device device;
    device.index = static_cast<uint32_t>(view.devices.size()) + 1;
    device.name = std::move(name);
    device.kind = std::move(kind);
    device.flags = IFF_UP;
    device.type = type;
    device.mtu = 1500;
    device.master = index(master);
    device.parent = index(parent);
    view.devices[device.index] = device;
    return *this;
  }
  Node& down() {
    view.devices.rbegin()->second.flags = 0;
    return *this;
  }
  Node& loopback() {
    view.devices.rbegin()->second.flags |= IFF_LOOPBACK;
    return *this;
  }
  // Of the device added last; "-" before it: not primary; "!": of the link only.
  Node& address(std::string text) {
    HeldAddress held;
    held.device = view.devices.rbegin()->first;
    held.primary = !text.starts_with('-');
    held.global = !text.starts_with('!');
    if (!held.primary || !held.global) text.erase(0, 1);
    held.address = *Address::parse(text);
    view.addresses.push_back(held);
    return *this;
  }
  uint32_t index(const std::string& name) const {
    for (const auto& [index, device] : view.devices) {
      if (device.name == name) return index;
    }
    return 0;
  }
};

// "eth0 XDP native generic pods", one a device; "in" alone: no egress.
std::vector<std::string> planned(const Node& node, const Options& options = {},
                                 const SourceDetector& detector = {}) {
  std::vector<std::string> lines;
  for (const DevicePlan& plan : plan_devices(node.view, options, detector)) {
    std::string line = plan.name;
    if (!plan.egress) line += " in";
    for (const XdpMode mode : plan.xdp) line += fmt::format(" {}", to_string(mode));
    if (plan.pods) line += " pods";
    lines.push_back(line);
    EXPECT_EQ(plan.xdp.empty(), !plan.xdp_off.empty()) << line;
  }
  return lines;
}

TEST(PlanTest, ServesWhatCarriesTraffic) {
  Node node;
  node.add("lo").loopback();
  node.add("eth0").add("eth1").down();
  node.add("cali1", "veth")
      .add("vxlan.calico", "vxlan")
      .add("wg0", "wireguard", "", "", ARPHRD_NONE);
  node.add("tunl0", "ipip", "", "", ARPHRD_TUNNEL).add("antrea-gw0", "openvswitch");
  node.add("kube-ipvs0", "dummy").add("nodelocaldns", "dummy").add("ifb0", "ifb");
  node.add("can0", "", "", "", 280).add("vrf1", "vrf");
  EXPECT_THAT(planned(node), ElementsAre("eth0 native generic", "cali1", "vxlan.calico", "wg0",
                                         "tunl0", "antrea-gw0"));
}

TEST(PlanTest, ServesABridgeAndItsGuestsButNotItsWire) {
  Node node;
  node.add("br0", "bridge").add("eth0", "", "br0").add("veth1", "veth", "br0");
  node.add("tap0", "tun", "br0");
  EXPECT_THAT(planned(node), ElementsAre("br0", "veth1 in", "tap0 in"));
}

TEST(PlanTest, ServesThePortsOfABridgeThatIsNotUp) {
  Node node;
  node.add("br0", "bridge").down().add("eth0", "", "br0");
  EXPECT_THAT(planned(node), ElementsAre("eth0 native generic"));
}

TEST(PlanTest, ServesABondInPlaceOfItsSlavesAndAVrfsSlavesThemselves) {
  Node node;
  node.add("bond0", "bond").add("eth0", "", "bond0").add("eth1", "", "bond0");
  node.add("vrf1", "vrf").add("eth2", "", "vrf1");
  EXPECT_THAT(planned(node), ElementsAre("bond0 native generic", "eth2 native generic"));
}

TEST(PlanTest, ServesAVlanInPlaceOfItsWireUnlessThatHasAnAddress) {
  Node node;
  node.add("eth0").add("eth0.5", "vlan", "", "eth0");
  node.add("eth1").address("192.0.2.1").add("eth1.5", "vlan", "", "eth1");
  EXPECT_THAT(planned(node), ElementsAre("eth0.5", "eth1", "eth1.5"));
}

// XDP is not told of the tag that a device has taken off, and would send untagged or into the VLAN
// what is for neither.
TEST(PlanTest, NoXdpBelowAVlan) {
  Node node;
  node.add("eth0").address("192.0.2.1").add("eth0.5", "vlan", "", "eth0");
  node.add("bond0", "bond").address("192.0.2.2").add("bond0.5", "vlan", "", "bond0");
  node.add("eth1").address("192.0.2.3").add("eth1.5", "vlan", "", "eth1").down();
  EXPECT_THAT(planned(node),
              ElementsAre("eth0", "eth0.5", "bond0", "bond0.5", "eth1 native generic"));
  EXPECT_EQ(plan_devices(node.view, {}, {})[0].xdp_off, "a VLAN is stacked on it");
  Options options;
  options.xdp = XdpChoice::kNative;
  options.devices = {"eth0", "eth1"};
  EXPECT_THAT(planned(node, options), ElementsAre("eth0", "eth1 native"));
}

TEST(PlanTest, NamedDevicesAreServedAndNoOthers) {
  Node node;
  node.add("lo").loopback();
  node.add("eth0").add("eth1").add("ens3").add("dummy0", "dummy").add("eth2").down();
  Options options;
  options.devices = {"eth+", "dummy0"};
  EXPECT_THAT(planned(node, options),
              ElementsAre("eth0 native generic", "eth1 native generic", "dummy0"));
  options.devices = {"+"};
  EXPECT_THAT(planned(node, options), Not(Contains(HasSubstr("lo"))));
  options.devices = {"eth"};
  EXPECT_THAT(planned(node, options), IsEmpty());
}

TEST(PlanTest, XdpIsWhereItWasAskedForAndCanBe) {
  Node node;
  node.add("eth0").add("veth0", "veth").add("wg0", "wireguard", "", "", ARPHRD_NONE);
  Options options;
  options.xdp = XdpChoice::kNative;
  EXPECT_THAT(planned(node, options), ElementsAre("eth0 native", "veth0 native", "wg0"));
  options.xdp = XdpChoice::kGeneric;
  EXPECT_THAT(planned(node, options), ElementsAre("eth0 generic", "veth0 generic", "wg0"));
  options.xdp = XdpChoice::kOff;
  EXPECT_THAT(planned(node, options), ElementsAre("eth0", "veth0", "wg0"));
}

TEST(PlanTest, PodsAreKnownByTheirDevice) {
  Node node;
  node.add("cni0", "bridge").add("veth1", "veth", "cni0").add("cali7", "veth").add("eth0");
  Options options;
  options.xdp = XdpChoice::kGeneric;
  EXPECT_THAT(planned(node, options, {{}, "cni0", ""}),
              ElementsAre("cni0 pods", "veth1 in pods", "cali7 generic", "eth0 generic"));
  EXPECT_THAT(planned(node, options, {{}, "", "cali"}),
              ElementsAre("cni0 generic", "veth1 in", "cali7 pods", "eth0 generic"));
}

TEST(NodeViewTest, TheSourceIsThePrimaryAddressThatReachesBeyondTheLink) {
  Node node;
  node.add("eth0")
      .address("!fe80::1")
      .address("-192.0.2.9")
      .address("192.0.2.1")
      .address("fd00::1");
  node.add("eth1").address("-198.51.100.1");
  EXPECT_EQ(node.view.source(1, Family::kIPv4), Address::parse("192.0.2.1"));
  EXPECT_EQ(node.view.source(1, Family::kIPv6), Address::parse("fd00::1"));
  EXPECT_EQ(node.view.source(2, Family::kIPv4), Address::parse("198.51.100.1"));
  EXPECT_EQ(node.view.source(2, Family::kIPv6), std::nullopt);
  EXPECT_EQ(node.view.source(Family::kIPv4), Address::parse("192.0.2.1"));
  node.view.preferred[0] = Address::parse("198.51.100.1");
  EXPECT_EQ(node.view.source(Family::kIPv4), Address::parse("198.51.100.1"));
}

TEST(NodeViewTest, AnAddressOfTheLoopbackDeviceServesWhenThereIsNoOther) {
  Node node;
  node.add("lo")
      .loopback()
      .address("203.0.113.1")
      .add("nodelocaldns", "dummy")
      .address("169.254.20.10");
  EXPECT_EQ(node.view.source(Family::kIPv4), Address::parse("203.0.113.1"));
  EXPECT_EQ(node.view.source(Family::kIPv6), std::nullopt);
}

std::vector<ServedDevice> served(const Node& node,
                                 const std::vector<std::optional<XdpMode>>& modes) {
  std::vector<ServedDevice> result;
  for (const DevicePlan& plan : plan_devices(node.view, {}, {})) {
    result.push_back({plan, modes[result.size()]});
  }
  return result;
}

TEST(NodeContentTest, AddressesSayWhetherNodePortsAnswer) {
  Node node;
  node.add("lo").loopback().address("127.0.0.1").address("::1").address("203.0.113.1");
  node.add("eth0").address("192.0.2.1").address("192.0.2.2").address("fd00::1");
  node.add("kube-ipvs0").address("fd00:96::1");  // virtual addresses: none of the node's
  NodeRules rules;
  rules.node_ports_on_all_addresses = {false, true};
  rules.node_port_addresses = {*Address::parse("192.0.2.2")};
  std::vector<std::pair<std::string, uint32_t>> got;
  for (const auto& [address, value] : node_content(node.view, rules, {}, {}).addresses) {
    got.emplace_back(from_wire(address).to_string(), value.flags);
  }
  using P = std::pair<std::string, uint32_t>;
  EXPECT_THAT(got, ElementsAre(P("192.0.2.1", 0), P("192.0.2.2", FL_NODE_ADDRESS_NODE_PORTS),
                               P("203.0.113.1", 0), P("fd00::1", FL_NODE_ADDRESS_NODE_PORTS),
                               P("fd00:96::1", 0)));
}

// XDP at the driver cannot hand a packet to a device that has none there.
TEST(NodeContentTest, DevicesMayBeSentToFromXdpOfTheirOwnKind) {
  Node node;
  node.add("eth0").address("192.0.2.1").add("eth1").add("eth2");
  const auto flags = [&](std::vector<std::optional<XdpMode>> modes) {
    std::vector<uint32_t> result;
    const auto content = node_content(node.view, {}, served(node, modes), {});
    for (const auto& each : content.devices) result.push_back(each.value.flags);
    return result;
  };
  using enum XdpMode;
  EXPECT_THAT(flags({kNative, kGeneric, {}}), ElementsAre(FL_DEVICE_XDP, 0U, 0U));
  EXPECT_THAT(flags({kGeneric, kGeneric, {}}), ElementsAre(FL_DEVICE_XDP, FL_DEVICE_XDP, 0U));
  const auto content = node_content(node.view, {}, served(node, {{}, {}, {}}), {});
  EXPECT_EQ(from_wire(content.devices[0].value.source_v4), *Address::parse("192.0.2.1"));
  EXPECT_EQ(content.devices[0].value.mtu, 1500U);
  EXPECT_EQ(content.devices[1].value.source_v4.word[2], 0U);  // not ::ffff:0.0.0.0
}

TEST(NodeContentTest, PrefixesAndDetectorsAreByFamily) {
  NodeRules rules;
  rules.detector.pod_prefixes = {*Prefix::parse("10.1.0.0/16")};
  rules.service_prefixes = {*Prefix::parse("fd00:96::/112")};
  const NodeContent content = node_content({}, rules, {}, {});
  ASSERT_EQ(content.prefixes.size(), 2U);
  EXPECT_EQ(content.prefixes[0].prefix_bits, 32U + 96 + 16);
  EXPECT_EQ(content.prefixes[0].domain, htonl(FL_DOMAIN_PODS));
  EXPECT_EQ(content.prefixes[1].prefix_bits, 32U + 112);
  EXPECT_EQ(content.prefixes[1].domain, htonl(FL_DOMAIN_SERVICES));
  EXPECT_EQ(content.config.has_detector[0], 1);
  EXPECT_EQ(content.config.has_detector[1], 0);
  rules.detector = {{}, "cni0", ""};
  EXPECT_EQ(node_content({}, rules, {}, {}).config.has_detector[1], 1);
}

class WatcherTest : public AttachTest {
 protected:
  std::unique_ptr<DeviceWatcher> open(int buffer = 1 << 20) {
    auto watcher = DeviceWatcher::open(buffer);
    EXPECT_TRUE(watcher.ok());
    return *std::move(watcher);
  }
  static bool changed(DeviceWatcher& watcher) {
    const Result<bool> result = watcher.process();
    EXPECT_TRUE(result.ok());
    return result.ok() && *result;
  }
  static std::vector<std::string> names(const DeviceWatcher& watcher) {
    std::vector<std::string> result;
    for (const auto& [index, device] : watcher.view().devices) result.push_back(device.name);
    return result;
  }
};

TEST_F(WatcherTest, ListsWhatIsThere) {
  ip("link add sw type bridge");
  ip("link add one type veth peer name two");
  ip("link set one master sw up mtu 1400");
  ip("addr add 192.0.2.1/24 dev two");
  ip("addr add 192.0.2.2/24 dev two");
  const auto watcher = open();
  const Device* const one = watcher->view().find(index("one"));
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(*one, (Device{index("one"), "one", "veth", IFF_UP, ARPHRD_ETHER, 1400, index("sw"),
                          index("two")}));
  EXPECT_EQ(watcher->view().source(index("two"), Family::kIPv4), Address::parse("192.0.2.1"));
  EXPECT_FALSE(watcher->view().addresses.back().primary &&
               watcher->view().addresses.back().address == Address::parse("192.0.2.2"));
  EXPECT_FALSE(changed(*watcher));
}

TEST_F(WatcherTest, SeesDevicesComeChangeAndGo) {
  const auto watcher = open();
  cable("one", "two");
  EXPECT_TRUE(changed(*watcher));
  EXPECT_THAT(names(*watcher), ElementsAre("lo", "two", "one"));
  EXPECT_TRUE(watcher->view().find(index("one"))->up());
  ip("link set one down");
  ip("link set one name three");
  EXPECT_TRUE(changed(*watcher));
  EXPECT_EQ(watcher->view().find(index("three"))->name, "three");
  EXPECT_FALSE(watcher->view().find(index("three"))->up());
  const uint32_t gone = index("two");
  ip("addr add 192.0.2.1/24 dev two");
  ip("link del two");
  EXPECT_TRUE(changed(*watcher));
  EXPECT_EQ(watcher->view().find(gone), nullptr);
  EXPECT_TRUE(std::none_of(watcher->view().addresses.begin(), watcher->view().addresses.end(),
                           [&](const HeldAddress& held) { return held.device == gone; }));
}

TEST_F(WatcherTest, SeesPortsOfABridgeComeAndGo) {
  cable("one", "two");
  ip("link add sw type bridge");
  ip("addr add 192.0.2.1/24 dev one");
  const auto watcher = open();
  ip("link set one master sw");
  EXPECT_TRUE(changed(*watcher));
  EXPECT_EQ(watcher->view().find(index("one"))->master, index("sw"));
  // News of the bridge about its port say less than those of the device.
  EXPECT_EQ(shell("bridge link set dev one hairpin on"), "");
  changed(*watcher);
  EXPECT_EQ(watcher->view().find(index("one"))->kind, "veth");
  ip("link set one nomaster");
  EXPECT_TRUE(changed(*watcher));
  EXPECT_EQ(watcher->view().source(index("one"), Family::kIPv4), Address::parse("192.0.2.1"));
  ASSERT_NE(watcher->view().find(index("one")), nullptr);
  EXPECT_EQ(watcher->view().find(index("one"))->master, 0U);
}

TEST_F(WatcherTest, TheDefaultRoutesSourceIsPreferred) {
  cable("one", "two");
  cable("three", "four");
  ip("addr add 192.0.2.1/24 dev one");
  const auto watcher = open();
  EXPECT_EQ(watcher->view().preferred[0], std::nullopt);
  EXPECT_EQ(watcher->view().source(Family::kIPv4), Address::parse("192.0.2.1"));
  ip("addr add 198.51.100.1/24 dev three");
  ip("route add default via 198.51.100.2");
  EXPECT_TRUE(changed(*watcher));
  EXPECT_EQ(watcher->view().source(Family::kIPv4), Address::parse("198.51.100.1"));
}

TEST_F(WatcherTest, ListsAgainAfterAnOverrun) {
  const auto watcher = open(1);  // the kernel gives the least there is
  for (int i = 0; i < 20; ++i) ip(fmt::format("link add x{} type bridge", i));
  ip("link del x3");
  EXPECT_TRUE(changed(*watcher));
  EXPECT_THAT(names(*watcher), IsSupersetOf({"x0", "x19"}));
  EXPECT_EQ(watcher->view().devices.size(), 20U);  // 19 of them and lo
  EXPECT_FALSE(changed(*watcher));
}

}  // namespace
}  // namespace fairlead::bpf::testing
