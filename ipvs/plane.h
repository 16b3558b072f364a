// One family's part of the mode: records of what every entry is, and the order in which the kernel
// is told.
//
// The order: set elements come in (who is let in, who is masqueraded; they are also the record of
// which virtual servers are ours); servers of addresses that are not here yet; these addresses;
// then addresses, servers and elements go; servers of addresses that were here before; last, what
// shuts out clients for want of a local endpoint. So no packet comes to an address before there is
// a server for it, nobody meets an endpoint elsewhere by the rules of policy Local, clients are
// shut out before a server ends and let in when it has endpoints again, and a run that ended in
// between leaves nothing that the next one would not know as its own.
//
// An entry that the kernel refuses is put back to what it was and reported; the others go in.
//
// Threads: one owner.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/backend.h"
#include "iptables/tool.h"
#include "ipvs/address_table.h"
#include "ipvs/host.h"
#include "ipvs/options.h"
#include "ipvs/render.h"
#include "ipvs/rules.h"
#include "ipvs/server_table.h"
#include "ipvs/set_table.h"

namespace fairlead::ipvs {

// The ways to the kernel; all outlive their users.
struct Seams {
  VirtualServers& servers;
  Sets& sets;
  VirtualDevice& device;
  KernelSettings& settings;
  iptables::Tool& iptables;
  const std::string& route_localnet;  // the setting's file
};

class Plane {
 public:
  Plane(dataplane::Family family, Seams seams, const Options& options);

  // Sets, rules; reads what an earlier run left. Precondition: the device exists.
  Status start(const dataplane::NodeRules& rules);
  // Rules, and the entries that depend on the node.
  Status set_node_rules(const dataplane::NodeRules& rules,
                        std::vector<dataplane::Refusal>& refused);

  struct Change {
    const dataplane::EntryKey* key = nullptr;
    dataplane::EntryPointer entry;  // null: remove
  };
  // `complete`: these are all; whatever else is there goes.
  Status apply(const std::vector<Change>& changes, bool complete,
               std::vector<dataplane::Refusal>& refused);

  // Compares everything and repairs it. kUnsupported: but for the rules, as the tool cannot show
  // them.
  Status audit(dataplane::AuditReport& report, std::vector<dataplane::Refusal>& refused);
  // Destinations that have served their last connection go.
  Status reap() { return servers_.reap(); }
  // Has Fairlead, in this run or an earlier one, made what is there?
  Result<bool> owned();
  // Removes all of it, of this run or an earlier one, but for the device itself. Precondition:
  // owned().
  Status remove();
  // Removes our rules in what `tool` shows; the mark of ownership, in mangle, is the last to go.
  Status remove_rules(iptables::Tool& tool, Guard guard) const;
  // Does any connection go by our servers?
  Result<bool> has_connections();
  // Keeps what such connections need: servers of weight 0, their addresses, the elements by which
  // both are known as ours, and a guard of these addresses. False: there are no connections (any
  // more), and nothing has been done. `retired`: what the calls before have found. Precondition:
  // owned(), and nobody new gets to our servers.
  struct Retired {
    bool rules_gone = false;
    std::vector<uint64_t> stamps;  // of the guard's tables
  };
  Result<bool> retire(Retired& retired);

  bool is_news(const VirtualDevice::News::Event& event) const { return addresses_.is_news(event); }
  bool rules_touched();  // somebody may have changed the iptables rules
  // Tables that have not been looked at since they were written count as untouched from here on.
  Status restamp();
  bool astray() const { return astray_ || servers_.astray(); }

  dataplane::Family family() const { return family_; }
  const SetTable& sets() const { return sets_; }
  const ServerTable& servers() const { return servers_; }
  size_t addresses() const { return addresses_.size(); }
  uint64_t operations() const {
    return sets_.operations() + servers_.operations() + addresses_.operations();
  }

 private:
  struct Record {
    dataplane::EntryPointer entry;
    uint32_t mark_number = 0;  // counts when the entry needs one
  };
  // One entry on its way from what it was to what it will be.
  struct Step {
    dataplane::EntryKey key;
    Record before;  // no entry: there was none
    Record after;
    Rendering old_rendering;
    Rendering new_rendering;
    Status refusal;
  };

  // What iptables-save has just said, by table; the others are asked for. Each is a process.
  using SavedTables = std::map<std::string, std::string, std::less<>>;
  Status install_rules(SavedTables saved = {});
  Status audit_rules(dataplane::AuditReport& report);
  Status load();
  View make_view() const;
  Result<uint32_t> mark_for(const dataplane::ForwardingEntry& entry, const View& view);
  Result<Step> make_step(const Change& change, const View& old_view, const View& new_view);
  void refuse_conflicts(std::vector<Step>& steps);
  // `whole`: everything is compared, not only what the steps touch. Steps that are refused are
  // taken back.
  Status run(std::vector<Step>& steps, bool whole, std::vector<dataplane::Refusal>& refused);
  void take_wants(const std::vector<Step>& steps);
  Status push(std::vector<Step>& steps, bool whole);
  // Entries with node ports go where the node's addresses went.
  Status follow_node(bool whole, std::vector<dataplane::Refusal>& refused);
  // The sets that have a server's address, port and protocol.
  std::vector<SetId> sets_with(const SetElement& server) const;
  bool is_recorded(const ServerKey& key) const;  // in our sets, so
  bool is_ours(const ServerKey& key) const;
  std::vector<ServerKey> take_leftovers(std::span<const WantedServer> wanted);
  Status guard(Retired& retired);
  void want_what_serves();

  const dataplane::Family family_;
  Seams seams_;
  const Options& options_;
  SetTable sets_;
  ServerTable servers_;
  AddressTable addresses_;

  dataplane::NodeRules rules_;
  View view_;
  boost::unordered_flat_map<dataplane::EntryKey, Record, dataplane::EntryKeyHash> records_;
  boost::unordered_flat_set<ServerKey, ServerKeyHash> claimed_;  // by records
  AddressSet listed_;                                            // wanted in set kAddresses
  boost::unordered_flat_set<uint32_t> marks_in_use_;             // their numbers
  uint32_t next_mark_ = 1;
  bool rules_due_ = false;  // ours are not in yet
  bool complete_ = false;   // the first complete delta has been applied
  bool astray_ = true;      // what is in the kernel is not known

  std::vector<TableRules> wanted_rules_;
  // our_part() of each table as first seen after our last writing; empty: not seen yet.
  std::vector<std::string> installed_rules_;
  std::vector<uint64_t> stamps_;  // of each table, likewise
};

}  // namespace fairlead::ipvs
