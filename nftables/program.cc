#include "nftables/program.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

namespace fairlead::nftables {
namespace {

// Offsets of RFC 791 and RFC 8200.
struct HeaderOffsets {
  uint32_t source;
  uint32_t destination;
  uint32_t size;
};
constexpr HeaderOffsets kIpv4Header = {12, 16, 4};
constexpr HeaderOffsets kIpv6Header = {8, 24, 16};

const HeaderOffsets& offsets(dataplane::Family family) {
  return family == dataplane::Family::kIPv4 ? kIpv4Header : kIpv6Header;
}

std::string set_name(SetNumber set, dataplane::Family family) {
  return describe_set(set, family).name;
}

}  // namespace

uint8_t netfilter_family(dataplane::Family family) {
  return family == dataplane::Family::kIPv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

RuleWriter::RuleWriter(MessageWriter& out, dataplane::Family family, std::string_view chain,
                       std::string_view comment)
    : r(family), out_(out), family_(family), comment_(comment) {
  out_.begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, netfilter_family(family));
  out_.string(NFTA_RULE_TABLE, kTable);
  out_.string(NFTA_RULE_CHAIN, chain);
  out_.nest(NFTA_RULE_EXPRESSIONS);
}

RuleWriter::~RuleWriter() {
  out_.unnest();
  // nft's own records: type 0 is the comment, its length counts the final zero byte.
  Bytes userdata = {0, static_cast<uint8_t>(comment_.size() + 1)};
  userdata.insert(userdata.end(), comment_.begin(), comment_.end());
  userdata.push_back(0);
  out_.attribute(NFTA_RULE_USERDATA, userdata);
  out_.end();
}

void RuleWriter::begin(std::string_view name) {
  out_.nest(NFTA_LIST_ELEM);
  out_.string(NFTA_EXPR_NAME, name);
  out_.nest(NFTA_EXPR_DATA);
}

void RuleWriter::end() {
  out_.unnest();
  out_.unnest();
}

void RuleWriter::payload(uint32_t base, uint32_t offset, uint32_t length, uint32_t into) {
  begin("payload");
  out_.u32(NFTA_PAYLOAD_DREG, into);
  out_.u32(NFTA_PAYLOAD_BASE, base);
  out_.u32(NFTA_PAYLOAD_OFFSET, offset);
  out_.u32(NFTA_PAYLOAD_LEN, length);
  end();
}

void RuleWriter::meta_load(uint32_t key, uint32_t into) {
  begin("meta");
  out_.u32(NFTA_META_DREG, into);
  out_.u32(NFTA_META_KEY, key);
  end();
}

void RuleWriter::meta_store(uint32_t key, uint32_t from) {
  begin("meta");
  out_.u32(NFTA_META_SREG, from);
  out_.u32(NFTA_META_KEY, key);
  end();
}

void RuleWriter::immediate_verdict(int32_t code, std::string_view chain) {
  begin("immediate");
  out_.u32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
  out_.data_verdict(NFTA_IMMEDIATE_DATA, code, chain);
  end();
}

void RuleWriter::compare(uint32_t reg, uint32_t operation, ByteView value) {
  begin("cmp");
  out_.u32(NFTA_CMP_SREG, reg);
  out_.u32(NFTA_CMP_OP, operation);
  out_.data_value(NFTA_CMP_DATA, value);
  end();
}

RuleWriter& RuleWriter::load_frontend(KeySource source) {
  const HeaderOffsets& header = offsets(family_);
  if (source == KeySource::kDestination) {
    payload(NFT_PAYLOAD_NETWORK_HEADER, header.destination, header.size, r.frontend());
  } else {
    // Node ports share the maps under the unspecified address.
    const std::array<uint8_t, 16> zero{};
    begin("immediate");
    out_.u32(NFTA_IMMEDIATE_DREG, r.frontend());
    out_.data_value(NFTA_IMMEDIATE_DATA, {zero.data(), header.size});
    end();
  }
  meta_load(NFT_META_L4PROTO, r.frontend() + r.width());
  payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, r.frontend() + r.width() + 1);
  return *this;
}

RuleWriter& RuleWriter::load_source(uint32_t into) {
  payload(NFT_PAYLOAD_NETWORK_HEADER, offsets(family_).source, offsets(family_).size, into);
  return *this;
}

RuleWriter& RuleWriter::load_destination(uint32_t into) {
  payload(NFT_PAYLOAD_NETWORK_HEADER, offsets(family_).destination, offsets(family_).size, into);
  return *this;
}

RuleWriter& RuleWriter::mask_address(uint32_t address, uint8_t prefix_length) {
  std::array<uint8_t, 16> mask{};
  const std::array<uint8_t, 16> zero{};
  for (unsigned bit = 0; bit < prefix_length; ++bit) {
    mask[bit / 8] = static_cast<uint8_t>(mask[bit / 8] | 0x80U >> bit % 8);
  }
  const uint32_t size = offsets(family_).size;
  begin("bitwise");
  out_.u32(NFTA_BITWISE_SREG, address);
  out_.u32(NFTA_BITWISE_DREG, address);
  out_.u32(NFTA_BITWISE_LEN, size);
  out_.u32(NFTA_BITWISE_OP, NFT_BITWISE_BOOL);
  out_.data_value(NFTA_BITWISE_MASK, {mask.data(), size});
  out_.data_value(NFTA_BITWISE_XOR, {zero.data(), size});
  end();
  return *this;
}

RuleWriter& RuleWriter::lookup_number(SetId map, uint32_t key, uint32_t into) {
  begin("lookup");
  out_.string(NFTA_LOOKUP_SET, set_name(number_of(map), family_));
  out_.u32(NFTA_LOOKUP_SREG, key);
  out_.u32(NFTA_LOOKUP_DREG, into);
  end();
  meta_load(NFT_META_PRIORITY, r.scratch());
  meta_store(NFT_META_PRIORITY, into);
  meta_load(NFT_META_PRIORITY, into);
  meta_store(NFT_META_PRIORITY, r.scratch());
  return *this;
}

RuleWriter& RuleWriter::lookup_target(SetId map, uint32_t key) {
  begin("lookup");
  out_.string(NFTA_LOOKUP_SET, set_name(number_of(map), family_));
  out_.u32(NFTA_LOOKUP_SREG, key);
  out_.u32(NFTA_LOOKUP_DREG, r.target());
  end();
  return *this;
}

RuleWriter& RuleWriter::lookup_verdict(SetId map, uint32_t key) {
  begin("lookup");
  out_.string(NFTA_LOOKUP_SET, set_name(number_of(map), family_));
  out_.u32(NFTA_LOOKUP_SREG, key);
  out_.u32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
  end();
  return *this;
}

RuleWriter& RuleWriter::lookup_member(SetNumber set, uint32_t key) {
  begin("lookup");
  out_.string(NFTA_LOOKUP_SET, set_name(set, family_));
  out_.u32(NFTA_LOOKUP_SREG, key);
  end();
  return *this;
}

RuleWriter& RuleWriter::random_slot(uint32_t modulus) {
  begin("numgen");
  out_.u32(NFTA_NG_DREG, r.slot());
  out_.u32(NFTA_NG_MODULUS, modulus);
  out_.u32(NFTA_NG_TYPE, NFT_NG_RANDOM);
  out_.u32(NFTA_NG_OFFSET, 0);
  end();
  return *this;
}

RuleWriter& RuleWriter::destination_nat() {
  begin("nat");
  out_.u32(NFTA_NAT_TYPE, NFT_NAT_DNAT);
  out_.u32(NFTA_NAT_FAMILY, netfilter_family(family_));
  out_.u32(NFTA_NAT_REG_ADDR_MIN, r.target());
  out_.u32(NFTA_NAT_REG_PROTO_MIN, r.target_port());
  end();
  return *this;
}

void RuleWriter::fib_type(bool source) {
  begin("fib");
  out_.u32(NFTA_FIB_DREG, r.scratch());
  out_.u32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
  out_.u32(NFTA_FIB_FLAGS, source ? NFTA_FIB_F_SADDR : NFTA_FIB_F_DADDR);
  end();
  const uint32_t local = RTN_LOCAL;
  compare(r.scratch(), NFT_CMP_EQ, {reinterpret_cast<const uint8_t*>(&local), sizeof local});
}

RuleWriter& RuleWriter::source_is_local() {
  fib_type(true);
  return *this;
}

RuleWriter& RuleWriter::destination_is_local() {
  fib_type(false);
  return *this;
}

RuleWriter& RuleWriter::interface_is(std::string_view name) {
  std::array<uint8_t, IFNAMSIZ> padded{};
  std::copy_n(name.begin(), std::min<size_t>(name.size(), IFNAMSIZ - 1), padded.begin());
  meta_load(NFT_META_IIFNAME, r.frontend());
  compare(r.frontend(), NFT_CMP_EQ, padded);
  return *this;
}

RuleWriter& RuleWriter::interface_begins(std::string_view prefix) {
  meta_load(NFT_META_IIFNAME, r.frontend());
  compare(r.frontend(), NFT_CMP_EQ,
          {reinterpret_cast<const uint8_t*>(prefix.data()),
           std::min<size_t>(prefix.size(), IFNAMSIZ - 1)});
  return *this;
}

RuleWriter& RuleWriter::not_loopback_destination() {
  load_destination(r.frontend());
  if (family_ == dataplane::Family::kIPv4) {
    mask_address(r.frontend(), 8);
    const std::array<uint8_t, 4> loopback = {127, 0, 0, 0};
    compare(r.frontend(), NFT_CMP_NEQ, loopback);
  } else {
    std::array<uint8_t, 16> loopback{};
    loopback[15] = 1;
    compare(r.frontend(), NFT_CMP_NEQ, loopback);
  }
  return *this;
}

RuleWriter& RuleWriter::set_mark_bit(uint32_t bit) {
  meta_load(NFT_META_MARK, r.scratch());
  const uint32_t mask = ~bit;  // (mark & ~bit) ^ bit
  begin("bitwise");
  out_.u32(NFTA_BITWISE_SREG, r.scratch());
  out_.u32(NFTA_BITWISE_DREG, r.scratch());
  out_.u32(NFTA_BITWISE_LEN, sizeof bit);
  out_.u32(NFTA_BITWISE_OP, NFT_BITWISE_BOOL);
  out_.data_value(NFTA_BITWISE_MASK, {reinterpret_cast<const uint8_t*>(&mask), sizeof mask});
  out_.data_value(NFTA_BITWISE_XOR, {reinterpret_cast<const uint8_t*>(&bit), sizeof bit});
  end();
  meta_store(NFT_META_MARK, r.scratch());
  return *this;
}

void RuleWriter::dynamic_set(uint32_t operation, uint64_t timeout_ms) {
  begin("dynset");
  out_.string(NFTA_DYNSET_SET_NAME, set_name(number_of(SetId::kAffinity), family_));
  out_.u32(NFTA_DYNSET_OP, operation);
  out_.u32(NFTA_DYNSET_SREG_KEY, r.source());
  // The kernel wants a data register for maps, even to delete.
  out_.u32(NFTA_DYNSET_SREG_DATA, operation == NFT_DYNSET_OP_DELETE ? r.set() : r.slot());
  if (timeout_ms != 0) out_.u64(NFTA_DYNSET_TIMEOUT, timeout_ms);
  end();
}

RuleWriter& RuleWriter::remember_affinity(uint32_t timeout_seconds) {
  dynamic_set(NFT_DYNSET_OP_UPDATE, uint64_t{timeout_seconds} * 1000);
  return *this;
}

RuleWriter& RuleWriter::forget_affinity() {
  dynamic_set(NFT_DYNSET_OP_DELETE, 0);
  return *this;
}

RuleWriter& RuleWriter::jump(std::string_view chain) {
  immediate_verdict(NFT_JUMP, chain);
  return *this;
}

RuleWriter& RuleWriter::go_to(std::string_view chain) {
  immediate_verdict(NFT_GOTO, chain);
  return *this;
}

RuleWriter& RuleWriter::back() {
  immediate_verdict(NFT_RETURN, {});
  return *this;
}

RuleWriter& RuleWriter::drop(std::string_view counter) {
  if (!counter.empty()) {
    begin("objref");
    out_.u32(NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
    out_.string(NFTA_OBJREF_IMM_NAME, counter);
    end();
  }
  immediate_verdict(NF_DROP, {});
  return *this;
}

}  // namespace fairlead::nftables
