// Every option of the eBPF mode reaches the mode under its own name.
#include "proxy/ebpf_options.h"

#include <gtest/gtest.h>

#include <tuple>

namespace fairlead::proxy {
namespace {

using std::chrono::seconds;

TEST(EbpfOptions, DefaultsAreTheModes) {
  const bpf::Options made = ebpf_options(ProxyConfig());
  const bpf::Options own;
  EXPECT_EQ(made.pin_path, own.pin_path);
  EXPECT_EQ(made.xdp, own.xdp);
  EXPECT_EQ(made.dsr, own.dsr);
  EXPECT_EQ(std::tie(made.snat_first, made.snat_last), std::tie(own.snat_first, own.snat_last));
  EXPECT_EQ(made.tcp_established, own.tcp_established);
  EXPECT_EQ(made.udp, own.udp);
  EXPECT_EQ(made.udp_stream, own.udp_stream);
  EXPECT_EQ(made.audit_period, own.audit_period);
  const auto all = [](const bpf::Sizes& s) {
    return std::tuple(s.frontends, s.entries, s.endpoints, s.ring_slots, s.prefixes, s.flows,
                      s.new_flows, s.return_classes, s.affinity, s.fragments);
  };
  EXPECT_EQ(all(made.sizes), all(own.sizes));
}

TEST(EbpfOptions, EveryOneIsPassedOn) {
  ProxyConfig config;
  config.ebpf = {{"eth0"},
                 EbpfConfig::Xdp::kGeneric,
                 EbpfConfig::Dsr::kIpip,
                 1,
                 2,
                 "/p",
                 "/c",
                 3,
                 4,
                 5,
                 6,
                 7,
                 8,
                 9,
                 10,
                 11,
                 12};
  config.conntrack.tcp_established_timeout = seconds(13);
  config.conntrack.udp_timeout = seconds(14);
  config.conntrack.udp_stream_timeout = seconds(15);
  config.audit_period = seconds(16);
  const bpf::Options made = ebpf_options(config);
  EXPECT_EQ(made.audit_period, seconds(16));
  EXPECT_EQ(made.devices, std::vector<std::string>{"eth0"});
  EXPECT_EQ(made.xdp, bpf::XdpChoice::kGeneric);
  EXPECT_EQ(made.dsr, bpf::Dsr::kIpip);
  EXPECT_EQ(made.snat_first, 1);
  EXPECT_EQ(made.snat_last, 2);
  EXPECT_EQ(made.pin_path, "/p");
  EXPECT_EQ(made.cgroup, "/c");
  EXPECT_EQ(made.sizes.frontends, 3U);
  EXPECT_EQ(made.sizes.entries, 4U);
  EXPECT_EQ(made.sizes.endpoints, 5U);
  EXPECT_EQ(made.sizes.ring_slots, 6U);
  EXPECT_EQ(made.sizes.prefixes, 7U);
  EXPECT_EQ(made.sizes.flows, 8U);
  EXPECT_EQ(made.sizes.new_flows, 9U);
  EXPECT_EQ(made.sizes.affinity, 10U);
  EXPECT_EQ(made.sizes.fragments, 11U);
  EXPECT_EQ(made.sizes.return_classes, 12U);
  EXPECT_EQ(made.tcp_established, seconds(13));
  EXPECT_EQ(made.udp, seconds(14));
  EXPECT_EQ(made.udp_stream, seconds(15));
}

TEST(EbpfOptions, XdpChoicesKeepTheirMeaning) {
  const std::pair<EbpfConfig::Xdp, bpf::XdpChoice> pairs[] = {
      {EbpfConfig::Xdp::kAuto, bpf::XdpChoice::kAuto},
      {EbpfConfig::Xdp::kNative, bpf::XdpChoice::kNative},
      {EbpfConfig::Xdp::kGeneric, bpf::XdpChoice::kGeneric},
      {EbpfConfig::Xdp::kOff, bpf::XdpChoice::kOff}};
  for (const auto& [given, expected] : pairs) {
    ProxyConfig config;
    config.ebpf.xdp = given;
    EXPECT_EQ(ebpf_options(config).xdp, expected);
  }
}

TEST(EbpfOptions, ATimeoutOfZeroIsTheModesOwn) {
  ProxyConfig config;
  config.conntrack.tcp_established_timeout = seconds(0);
  EXPECT_EQ(ebpf_options(config).tcp_established, bpf::Options().tcp_established);
}

}  // namespace
}  // namespace fairlead::proxy
