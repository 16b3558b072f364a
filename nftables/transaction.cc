#include "nftables/transaction.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>

#include <algorithm>

#include "nftables/program.h"

namespace fairlead::nftables {
namespace {

// A list of elements is one attribute, whose length has 16 bits; 16 KiB is where loading is
// fastest.
constexpr size_t kElementListBytes = 16 << 10;

// nft's datatype numbers (its src/datatype.c), for listings: six bits a field, the first most
// significant.
constexpr uint32_t kIpv4Type = 7;
constexpr uint32_t kIpv6Type = 8;
constexpr uint32_t kProtocolType = 12;
constexpr uint32_t kPortType = 13;

}  // namespace

void Transaction::write_elements(MessageWriter& out, std::vector<Element>& elements,
                                 bool adding) const {
  std::stable_sort(elements.begin(), elements.end(),
                   [](const Element& a, const Element& b) { return a.set < b.set; });
  const auto finish = [&out] {
    out.unnest();
    out.end();
  };
  const Element* previous = nullptr;
  for (const Element& element : elements) {
    if (previous != nullptr &&
        (previous->set != element.set || out.nest_size() > kElementListBytes)) {
      finish();
      previous = nullptr;
    }
    if (previous == nullptr) {
      // Exclusive: an element that stands already is another entry's, even if it is alike, and goes
      // with that one.
      out.begin(adding ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
                adding ? NLM_F_CREATE | NLM_F_EXCL : 0, netfilter_family(family_));
      out.string(NFTA_SET_ELEM_LIST_TABLE, kTable);
      out.string(NFTA_SET_ELEM_LIST_SET, describe_set(element.set, family_).name);
      out.nest(NFTA_SET_ELEM_LIST_ELEMENTS);
    }
    out.nest(NFTA_LIST_ELEM);
    out.data_value(NFTA_SET_ELEM_KEY, element.key_bytes());
    if (adding && element.data_size != 0) {
      out.data_value(NFTA_SET_ELEM_DATA, element.data_bytes());
    }
    out.unnest();
    previous = &element;
  }
  if (previous != nullptr) finish();
}

void Transaction::write_verdict(MessageWriter& out, const Verdict& verdict, bool adding) const {
  out.begin(adding ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, adding ? NLM_F_CREATE : 0,
            netfilter_family(family_));
  out.string(NFTA_SET_ELEM_LIST_TABLE, kTable);
  out.string(NFTA_SET_ELEM_LIST_SET, describe_set(number_of(verdict.map), family_).name);
  out.nest(NFTA_SET_ELEM_LIST_ELEMENTS);
  out.nest(NFTA_LIST_ELEM);
  out.data_value(NFTA_SET_ELEM_KEY, {reinterpret_cast<const uint8_t*>(&verdict.number), 4});
  if (adding) out.data_verdict(NFTA_SET_ELEM_DATA, NFT_GOTO, verdict.chain);
  out.unnest();
  out.unnest();
  out.end();
}

void Transaction::write_chains(MessageWriter& out) const {
  const uint8_t family = netfilter_family(family_);
  for (const ChainSpec& chain : chains_) {
    out.begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE, family);
    out.string(NFTA_CHAIN_TABLE, kTable);
    out.string(NFTA_CHAIN_NAME, chain.name);
    out.end();
    out.begin(NFT_MSG_DELRULE, 0, family);  // no handle: all rules of the chain
    out.string(NFTA_RULE_TABLE, kTable);
    out.string(NFTA_RULE_CHAIN, chain.name);
    out.end();
    const std::vector<std::string> comments = fingerprints(chain, family_);
    for (size_t i = 0; i < chain.rules.size(); ++i) {
      RuleWriter rule(out, family_, chain.name, comments[i]);
      chain.rules[i].program(rule);
    }
  }
}

void Transaction::write_range_sets(MessageWriter& out) const {
  const uint32_t address = family_ == dataplane::Family::kIPv4 ? kIpv4Type : kIpv6Type;
  uint32_t set_id = 1;
  for (const uint8_t length : range_sets_) {
    const SetSpec spec = describe_set(source_range_set(length), family_);
    out.begin(NFT_MSG_NEWSET, NLM_F_CREATE, netfilter_family(family_));
    out.string(NFTA_SET_TABLE, kTable);
    out.string(NFTA_SET_NAME, spec.name);
    out.u32(NFTA_SET_FLAGS, 0);
    out.u32(NFTA_SET_KEY_TYPE, ((address << 6 | kProtocolType) << 6 | kPortType) << 6 | address);
    out.u32(NFTA_SET_KEY_LEN, spec.key_size);
    out.u32(NFTA_SET_ID, set_id++);
    out.end();
  }
}

MessageWriter Transaction::build() {
  MessageWriter out;
  out.batch_begin();
  write_elements(out, removed_, false);
  for (const Verdict& verdict : removed_verdicts_) write_verdict(out, verdict, false);
  write_range_sets(out);
  write_chains(out);
  for (const Verdict& verdict : verdicts_) write_verdict(out, verdict, true);
  write_elements(out, added_, true);
  out.batch_end();
  return out;
}

}  // namespace fairlead::nftables
