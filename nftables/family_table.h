// Table `fairlead` of one family: what is installed, and how a delta gets there.
//
// Every entry has a Record of what stands for it. A delta is rendered entry by entry, compared with
// the record, and sent in transactions of bounded size; an entry is never split over two. When the
// kernel refuses a transaction, it is halved until the guilty entry stands alone; that one is
// reported, the others go in.
//
// At start the table may hold an earlier run's elements. They are read once; entries of the first
// complete delta take over the numbers, slots and tokens that they find, so that an unchanged
// service changes nothing in the kernel and affinity survives; what nobody takes over goes at the
// end.
//
// Threads: one owner.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "nftables/kernel_state.h"
#include "nftables/layout.h"
#include "nftables/netlink.h"
#include "nftables/render.h"
#include "nftables/text_client.h"
#include "nftables/transaction.h"

namespace fairlead::nftables {

struct FamilyOptions {
  uint32_t affinity_limit = 1U << 18;  // remembered clients; beyond it new ones have no affinity
  size_t elements_per_transaction = 5000;  // where loading is fastest and no commit takes long
  size_t element_limit = 8U << 20;         // entries that would exceed it are refused
};

class FamilyTable {
 public:
  // Preconditions: `transport` and `text` outlive it.
  FamilyTable(dataplane::Family family, NetlinkTransport& transport, TextClient& text,
              FamilyOptions options);

  // Installs the static part, or puts it right, and reads the elements of an earlier run.
  Status start(const dataplane::NodeRules& rules);
  // The same for changed node rules: only what differs is rewritten.
  Status set_node_rules(const dataplane::NodeRules& rules);

  struct Change {
    const dataplane::EntryKey* key = nullptr;
    dataplane::EntryPointer entry;  // null: remove
  };
  // Applies all changes; appends what the kernel refused. A Status means that nothing can be
  // applied now; what went in before it is recorded.
  Status apply(const std::vector<Change>& changes, std::vector<dataplane::Refusal>& refused);
  // Ends the first complete delta: removes what an earlier run left and no entry took over, and
  // entries not in `keep`.
  Status finish_complete(
      const boost::unordered_flat_set<dataplane::EntryKey, dataplane::EntryKeyHash>& keep,
      std::vector<dataplane::Refusal>& refused);

  Status audit(dataplane::AuditReport& report);
  Status remove();  // the whole table

  KernelState& kernel() { return kernel_; }
  size_t element_count() const { return element_count_; }
  size_t entry_count() const { return records_.size(); }
  uint64_t operations() const { return operations_; }  // elements added and deleted so far
  // Commits by this object so far: what the generation has grown by if nobody else committed.
  uint64_t commits() const { return commits_; }

 private:
  // An address that several entries share an element for, and how many do.
  struct AddressHash {
    size_t operator()(const dataplane::Address& address) const {
      return dataplane::stable_hash(address.bytes());
    }
  };
  using AddressCounts = boost::unordered_flat_map<dataplane::Address, uint32_t, AddressHash>;
  struct ElementKeyHash {
    size_t operator()(const Element& element) const {
      return dataplane::stable_hash(element.key_bytes(), element.set);
    }
  };
  struct ElementKeyEqual {
    bool operator()(const Element& a, const Element& b) const { return same_key(a, b); }
  };
  using ElementSet = boost::unordered_flat_set<Element, ElementKeyHash, ElementKeyEqual>;

  // Everything that one transaction is going to change, so that it can be taken back.
  struct Plan;

  Status install_static(dataplane::AuditReport* report);
  Status adopt();
  Status commit_range(const Change* begin, const Change* end,
                      std::vector<dataplane::Refusal>& refused);
  Result<bool> commit(Plan& plan);  // false: the kernel refused, see last_refusal_
  void plan_change(const Change& change, Plan& plan);
  void plan_sets(const dataplane::ForwardingEntry& entry, const Record* before, Record& after,
                 Plan& plan);
  void plan_difference(std::vector<Element>& before, std::vector<Element>& after, Plan& plan);
  void plan_shared(AddressCounts& counts, const std::vector<dataplane::Address>& before,
                   const std::vector<dataplane::Address>& after, bool cluster_ip, Plan& plan);
  void take_back(Plan& plan);
  void keep(Plan& plan);
  uint32_t class_number(const PickClass& pick, Plan* plan);
  InstalledSet adopted_set(const dataplane::ForwardingEntry& entry, SetId map, bool cluster,
                           const boost::unordered_flat_set<uint32_t>& taken);
  uint32_t new_set_number();
  std::vector<ChainSpec> wanted_chains() const;
  Status audit_chains(dataplane::AuditReport& report);
  Status audit_verdicts(dataplane::AuditReport& report);
  Status audit_elements(SetNumber set, std::span<const Element> expected,
                        dataplane::AuditReport& report);
  std::vector<Element> expected_elements() const;  // sorted by set and key
  Status run_repair(Transaction& repair, dataplane::AuditReport& report);
  // The two ways into the kernel.
  Status run_text(const std::string& commands);
  Result<std::vector<Refused>> transact(Transaction& transaction);
  Status count_commit(uint32_t generation_before);

  const dataplane::Family family_;
  NetlinkTransport& transport_;
  TextClient& text_;
  const FamilyOptions options_;
  KernelState kernel_;
  dataplane::NodeRules rules_;

  boost::unordered_flat_map<dataplane::EntryKey, Record, dataplane::EntryKeyHash> records_;
  std::map<PickClass, uint32_t> classes_;
  std::set<uint8_t> range_lengths_;
  AddressCounts cluster_ips_;
  AddressCounts hairpins_;
  ElementSet adopted_;  // an earlier run's elements that no entry has taken over yet
  uint32_t next_set_ = 1;
  std::vector<uint32_t> free_sets_;
  uint32_t next_token_ = 1;
  uint32_t next_class_ = 1;
  size_t element_count_ = 0;
  uint64_t operations_ = 0;
  uint64_t commits_ = 0;
  Status last_refusal_;
};

}  // namespace fairlead::nftables
