// Reading back what is installed: for adoption at start, for audits and for counters. Never on the
// path of an update.
//
// Threads: one owner.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "nftables/layout.h"
#include "nftables/netlink.h"

namespace fairlead::nftables {

class KernelState {
 public:
  // Precondition: `transport` outlives it.
  KernelState(NetlinkTransport& transport, dataplane::Family family)
      : transport_(transport), family_(family) {}

  // A number that grows with every committed transaction of anybody in this network namespace.
  Result<uint32_t> generation();
  Result<bool> table_exists();
  // Names of the table's sets and maps.
  Result<std::vector<std::string>> sets();
  // Every chain of the table with the comments of its rules, in order.
  Result<std::map<std::string, std::vector<std::string>>> chains();
  // The elements of one set, in no order. Interval ends and comments are left out.
  Result<std::vector<Element>> elements(SetNumber set);
  // The elements of a verdict map: number -> chain.
  Result<std::map<uint32_t, std::string>> verdicts(SetId map);
  // Packets seen by each named counter.
  Result<std::map<std::string, uint64_t>> counters();

 private:
  Status dump(uint16_t message, bool all, const std::function<void(MessageWriter&)>& attributes,
              const std::function<void(ByteView)>& each);
  Status dump_elements(SetNumber set, const std::function<void(ByteView element)>& each);

  NetlinkTransport& transport_;
  dataplane::Family family_;
};

}  // namespace fairlead::nftables
