// The programs against the reference evaluator: random services, rendered by Tables; random
// packets, answered, repeated, and repeated again after the services have changed. Some come
// through the driver's program first, as where XDP is on: what that one leaves goes on to tc.
//
// FAIRLEAD_DIFFERENTIAL_PACKETS says how many first packets (a benchmark runs millions),
// FAIRLEAD_DIFFERENTIAL_SEED repeats a run.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>

#include "bpf/tables.h"
#include "tests/unit/bpf/differential_world.h"
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using dataplane::Fate;
using harness::Packet;
using harness::PacketBuilder;
using harness::ParsedPacket;

constexpr uint64_t kEpoch = 1000;  // packets between two clean tables of flows

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

PacketBuilder packet_of(const dataplane::SocketAddress& from, const dataplane::SocketAddress& to,
                        dataplane::Protocol protocol, std::string_view flags) {
  return PacketBuilder(from, to, static_cast<uint8_t>(protocol)).flags(flags).payload("words");
}

class Differential : public PacketTest {
 protected:
  // A flow whose first packet was forwarded.
  struct Known {
    dataplane::Packet packet;
    dataplane::EntryKey entry;
    ParsedPacket seen;  // by its endpoint
  };
  // What became of a packet.
  struct Arrival {
    Outcome outcome;
    bool left_to_tc = false;  // by the driver's program, which must have had a reason
  };
  using AffinityKey = std::tuple<dataplane::EntryKey, dataplane::Choice, dataplane::Address>;

  void SetUp() override {
    PacketTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    seed_ = number_from("FAIRLEAD_DIFFERENTIAL_SEED", std::random_device()());
    std::printf("FAIRLEAD_DIFFERENTIAL_SEED=%llu\n", static_cast<unsigned long long>(seed_));
    auto maps = open_table_maps(datapath().object());
    ASSERT_TRUE(maps.ok()) << maps.status().message();
    maps_ = std::move(*maps);
    tables_ = std::make_unique<Tables>(*maps_);
    ASSERT_TRUE(tables_->adopt().ok());
    for (const std::string_view prefix : kServicePrefixes) claim_services(prefix);
  }

  void fail(const std::string& what, const Outcome& got, const dataplane::Packet& packet,
            const dataplane::Outcome& wanted) {
    ADD_FAILURE() << what << "\npacket " << number_ << " of FAIRLEAD_DIFFERENTIAL_SEED=" << seed_
                  << ": " << packet.source.to_string() << " > " << packet.destination.to_string()
                  << " " << to_string(packet.protocol) << "\nprograms: " << got.describe()
                  << "\nreference: " << describe(wanted) << "\n"
                  << (wanted.entry ? describe(*wanted.entry) : random_->describe());
  }

  void change_tables(bool complete) {
    for (uint32_t i = complete ? 40 : 1 + dice_->below(3); i > 0; --i) random_->mutate();
    dataplane::Delta delta = random_->table().pending();
    delta.complete = complete;
    const auto ack = tables_->apply(delta);
    ASSERT_TRUE(ack.ok()) << ack.status().message();
    ASSERT_TRUE(ack->refused.empty()) << ack->refused[0].reason.message();
    random_->table().acknowledge(delta, {});
    reference_.emplace(random_->table().entries(), node_rules(), node_addresses());
    std::erase_if(known_, [this](const Known& known) { return !goes_on(known); });
    remembered_.clear();
  }

  // A flow belongs to its frontend: where that is another entry's now, the flow is at its end. So
  // it is for datagrams when their endpoint leaves the service, even if it should come back.
  bool goes_on(const Known& known) const {
    const dataplane::Outcome now = reference_->evaluate(known.packet);
    if (!now.entry || !(now.entry->key == known.entry)) return false;
    if (known.packet.protocol == dataplane::Protocol::kTcp) return true;
    const auto serves = [&](dataplane::Choice which) {
      const auto& targets = now.entry->choice(which).targets;
      return std::any_of(targets.begin(), targets.end(), [&](const dataplane::Target& target) {
        return target.address == known.seen.destination;
      });
    };
    return serves(dataplane::Choice::kCluster) || serves(dataplane::Choice::kLocal);
  }

  static bool is_node_address(const dataplane::Address& address) {
    static const std::vector<dataplane::Address> all = node_addresses();
    return std::find(all.begin(), all.end(), address) != all.end();
  }

  // Behind out0, the one device that takes packets from XDP: the other node's pods and the outside.
  static bool is_behind_out0(const dataplane::Address& address) {
    static const std::vector<dataplane::Prefix> prefixes = {
        *dataplane::Prefix::parse("10.2.0.0/16"), *dataplane::Prefix::parse("fd02::/64"),
        *dataplane::Prefix::parse("198.51.100.0/24"), *dataplane::Prefix::parse("2001:db8::/64")};
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](const auto& prefix) { return prefix.contains(address); });
  }
  // Flows towards it begin at the driver. One endpoint may be in both choices: what either says of
  // its place counts.
  static bool begins_at_driver(const dataplane::ForwardingEntry& entry,
                               const dataplane::SocketAddress& endpoint) {
    const auto may_be_here = [&](dataplane::Choice which) {
      const auto& targets = entry.choice(which).targets;
      return std::any_of(targets.begin(), targets.end(), [&](const dataplane::Target& target) {
        return target.address == endpoint && target.maybe_local;
      });
    };
    return is_behind_out0(endpoint.address) && !may_be_here(dataplane::Choice::kCluster) &&
           !may_be_here(dataplane::Choice::kLocal);
  }
  // As XDP sends it on: to the other node or to the router.
  static PacketBuilder by_driver(PacketBuilder packet, const dataplane::Address& to) {
    const bool pod = to.to_string().starts_with(to.is_v4() ? "10.2." : "fd02:");
    return packet.ethernet(2, pod ? 3 : 2);
  }

  Arrival arrive(const PacketBuilder& sent) {
    Arrival out;
    if (dice_->one_in(3)) {
      out.outcome = datapath().run(Program::kXdp, sent);
      sent_by_driver_ += out.outcome.verdict == kTransmit ? 1 : 0;
      if (out.outcome.verdict != kPass) return out;
      EXPECT_EQ(harness::difference(out.outcome.packet, sent), "") << "changed at the driver";
      // One whole checksum in 65,536 is taken for one that a device is to finish.
      out.left_to_tc = PacketBuilder(sent).unfinished_checksum().build() != sent.build();
    }
    out.outcome = datapath().run(Program::kIngress, sent);
    return out;
  }

  // What the driver's program leaves alone whatever it is for.
  void check_left_alone(const PacketBuilder& sent) {
    PacketBuilder fragment = sent, later = sent, last = sent, tagged = sent;
    for (const Packet& packet : {fragment.fragment(0, 8).build(), later.fragment(8, 5).build(),
                                 last.ttl(1).build(), tagged.ether_type(0x8100).build()}) {
      const Outcome got = datapath().run(Program::kXdp, packet);
      EXPECT_EQ(got.verdict, kPass) << got.describe();
      EXPECT_EQ(harness::difference(got.packet, packet), "");
      EXPECT_TRUE(got.counted.empty()) << got.describe();
    }
  }

  // The first packet of a flow.
  void begin_flow() {
    const dataplane::Packet packet = random_->packet();
    if (std::any_of(known_.begin(), known_.end(),
                    [&](const Known& known) { return known.packet.source == packet.source; })) {
      return;  // maybe no first packet
    }
    const dataplane::Outcome wanted = reference_->evaluate(packet);
    const auto sent = packet_of(packet.source, packet.destination, packet.protocol, "S");
    if (dice_->one_in(8)) check_left_alone(sent);
    const auto [got, left_to_tc] = arrive(sent);
    if (counted(got, "returned") != 0) return;  // somebody's answer, by chance
    switch (wanted.fate) {
      case Fate::kUntouched:
        if (got.verdict != kPass || got.packet != sent.build())
          fail("touched", got, packet, wanted);
        break;
      case Fate::kDropped:
        if (got.verdict != kDrop || (left_to_tc && wanted.entry)) {
          fail("not dropped", got, packet, wanted);
        }
        break;
      case Fate::kRejected:
        if (got.verdict != kRedirect || counted(got, "rejected") != 1) {
          fail("not rejected", got, packet, wanted);
        }
        break;
      case Fate::kForwarded:
        if (left_to_tc && std::all_of(wanted.targets.begin(), wanted.targets.end(),
                                      [&wanted](const dataplane::Target& target) {
                                        return begins_at_driver(*wanted.entry, target.address);
                                      })) {
          fail("left to tc", got, packet, wanted);
        }
        check_forwarded(got, packet, wanted);
        break;
    }
  }

  void check_forwarded(const Outcome& got, const dataplane::Packet& packet,
                       const dataplane::Outcome& wanted) {
    const ParsedPacket seen = harness::parse(got.packet);
    const bool at_driver = got.verdict == kTransmit;
    const auto same = [&](const dataplane::Target& target) {
      return target.address == seen.destination &&
             (!at_driver || begins_at_driver(*wanted.entry, target.address));
    };
    if (std::none_of(wanted.targets.begin(), wanted.targets.end(), same)) {
      return fail("not to one of the endpoints", got, packet, wanted);
    }
    const bool here = is_node_address(seen.destination.address);
    if (!at_driver && got.verdict != (here ? kPass : kRedirect)) {
      return fail("wrong verdict", got, packet, wanted);
    }
    const bool masquerade =
        !here && (wanted.masquerade || seen.destination.address == packet.source.address);
    const dataplane::Address own = harness::address_of(seen.is_v4() ? "192.168.7.1" : "fd07::1");
    if (seen.source.address != (masquerade ? own : packet.source.address)) {
      return fail("wrong source", got, packet, wanted);
    }
    if (!masquerade && seen.source.port != packet.source.port &&
        counted(got, "ports_rewritten") == 0) {
      return fail("wrong source port", got, packet, wanted);
    }
    auto whole = packet_of(seen.source, seen.destination, packet.protocol, "S").ttl(here ? 64 : 63);
    if (at_driver) whole = by_driver(whole, seen.destination.address);
    if (got.packet != whole.build()) {
      return fail(harness::difference(got.packet, whole), got, packet, wanted);
    }
    check_affinity(got, packet, wanted, seen);
    const Known known{packet, wanted.entry->key, seen};
    if (!dice_->one_in(4)) check_answer(known, wanted);
    if (!dice_->one_in(3)) check_again(known, wanted);
    if (known_.size() < 200) known_.push_back(known);
  }

  void check_affinity(const Outcome& got, const dataplane::Packet& packet,
                      const dataplane::Outcome& wanted, const ParsedPacket& seen) {
    if (wanted.entry->affinity_seconds == 0) return;
    const dataplane::SourceClass source = reference_->classify(packet);
    for (const dataplane::Frontend& frontend : wanted.entry->frontends) {
      const bool node_port = frontend.kind == dataplane::FrontendKind::kNodePort;
      if (frontend.address.port != packet.destination.port ||
          (!node_port && frontend.address.address != packet.destination.address)) {
        continue;
      }
      const AffinityKey key{wanted.entry->key, frontend.route(source).choice,
                            packet.source.address};
      const auto [at, fresh] = remembered_.insert({key, seen.destination});
      if (!fresh && at->second != seen.destination) fail("forgot its client", got, packet, wanted);
      return;
    }
  }

  // The endpoint's answer comes back from the virtual address, byte by byte.
  void check_answer(const Known& known, const dataplane::Outcome& wanted) {
    const dataplane::Packet& packet = known.packet;
    const bool here = is_node_address(known.seen.destination.address);
    const auto answer = packet_of(known.seen.destination, known.seen.source, packet.protocol, "SA");
    const Arrival arrival =
        here ? Arrival{datapath().run(Program::kEgress, answer, {.made_here = true})}
             : arrive(answer);
    const bool to_node = is_node_address(packet.source.address);
    const auto whole = packet_of(packet.destination, packet.source, packet.protocol, "SA")
                           .ttl(here || to_node ? 64 : 63);
    check_continued("the answer", arrival, here || to_node, packet.source.address, whole, known,
                    wanted);
  }

  // Another packet of the flow goes the same way.
  void check_again(const Known& known, const dataplane::Outcome& wanted) {
    const dataplane::Packet& packet = known.packet;
    const bool here = is_node_address(known.seen.destination.address);
    const Arrival arrival =
        arrive(packet_of(packet.source, packet.destination, packet.protocol, "A"));
    const auto whole = packet_of(known.seen.source, known.seen.destination, packet.protocol, "A")
                           .ttl(here ? 64 : 63);
    check_continued("another packet", arrival, here, known.seen.destination.address, whole, known,
                    wanted);
  }

  // `whole` is how it goes on towards `to`, or up the stack when `stays`.
  void check_continued(const std::string& what, const Arrival& arrival, bool stays,
                       const dataplane::Address& to, const PacketBuilder& whole, const Known& known,
                       const dataplane::Outcome& wanted) {
    const Outcome& got = arrival.outcome;
    const bool at_driver = got.verdict == kTransmit;
    if (at_driver ? !is_behind_out0(to) : got.verdict != (stays ? kPass : kRedirect)) {
      return fail(what + " is not sent on", got, known.packet, wanted);
    }
    if (arrival.left_to_tc && is_behind_out0(to)) {
      return fail(what + " is left to tc", got, known.packet, wanted);
    }
    const Packet expected = at_driver ? by_driver(whole, to) : whole;
    if (got.packet != expected) {
      fail(what + ": " + harness::difference(got.packet, expected), got, known.packet, wanted);
    }
  }

  // A flow that began earlier, often before the services changed.
  void continue_flow() {
    if (known_.empty()) return;
    const Known& known = dice_->pick(known_);
    check_again(known, reference_->evaluate(known.packet));
  }

  void new_epoch() {
    datapath().forget_flows();
    known_.clear();
    remembered_.clear();
  }

  uint64_t seed_ = 0, number_ = 0, sent_by_driver_ = 0;
  std::optional<Dice> dice_;
  std::optional<RandomTable> random_;
  std::unique_ptr<TableMaps> maps_;
  std::unique_ptr<Tables> tables_;
  std::optional<dataplane::ReferenceEvaluator> reference_;
  std::vector<Known> known_;
  std::map<AffinityKey, dataplane::SocketAddress> remembered_;
};

TEST_F(Differential, AgreesWithTheReference) {
  dice_.emplace(seed_);
  random_.emplace(*dice_);
  change_tables(true);
  const uint64_t packets = number_from("FAIRLEAD_DIFFERENTIAL_PACKETS", 10'000);
  for (number_ = 1; number_ <= packets && !HasFailure(); ++number_) {
    if (number_ % kEpoch == 0) new_epoch();
    if (number_ % 50 == 0) change_tables(false);
    begin_flow();
    if (dice_->one_in(2)) continue_flow();
  }
  EXPECT_GT(sent_by_driver_, packets / 100);
}

}  // namespace
}  // namespace fairlead::bpf::testing
