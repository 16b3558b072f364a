#include "ipvs/address_table.h"

#include <algorithm>

namespace fairlead::ipvs {

using dataplane::Address;

Status AddressTable::load() {
  std::vector<VirtualDevice::Held> held;
  ASSIGN_OR_RETURN(held, device_.addresses());
  const AddressSet before = std::move(elsewhere_);
  present_.clear();
  elsewhere_.clear();
  for (const VirtualDevice::Held& each : held) {
    if (each.address.family() != family_) continue;
    (each.ours ? present_ : elsewhere_).insert(each.address);
  }
  touched_.clear();
  for (const Address& address : present_) {
    if (!target(address)) touched_.push_back(address);
  }
  for (const auto& [address, count] : wanted_) {
    if (target(address) != present_.contains(address)) touched_.push_back(address);
  }
  wrong_ = touched_.size();
  return {};
}

void AddressTable::want(const Address& address) {
  if (++wanted_[address] == 1) touched_.push_back(address);
}

void AddressTable::unwant(const Address& address) {
  const auto found = wanted_.find(address);
  if (found == wanted_.end()) return;
  if (--found->second != 0) return;
  wanted_.erase(found);
  touched_.push_back(address);
}

bool AddressTable::target(const Address& address) const {
  return wanted_.contains(address) && !elsewhere_.contains(address);
}

std::vector<Address> AddressTable::take_touched() {
  std::vector<Address> touched = std::move(touched_);
  touched_.clear();
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  return touched;
}

Status AddressTable::push(std::span<const Address> addresses,
                          std::vector<std::pair<Address, Status>>& failures) {
  std::vector<Address> removed;
  std::vector<Address> added;
  for (const Address& address : addresses) {
    if (target(address) == present_.contains(address)) continue;
    (target(address) ? added : removed).push_back(address);
  }
  if (removed.empty() && added.empty()) return {};
  std::vector<Failure> refused;
  ASSIGN_OR_RETURN(refused, device_.change(removed, added));
  for (const Address& address : removed) present_.erase(address);
  present_.insert(added.begin(), added.end());
  operations_ += removed.size() + added.size() - refused.size();
  for (Failure& failure : refused) {
    const bool removing = failure.index < removed.size();
    const Address& address =
        removing ? removed[failure.index] : added[failure.index - removed.size()];
    if (removing) {
      present_.insert(address);
    } else {
      present_.erase(address);
    }
    failures.emplace_back(address, std::move(failure.status));
  }
  return {};
}

bool AddressTable::is_news(const VirtualDevice::News::Event& event) const {
  if (event.address.family() != family_) return false;
  if (event.ours) return event.added != present_.contains(event.address);
  return event.added != elsewhere_.contains(event.address);
}

}  // namespace fairlead::ipvs
