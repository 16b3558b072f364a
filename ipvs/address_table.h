// The virtual addresses of one family on our device.
//
// An address that another device has is the node's own already and never put on ours: it is then
// left out of what `target()` says, and comes back when the other device loses it.
//
// Threads: one owner.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "ipvs/host.h"

namespace fairlead::ipvs {

struct AddressHash {
  size_t operator()(const dataplane::Address& address) const {
    return dataplane::stable_hash(address.bytes());
  }
};
using AddressSet = boost::unordered_flat_set<dataplane::Address, AddressHash>;

class AddressTable {
 public:
  AddressTable(VirtualDevice& device, dataplane::Family family)
      : device_(device), family_(family) {}

  Status load();

  void want(const dataplane::Address& address);
  void unwant(const dataplane::Address& address);

  // Whether the address is to be on the device, as of now.
  bool target(const dataplane::Address& address) const;
  // Addresses whose target() may have changed since the last call, each once.
  std::vector<dataplane::Address> take_touched();

  // Puts those of `addresses` there whose target() says so and takes the others off.
  Status push(std::span<const dataplane::Address> addresses,
              std::vector<std::pair<dataplane::Address, Status>>& failures);

  // Ours on the device; not ours, on other devices.
  bool on_device(const dataplane::Address& address) const { return present_.contains(address); }
  const AddressSet& elsewhere() const { return elsewhere_; }
  // True when the event is news: not what we did ourselves, and the node's own addresses changed or
  // somebody worked on our device.
  bool is_news(const VirtualDevice::News::Event& event) const;

  size_t size() const { return present_.size(); }
  uint64_t operations() const { return operations_; }
  uint64_t wrong() const { return wrong_; }

 private:
  VirtualDevice& device_;
  const dataplane::Family family_;
  boost::unordered_flat_map<dataplane::Address, uint32_t, AddressHash> wanted_;
  AddressSet present_;
  AddressSet elsewhere_;
  std::vector<dataplane::Address> touched_;
  uint64_t operations_ = 0;
  uint64_t wrong_ = 0;
};

}  // namespace fairlead::ipvs
