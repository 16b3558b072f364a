// From an entry to the elements that stand for it. Pure but for the numbers, which the caller hands
// out.
//
// Threads: values and pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/status.h"
#include "dataplane/forwarding.h"
#include "nftables/layout.h"

namespace fairlead::nftables {

// One endpoint set as installed: which endpoint stands in which slot. A change moves as few slots
// as it can: clients are not remapped by slots, but every move costs two elements.
struct InstalledSet {
  uint32_t number = 0;
  PickClass pick;
  std::vector<dataplane::SocketAddress> slots;
  // With affinity, each endpoint has a token that clients are remembered by; parallel to slots. A
  // token is never given to another endpoint.
  std::vector<uint32_t> tokens;
};

// What stands in the kernel for one entry.
struct Record {
  dataplane::EntryPointer entry;
  std::optional<InstalledSet> cluster;
  std::optional<InstalledSet> local;
  std::optional<InstalledSet> split_local;  // as `local`, reached through kLocalSet
};

// kInternal when a frontend's routes are of a shape that no policy chain has.
Result<Policy> policy_of(const dataplane::Frontend& frontend);
CheckClass check_of(const dataplane::ForwardingEntry& entry, const dataplane::Frontend& frontend);

// Which sets an entry needs; a set without endpoints is not needed.
struct NeededSets {
  bool cluster = false;
  bool local = false;
  bool split_local = false;
};
NeededSets needed_sets(const dataplane::ForwardingEntry& entry);

// Puts `targets` into slots, keeping those of `before` where they are. `new_token` is called for
// each endpoint that gets a token.
InstalledSet arrange(const InstalledSet& before, const dataplane::EndpointChoice& choice,
                     const PickClass& pick, const std::function<uint32_t()>& new_token);

// The elements of a record that belong to it alone, in no order. `class_number` numbers pick
// classes. Precondition: policy_of() is ok for every frontend.
std::vector<Element> elements_of(const Record& record,
                                 const std::function<uint32_t(const PickClass&)>& class_number);

// Addresses that several entries may share an element for; with repetitions.
std::vector<dataplane::Address> cluster_ips_of(const dataplane::ForwardingEntry& entry);
std::vector<dataplane::Address> hairpin_addresses_of(const dataplane::ForwardingEntry& entry);
Element cluster_ip_element(const dataplane::Address& address);
Element hairpin_element(const dataplane::Address& address);

}  // namespace fairlead::nftables
