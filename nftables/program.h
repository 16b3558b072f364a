// Rules as the kernel runs them: expressions over sixteen 32-bit registers.
//
// Most of Fairlead's rules look one map up with what another map gave. nft's language has no words
// for that, so these rules are written as expressions. For listings, every number from a map passes
// once through meta priority (load, set, load, restore: the packet's own priority is untouched):
// without that step nft 1.0.6 cannot print the rule and aborts. `nft list table ip fairlead` then
// shows
//   meta priority set ip daddr . meta l4proto . th dport map @service-policy ... meta priority vmap
//   @policies
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/address.h"
#include "nftables/layout.h"
#include "nftables/wire.h"

namespace fairlead::nftables {

// Register allocation, in 32-bit registers; an address takes one in IPv4 and four in IPv6. Fields
// that form a key stand side by side: source . set, set . token, set . slot, frontend . source.
class Registers {
 public:
  explicit Registers(dataplane::Family family)
      : width_(family == dataplane::Family::kIPv4 ? 1U : 4U) {}

  uint32_t source() const { return kFirst; }
  uint32_t set() const { return kFirst + width_; }
  uint32_t slot() const { return kFirst + width_ + 1; }  // or token
  uint32_t frontend() const { return kFirst + width_ + 2; }
  uint32_t target() const { return frontend(); }  // address . port, once the frontend was used
  uint32_t target_port() const { return target() + width_; }
  uint32_t after_frontend() const { return frontend() + width_ + 2; }
  uint32_t scratch() const { return kFirst + 15; }
  uint32_t width() const { return width_; }

 private:
  static constexpr uint32_t kFirst = 8;  // NFT_REG32_00
  uint32_t width_;
};

// Writes one rule of table `fairlead` at the end of `chain`; the destructor closes the message. The
// comment is stored with the rule and shown by nft; at most 127 bytes.
class RuleWriter {
 public:
  RuleWriter(MessageWriter& out, dataplane::Family family, std::string_view chain,
             std::string_view comment);
  ~RuleWriter();
  RuleWriter(const RuleWriter&) = delete;
  RuleWriter& operator=(const RuleWriter&) = delete;

  // Registers of `r` are filled as the names say. Every function returns *this.
  RuleWriter& load_frontend(KeySource source);  // r.frontend()
  RuleWriter& load_source(uint32_t into);
  RuleWriter& load_destination(uint32_t into);
  RuleWriter& mask_address(uint32_t address, uint8_t prefix_length);
  // A map from `key` to a number in `into`, made printable (see above).
  RuleWriter& lookup_number(SetId map, uint32_t key, uint32_t into);
  RuleWriter& lookup_target(SetId map, uint32_t key);  // r.target(), r.target_port()
  RuleWriter& lookup_verdict(SetId map, uint32_t key);
  RuleWriter& lookup_member(SetNumber set, uint32_t key);
  RuleWriter& random_slot(uint32_t modulus);  // r.slot(): 0 .. modulus-1
  RuleWriter& destination_nat();              // to r.target(), r.target_port()
  RuleWriter& source_is_local();              // goes on only when the source is this node's address
  RuleWriter& destination_is_local();
  RuleWriter& interface_is(std::string_view name);
  RuleWriter& interface_begins(std::string_view prefix);
  RuleWriter& not_loopback_destination();
  RuleWriter& set_mark_bit(uint32_t bit);
  RuleWriter& remember_affinity(
      uint32_t timeout_seconds);  // source . set -> token, or refreshes it
  RuleWriter& forget_affinity();
  RuleWriter& jump(std::string_view chain);
  RuleWriter& go_to(std::string_view chain);
  RuleWriter& back();  // return
  RuleWriter& drop(std::string_view counter);

  const Registers r;

 private:
  void begin(std::string_view name);
  void end();
  void immediate_verdict(int32_t code, std::string_view chain);
  void compare(uint32_t reg, uint32_t operation, ByteView value);
  void meta_load(uint32_t key, uint32_t into);
  void meta_store(uint32_t key, uint32_t from);
  void payload(uint32_t base, uint32_t offset, uint32_t length, uint32_t into);
  void fib_type(bool source);
  void dynamic_set(uint32_t operation, uint64_t timeout_ms);

  MessageWriter& out_;
  dataplane::Family family_;
  std::string comment_;
};

uint8_t netfilter_family(dataplane::Family family);  // NFPROTO_IPV4 or NFPROTO_IPV6

}  // namespace fairlead::nftables
