// What a case about one packet needs: services in a line, and the three questions it may ask.
//
//   serve({.at = "10.96.0.1:80", .endpoints = {"10.1.0.2:8080"}});
//   expect_forward(tcp("10.1.0.5:4000", "10.96.0.1:80").flags("S"),
//                  tcp("10.1.0.5:4000", "10.1.0.2:8080").flags("S").ttl(63));
//
// Expected packets are whole packets: every byte counts, checksums above all. The tests skip, by
// name of what is missing, where the machine cannot load programs.
//
// Threads: gtest's.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/harness/parsed_packet.h"
#include "tests/unit/bpf/datapath.h"

namespace fairlead::bpf::testing {

// Route of each source class, in the order pod, node, other: "-" as it is, "m" masqueraded, "l"
// local choice, "lm" both.
using Routes = std::array<std::string_view, FL_SOURCE_CLASSES>;

struct VirtualService {
  std::string_view at;  // "10.96.0.1:80"; a node port stands under "0.0.0.0:30080" or "[::]:30080"
  uint8_t protocol = 6;
  fl_kind kind = FL_KIND_CLUSTER_IP;
  std::vector<std::string_view> endpoints = {};
  std::vector<std::string_view> local = {};  // those of the local choice, which are in both
  Routes routes = {"-", "-", "m"};
  fl_empty when_empty = FL_EMPTY_REJECT;  // of either choice
  uint32_t affinity_seconds = 0;
  std::vector<std::string_view> source_ranges = {};  // "192.0.2.0/24"; any: they apply
  bool maybe_here = true;                            // FL_ENDPOINT_MAYBE_HERE on every endpoint
};

struct Served {
  uint32_t frontend;  // id
  uint32_t entry;
  std::vector<uint32_t> endpoints;  // indexes, in the order given
  fl_frontend_key key;
};

class PacketTest : public ::testing::Test {
 protected:
  void SetUp() override;
  Datapath& datapath() { return *datapath_; }

  Served serve(const VirtualService& service);
  // Another virtual address of the same entry.
  void also(Served& served, const VirtualService& service);
  void choose_among(const Served& served, const std::vector<uint32_t>& endpoints);
  // Takes an endpoint out of every choice, as the loader does when it leaves.
  void retire(const Served& served, size_t endpoint);
  void claim_address(std::string_view cluster_ip);     // somebody's cluster IP
  void claim_services(std::string_view service_cidr);  // "10.96.0.0/12"
  template <typename Change>
  void configure(Change change) {
    fl_config config = datapath().config();
    change(config);
    datapath().set_config(config);
  }

  // Through fl_ingress, unless via() has named another program.
  Outcome run(const harness::Packet& packet);
  void via(Program program, const Arrival& arrival = {});

  void expect_forward(const harness::Packet& packet, const harness::Packet& rewritten);
  // Untouched, and to the stack.
  void expect_pass(const harness::Packet& packet);
  // Rewritten, and to the stack: the endpoint is an address of this node.
  void expect_deliver(const harness::Packet& packet, const harness::Packet& rewritten);
  // Dropped, and counted for this reason alone: "no_endpoints".
  void expect_drop(const harness::Packet& packet, std::string_view reason);
  // Refused: the packet becomes a reset or "port unreachable" to its sender, from whom it asked.
  void expect_refusal(const harness::Packet& packet);
  // The packet becomes "fragmentation needed" or "packet too big" that names `mtu`.
  void expect_too_big(const harness::Packet& packet, uint32_t mtu);
  // A new masqueraded connection: forwarded with a port of the masquerading range, which is
  // returned (SCTP keeps its own if it can); everything else as in `rewritten`, whose source port
  // is not read.
  uint16_t expect_masquerade(const harness::Packet& packet, harness::PacketBuilder rewritten);

  // Runs it and gives the packet as it left, whatever became of it; for conversations.
  harness::ParsedPacket after(const harness::Packet& packet);
  static uint64_t counted(const Outcome& outcome, const std::string& name);
  // A flow past its first answer: "S", "SA", "A" through the programs. TCP, both ends as the client
  // sees them; returns the source port that the endpoint sees.
  uint16_t establish(std::string_view client, std::string_view virtual_address);
  // What the endpoint would send in answer to `packet`, as it reached it.
  static harness::PacketBuilder answer_to(const harness::ParsedPacket& packet);

 private:
  static void expect_outcome(const harness::Packet& packet, const Outcome& outcome,
                             std::string_view verdict, const harness::Packet& wanted);
  harness::ParsedPacket expect_icmp(const harness::Packet& packet, uint8_t type, uint8_t code);

  uint32_t next_slot_ = 0;
  uint32_t next_entry_ = 1;
  uint32_t next_endpoint_ = 1;
  Datapath* datapath_ = nullptr;
  Program program_ = Program::kIngress;
  Arrival arrival_;
};

}  // namespace fairlead::bpf::testing
