// The options of the eBPF mode: where each lands, and what is wrong with bad ones.
#include <functional>

#include "cases.h"

namespace fairlead::proxy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The same setting as a flag and as a field of the file.
struct Setting {
  std::string flag;   // "--ebpf-max-flows=300"
  std::string field;  // "maxFlows: 300"
  std::function<bool(const EbpfConfig&)> holds;
};

TEST(Ebpf, EverySettingAsFlagAndAsField) {
  using E = EbpfConfig;
  const Setting settings[] = {
      {"--devices=eth0,veth+", "devices: [eth0, veth+]",
       [](const E& e) {
         return e.devices == std::vector<std::string>{"eth0", "veth+"};
       }},
      {"--ebpf-xdp=auto", "xdp: ''", [](const E& e) { return e.xdp == E::Xdp::kAuto; }},
      {"--ebpf-xdp=native", "xdp: native", [](const E& e) { return e.xdp == E::Xdp::kNative; }},
      {"--ebpf-xdp=generic", "xdp: generic", [](const E& e) { return e.xdp == E::Xdp::kGeneric; }},
      {"--ebpf-xdp=off", "xdp: \"off\"", [](const E& e) { return e.xdp == E::Xdp::kOff; }},
      {"--ebpf-dsr=ipip", "dsr: ipip", [](const E& e) { return e.dsr == E::Dsr::kIpip; }},
      {"--ebpf-masquerade-ports=1024-65535", "masqueradePorts: 1024-65535",
       [](const E& e) { return e.masquerade_first == 1024 && e.masquerade_last == 65535; }},
      {"--ebpf-masquerade-ports=2000-2000", "masqueradePorts: 2000-2000",
       [](const E& e) { return e.masquerade_first == 2000 && e.masquerade_last == 2000; }},
      {"--ebpf-pin-path=/b", "pinPath: /b", [](const E& e) { return e.pin_path == "/b"; }},
      {"--ebpf-cgroup=/c", "cgroup: /c", [](const E& e) { return e.cgroup == "/c"; }},
      {"--ebpf-max-frontends=301", "maxFrontends: 301",
       [](const E& e) { return e.max_frontends == 301; }},
      {"--ebpf-max-service-ports=302", "maxServicePorts: 302",
       [](const E& e) { return e.max_service_ports == 302; }},
      {"--ebpf-max-endpoints=303", "maxEndpoints: 303",
       [](const E& e) { return e.max_endpoints == 303; }},
      {"--ebpf-max-ring-slots=304", "maxRingSlots: 304",
       [](const E& e) { return e.max_ring_slots == 304; }},
      {"--ebpf-max-source-ranges=305", "maxSourceRanges: 305",
       [](const E& e) { return e.max_source_ranges == 305; }},
      {"--ebpf-max-flows=306", "maxFlows: 306", [](const E& e) { return e.max_flows == 306; }},
      {"--ebpf-max-new-flows=307", "maxNewFlows: 307",
       [](const E& e) { return e.max_new_flows == 307; }},
      {"--ebpf-max-affinity=308", "maxAffinity: 308",
       [](const E& e) { return e.max_affinity == 308; }},
      {"--ebpf-max-fragments=309", "maxFragments: 309",
       [](const E& e) { return e.max_fragments == 309; }},
      {"--ebpf-return-classes=8", "returnClasses: 8",
       [](const E& e) { return e.return_classes == 8; }},
  };
  for (const Setting& setting : settings) {
    const Outcome flag = run({"--proxy-mode=ebpf", setting.flag});
    EXPECT_EQ(flag.error, "") << setting.flag;
    EXPECT_THAT(flag.warnings, testing::Each(testing::HasSubstr("overlaps"))) << setting.flag;
    EXPECT_TRUE(setting.holds(flag.loaded.config.ebpf)) << setting.flag;
    const Outcome file = run({}, "mode: ebpf\nfairlead: {ebpf: {" + setting.field + "}}");
    EXPECT_EQ(file.error, "") << setting.field;
    EXPECT_TRUE(setting.holds(file.loaded.config.ebpf)) << setting.field;
  }
}

// A file that spells out every default gives the same as one that says nothing.
TEST(Ebpf, DefaultsAreThoseOfTheTable) {
  const EbpfConfig config = run({"--proxy-mode=ebpf"}).loaded.config.ebpf;
  const EbpfConfig plain;
  EXPECT_EQ(config.masquerade_first, plain.masquerade_first);
  EXPECT_EQ(config.masquerade_last, plain.masquerade_last);
  EXPECT_EQ(config.pin_path, plain.pin_path);
  EXPECT_EQ(config.max_frontends, plain.max_frontends);
  EXPECT_EQ(config.max_service_ports, plain.max_service_ports);
  EXPECT_EQ(config.max_endpoints, plain.max_endpoints);
  EXPECT_EQ(config.max_ring_slots, plain.max_ring_slots);
  EXPECT_EQ(config.max_source_ranges, plain.max_source_ranges);
  EXPECT_EQ(config.max_flows, plain.max_flows);
  EXPECT_EQ(config.max_new_flows, plain.max_new_flows);
  EXPECT_EQ(config.max_affinity, plain.max_affinity);
  EXPECT_EQ(config.max_fragments, plain.max_fragments);
  EXPECT_EQ(config.return_classes, plain.return_classes);
}

struct Mistake {
  std::string argument;
  std::string error;
};

TEST(Ebpf, Mistakes) {
  const Mistake mistakes[] = {
      {"--devices=eth0,a-very-long-device-name",
       "--devices: \"a-very-long-device-name\" cannot be an interface's name"},
      {"--devices=a/b", "--devices: \"a/b\" cannot be an interface's name"},
      {"--ebpf-xdp=fast", "--ebpf-xdp: \"fast\" is not one of auto, native, generic, off"},
      {"--ebpf-dsr=geneve", "--ebpf-dsr: \"geneve\" is not one of off, ipip"},
      {"--ebpf-masquerade-ports=10000",
       "--ebpf-masquerade-ports: \"10000\" is not of the form 10000-29999"},
      {"--ebpf-masquerade-ports=a-b",
       "--ebpf-masquerade-ports: \"a-b\" is not of the form 10000-29999"},
      {"--ebpf-masquerade-ports=1023-2000",
       "--ebpf-masquerade-ports: 1023-2000 is not within 1024-65535"},
      {"--ebpf-masquerade-ports=2000-65536",
       "--ebpf-masquerade-ports: 2000-65536 is not within 1024-65535"},
      {"--ebpf-masquerade-ports=3000-2000",
       "--ebpf-masquerade-ports: 3000-2000 begins with the greater port"},
      {"--ebpf-pin-path=bpf", "--ebpf-pin-path: \"bpf\" is not an absolute path"},
      {"--ebpf-pin-path=", "--ebpf-pin-path: it is empty"},
      {"--ebpf-cgroup=unified", "--ebpf-cgroup: \"unified\" is not an absolute path"},
      {"--ebpf-max-frontends=0", "--ebpf-max-frontends: 0 is not within 16..16777216"},
      {"--ebpf-max-flows=-1", "--ebpf-max-flows: -1 is not within 256..16777216"},
      {"--ebpf-max-endpoints=16777217",
       "--ebpf-max-endpoints: 16777217 is not within 16..16777216"},
      {"--ebpf-max-ring-slots=40", "--ebpf-max-ring-slots: 40 is not a multiple of 16"},
      {"--ebpf-return-classes=6", "--ebpf-return-classes: 6 is not a power of two"},
      {"--ebpf-return-classes=512", "--ebpf-return-classes: 512 is not within 1..256"},
  };
  for (const Mistake& mistake : mistakes) {
    EXPECT_EQ(run({"--proxy-mode=ebpf", mistake.argument}).error, mistake.error);
    EXPECT_EQ(run({mistake.argument}).error, mistake.error) << "in mode auto";
    EXPECT_EQ(run({"--proxy-mode=nftables", mistake.argument}).error, "");
  }
}

TEST(Ebpf, Warnings) {
  EXPECT_THAT(run({"--proxy-mode=ebpf", "--ebpf-masquerade-ports=20000-30000"}).warnings,
              ElementsAre("--ebpf-masquerade-ports: 20000-30000 overlaps with 30000-32767, from "
                          "which node ports are taken unless the API server was told another "
                          "range"));
  EXPECT_THAT(run({"--proxy-mode=ebpf", "--ebpf-masquerade-ports=32768-60000"}).warnings,
              IsEmpty());
  EXPECT_THAT(run({"--proxy-mode=nftables", "--ebpf-xdp=off"}).warnings,
              ElementsAre("--ebpf-xdp has no effect in mode nftables: it is for ebpf"));
  EXPECT_THAT(run({"--ebpf-xdp=off"}).warnings, IsEmpty());
}

}  // namespace
}  // namespace fairlead::proxy
