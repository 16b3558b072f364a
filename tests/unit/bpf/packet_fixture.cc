#include "tests/unit/bpf/packet_fixture.h"

#include <algorithm>

namespace fairlead::bpf::testing {

using harness::Packet;
using harness::ParsedPacket;

namespace {

uint8_t route_bits(std::string_view text) {
  uint8_t bits = 0;
  if (text.find('l') != std::string_view::npos) bits |= FL_ROUTE_LOCAL;
  if (text.find('m') != std::string_view::npos) bits |= FL_ROUTE_MASQUERADE;
  return bits;
}

fl_prefix_key prefix_key(uint32_t domain, std::string_view text) {
  const auto prefix = dataplane::Prefix::parse(text);
  if (!prefix) {
    ADD_FAILURE() << "not a prefix: " << text;
    return {};
  }
  const uint32_t mapped = prefix->family() == dataplane::Family::kIPv4 ? 96 : 0;
  return {FL_PREFIX_FIXED_BITS + mapped + prefix->length(), __builtin_bswap32(domain),
          wire(prefix->base())};
}

}  // namespace

void PacketTest::SetUp() {
  datapath_ = Datapath::get();
  if (datapath_ == nullptr && Datapath::lacks_features()) GTEST_SKIP() << Datapath::why();
  ASSERT_NE(datapath_, nullptr) << Datapath::why();
  datapath_->reset();
}

Served PacketTest::serve(const VirtualService& service) {
  Served served = {0, next_entry_++, {}, {}};
  std::vector<std::string_view> all = service.endpoints;
  for (const std::string_view local : service.local) {
    if (std::find(all.begin(), all.end(), local) == all.end()) all.push_back(local);
  }
  std::vector<uint32_t> local;
  for (const std::string_view text : all) {
    const dataplane::SocketAddress at = harness::socket_address_of(text);
    const bool is_local =
        std::find(service.local.begin(), service.local.end(), text) != service.local.end();
    uint8_t flags = FL_ENDPOINT_CLUSTER;
    if (is_local) flags |= FL_ENDPOINT_LOCAL;
    if (service.maybe_here) flags |= FL_ENDPOINT_MAYBE_HERE;
    const fl_endpoint endpoint = {.address = wire(at.address),
                                  .entry = served.entry,
                                  .generation = 1,
                                  .port = wire(at.port),
                                  .flags = flags,
                                  .zero = {}};
    datapath().put(Map::kEndpoints, next_endpoint_, endpoint);
    if (is_local) local.push_back(next_endpoint_);
    served.endpoints.push_back(next_endpoint_++);
  }
  fl_entry entry = {};
  entry.affinity_seconds = service.affinity_seconds;
  entry.when_empty[0] = entry.when_empty[1] = static_cast<uint8_t>(service.when_empty);
  entry.live = 1;
  entry.protocol = service.protocol;
  datapath().put(Map::kEntries, served.entry, entry);
  choose_among(served, served.endpoints);
  if (!local.empty()) {
    fl_ring_block block = {};
    std::copy(local.begin(), local.end(), block.endpoint);
    datapath().get(Map::kEntries, served.entry, entry);
    datapath().put(Map::kRings, next_slot_ / FL_RING_BLOCK, block);
    entry.ring[FL_CHOICE_LOCAL] = FL_RING(next_slot_, local.size());
    next_slot_ += FL_RING_BLOCK;
    datapath().put(Map::kEntries, served.entry, entry);
  }
  for (const std::string_view range : service.source_ranges) {
    datapath().put(Map::kPrefixes, prefix_key(served.entry, range), uint32_t{1});
  }
  also(served, service);
  return served;
}

void PacketTest::also(Served& served, const VirtualService& service) {
  const dataplane::SocketAddress at = harness::socket_address_of(service.at);
  fl_frontend frontend = {};
  configure([&](fl_config& config) { frontend.id = config.next_frontend_id++; });
  frontend.entry = served.entry;
  frontend.kind = static_cast<uint8_t>(service.kind);
  frontend.flags = service.source_ranges.empty() ? 0 : FL_FRONTEND_SOURCE_RANGES;
  for (size_t i = 0; i < service.routes.size(); ++i) {
    frontend.route[i] = route_bits(service.routes[i]);
  }
  served.frontend = frontend.id;
  served.key = {wire(at.address), wire(at.port), service.protocol, 0};
  if (service.kind == FL_KIND_NODE_PORT) {
    configure([&](fl_config& config) {
      const bool none = config.node_port_last == 0;
      config.node_port_first = none ? at.port : std::min(config.node_port_first, at.port);
      config.node_port_last = std::max(config.node_port_last, at.port);
    });
  }
  datapath().put(Map::kFrontends, served.key, frontend);
  if (service.kind == FL_KIND_CLUSTER_IP) claim_address(at.address.to_string());
}

void PacketTest::choose_among(const Served& served, const std::vector<uint32_t>& endpoints) {
  fl_entry entry;
  datapath().get(Map::kEntries, served.entry, entry);
  fl_ring_block block = {};
  for (size_t i = 0; i < FL_RING_BLOCK && !endpoints.empty(); ++i) {
    block.endpoint[i] = endpoints[i % endpoints.size()];
  }
  datapath().put(Map::kRings, next_slot_ / FL_RING_BLOCK, block);
  entry.ring[FL_CHOICE_CLUSTER] = FL_RING(
      next_slot_, endpoints.empty() ? 0 : FL_RING_BLOCK / endpoints.size() * endpoints.size());
  next_slot_ += FL_RING_BLOCK;
  datapath().put(Map::kEntries, served.entry, entry);
}

void PacketTest::retire(const Served& served, size_t endpoint) {
  std::vector<uint32_t> left = served.endpoints;
  const uint32_t index = left[endpoint];
  left.erase(left.begin() + static_cast<ptrdiff_t>(endpoint));
  choose_among(served, left);
  fl_endpoint gone;
  datapath().get(Map::kEndpoints, index, gone);
  gone.flags = 0;
  datapath().put(Map::kEndpoints, index, gone);
}

void PacketTest::claim_address(std::string_view cluster_ip) {
  fl_frontend frontend = {};
  frontend.kind = FL_KIND_CLUSTER_ADDRESS;
  configure([&](fl_config& config) { frontend.id = config.next_frontend_id++; });
  datapath().put(Map::kFrontends, fl_frontend_key{wire(cluster_ip), 0, 0, 0}, frontend);
}

void PacketTest::claim_services(std::string_view service_cidr) {
  datapath().put(Map::kPrefixes, prefix_key(FL_DOMAIN_SERVICES, service_cidr), uint32_t{1});
}

Outcome PacketTest::run(const Packet& packet) {
  return datapath().run(program_, packet, arrival_);
}

void PacketTest::via(Program program, const Arrival& arrival) {
  program_ = program;
  arrival_ = arrival;
}

uint64_t PacketTest::counted(const Outcome& outcome, const std::string& name) {
  const auto found = outcome.counted.find(name);
  return found == outcome.counted.end() ? 0 : found->second;
}

void PacketTest::expect_outcome(const Packet& packet, const Outcome& outcome,
                                std::string_view verdict, const Packet& wanted) {
  EXPECT_EQ(outcome.verdict, verdict) << packet << "\n" << outcome.describe();
  const std::string difference = harness::difference(outcome.packet, wanted);
  EXPECT_TRUE(difference.empty()) << packet << "\n" << outcome.describe() << "\n" << difference;
}

void PacketTest::expect_forward(const Packet& packet, const Packet& rewritten) {
  expect_outcome(packet, run(packet), program_ == Program::kXdp ? kTransmit : kRedirect, rewritten);
}

void PacketTest::expect_pass(const Packet& packet) {
  expect_outcome(packet, run(packet), kPass, packet);
}

void PacketTest::expect_deliver(const Packet& packet, const Packet& rewritten) {
  expect_outcome(packet, run(packet), kPass, rewritten);
}

void PacketTest::expect_drop(const Packet& packet, std::string_view reason) {
  const Outcome outcome = run(packet);
  EXPECT_EQ(outcome.verdict, kDrop) << packet << "\n" << outcome.describe();
  for (const auto& [name, times] : outcome.counted) {
    if (!name.starts_with("drop_")) continue;
    EXPECT_EQ(name, "drop_" + std::string(reason)) << packet;
    EXPECT_EQ(times, 1U) << packet;
  }
  EXPECT_TRUE(outcome.counted.contains("drop_" + std::string(reason))) << packet << "\n"
                                                                       << outcome.describe();
}

ParsedPacket PacketTest::expect_icmp(const Packet& packet, uint8_t type, uint8_t code) {
  const ParsedPacket asked = harness::parse(packet);
  const Outcome outcome = run(packet);
  EXPECT_EQ(outcome.verdict, kRedirect) << packet << "\n" << outcome.describe();
  const ParsedPacket answer = harness::parse(outcome.packet);
  EXPECT_EQ(answer.problem, "") << outcome.describe();
  EXPECT_TRUE(answer.checksums_fit()) << outcome.describe();
  EXPECT_EQ(answer.source.address, asked.destination.address) << outcome.describe();
  EXPECT_EQ(answer.destination.address, asked.source.address) << outcome.describe();
  EXPECT_EQ(answer.protocol, asked.is_v4() ? 1 : 58) << outcome.describe();
  EXPECT_EQ(answer.icmp_type, type) << outcome.describe();
  EXPECT_EQ(answer.icmp_code, code) << outcome.describe();
  if (!answer.inner) {
    ADD_FAILURE() << "no packet quoted: " << outcome.describe();
    return answer;
  }
  EXPECT_EQ(answer.inner->source, asked.source);
  EXPECT_EQ(answer.inner->destination, asked.destination);
  EXPECT_EQ(answer.inner->ttl, asked.ttl);
  return answer;
}

void PacketTest::expect_refusal(const Packet& packet) {
  const ParsedPacket asked = harness::parse(packet);
  if (asked.protocol != 6) {
    expect_icmp(packet, asked.is_v4() ? 3 : 1, asked.is_v4() ? 3 : 4);
    return;
  }
  const Outcome outcome = run(packet);
  EXPECT_EQ(outcome.verdict, kRedirect) << packet << "\n" << outcome.describe();
  EXPECT_EQ(counted(outcome, "rejected"), 1U) << outcome.describe();
  const ParsedPacket answer = harness::parse(outcome.packet);
  EXPECT_EQ(answer.problem, "") << outcome.describe();
  EXPECT_TRUE(answer.checksums_fit()) << outcome.describe();
  EXPECT_EQ(answer.source, asked.destination) << outcome.describe();
  EXPECT_EQ(answer.destination, asked.source) << outcome.describe();
  EXPECT_EQ(answer.flags(), asked.flags().find('A') == std::string::npos ? "RA" : "R")
      << outcome.describe();
}

void PacketTest::expect_too_big(const Packet& packet, uint32_t mtu) {
  const bool v4 = harness::parse(packet).is_v4();
  EXPECT_EQ(expect_icmp(packet, v4 ? 3 : 2, v4 ? 4 : 0).rest, mtu);
}

uint16_t PacketTest::expect_masquerade(const Packet& packet, harness::PacketBuilder rewritten) {
  const Outcome outcome = run(packet);
  const uint16_t port = harness::parse(outcome.packet).source.port;
  const fl_config config = datapath().config();
  const ParsedPacket asked = harness::parse(packet);
  const bool kept = asked.protocol == 132 && port == asked.source.port;
  EXPECT_TRUE(kept || (port >= config.snat_first && port <= config.snat_last))
      << packet << " as port " << port;
  expect_outcome(packet, outcome, kRedirect, rewritten.source_port(port));
  return port;
}

ParsedPacket PacketTest::after(const Packet& packet) {
  return harness::parse(run(packet).packet);
}

harness::PacketBuilder PacketTest::answer_to(const ParsedPacket& packet) {
  return {packet.destination, packet.source, packet.protocol};
}

uint16_t PacketTest::establish(std::string_view client, std::string_view virtual_address) {
  const ParsedPacket syn = after(harness::tcp(client, virtual_address).flags("S"));
  after(answer_to(syn).flags("SA"));
  const ParsedPacket seen = after(harness::tcp(client, virtual_address).flags("A"));
  EXPECT_EQ(seen.source, syn.source);
  EXPECT_EQ(seen.destination, syn.destination);
  return syn.source.port;
}

}  // namespace fairlead::bpf::testing
