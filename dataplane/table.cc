#include "dataplane/table.h"

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

namespace fairlead::dataplane {
namespace {

struct ObjectNameHash {
  size_t operator()(const ObjectName& name) const {
    return stable_hash(name.name, stable_hash(name.name_space));
  }
};

// What only one entry can have: a virtual address, or a node port of a family.
struct Claim {
  SocketAddress address;
  Protocol protocol;
  bool node_port;

  friend auto operator<=>(const Claim&, const Claim&) = default;
};

struct ClaimHash {
  size_t operator()(const Claim& claim) const {
    return stable_hash(claim.address,
                       static_cast<uint64_t>(claim.protocol) << 1 | (claim.node_port ? 1U : 0U));
  }
};

Claim claim_of(const ForwardingEntry& entry, const Frontend& frontend) {
  return {frontend.address, entry.key.protocol, frontend.kind == FrontendKind::kNodePort};
}

// The older service first; one that does not tell its age is the youngest; then by name.
bool outranks(const ForwardingEntry& a, const ForwardingEntry& b) {
  const auto age = [](const ForwardingEntry& entry) {
    return entry.created_at > 0 ? entry.created_at : std::numeric_limits<int64_t>::max();
  };
  return std::forward_as_tuple(age(a), a.key) < std::forward_as_tuple(age(b), b.key);
}

bool same_claims(const ForwardingEntry& a, const ForwardingEntry& b) {
  return a.created_at == b.created_at && a.frontends == b.frontends;
}

// As the service wants it, and as it may have it. The two are one object unless an address is lost.
struct Slot {
  EntryPointer wanted;
  EntryPointer effective;
};

}  // namespace

struct ForwardingTable::State {
  boost::unordered_flat_map<ObjectName, std::vector<Slot>, ObjectNameHash> services;
  size_t entry_count = 0;
  // Who claims what. Nearly every claim has one claimant; the few contested ones list all, in rank.
  boost::unordered_flat_map<Claim, EntryPointer, ClaimHash> sole_claims;
  std::map<Claim, std::vector<EntryPointer>> contested;
  boost::unordered_flat_set<EntryKey, EntryKeyHash> changed;

  Slot* find(const EntryKey& key) {
    const auto service = services.find(key.service);
    if (service == services.end()) return nullptr;
    for (Slot& slot : service->second) {
      if (slot.wanted->key == key) return &slot;
    }
    return nullptr;
  }

  // Both collect into `touched` the keys of other entries whose standing may have changed.
  void add_claims(const EntryPointer& entry, std::vector<EntryKey>& touched);
  void drop_claims(const EntryPointer& entry, std::vector<EntryKey>& touched);
  bool loses(const ForwardingEntry& entry, const Frontend& frontend) const;
  // Recomputes what `slot` may have; marks it changed when that differs from before.
  void settle(Slot& slot);
};

void ForwardingTable::State::add_claims(const EntryPointer& entry, std::vector<EntryKey>& touched) {
  for (const Frontend& frontend : entry->frontends) {
    const Claim claim = claim_of(*entry, frontend);
    const auto [sole, inserted] = sole_claims.try_emplace(claim, entry);
    if (inserted) continue;
    std::vector<EntryPointer>& claimants = contested[claim];
    if (claimants.empty()) claimants.push_back(sole->second);
    for (const EntryPointer& other : claimants) touched.push_back(other->key);
    claimants.insert(std::upper_bound(claimants.begin(), claimants.end(), entry,
                                      [](const EntryPointer& a, const EntryPointer& b) {
                                        return outranks(*a, *b);
                                      }),
                     entry);
    sole->second = claimants.front();
  }
}

void ForwardingTable::State::drop_claims(const EntryPointer& entry,
                                         std::vector<EntryKey>& touched) {
  for (const Frontend& frontend : entry->frontends) {
    const Claim claim = claim_of(*entry, frontend);
    const auto list = contested.find(claim);
    if (list == contested.end()) {
      sole_claims.erase(claim);
      continue;
    }
    std::vector<EntryPointer>& claimants = list->second;
    claimants.erase(std::find(claimants.begin(), claimants.end(), entry));
    for (const EntryPointer& other : claimants) touched.push_back(other->key);
    sole_claims[claim] = claimants.front();
    if (claimants.size() == 1) contested.erase(list);
  }
}

bool ForwardingTable::State::loses(const ForwardingEntry& entry, const Frontend& frontend) const {
  const auto owner = sole_claims.find(claim_of(entry, frontend));
  return owner != sole_claims.end() && owner->second->key != entry.key;
}

void ForwardingTable::State::settle(Slot& slot) {
  const ForwardingEntry& wanted = *slot.wanted;
  const bool whole =
      std::none_of(wanted.frontends.begin(), wanted.frontends.end(),
                   [&](const Frontend& frontend) { return loses(wanted, frontend); });
  EntryPointer effective = slot.wanted;
  if (!whole) {
    auto reduced = std::make_shared<ForwardingEntry>(wanted);
    std::erase_if(reduced->frontends,
                  [&](const Frontend& frontend) { return loses(wanted, frontend); });
    effective = std::move(reduced);
  }
  const bool changed_now = !slot.effective || !(*slot.effective == *effective);
  // Equal entries keep the old object: whoever holds it shares it.
  if (changed_now || whole) slot.effective = effective;
  if (changed_now) changed.insert(wanted.key);
}

ForwardingTable::ForwardingTable() : state_(std::make_unique<State>()) {}
ForwardingTable::~ForwardingTable() = default;

void ForwardingTable::replace(const ObjectName& service, std::vector<ForwardingEntry> entries) {
  State& state = *state_;
  std::vector<Slot> old_slots;
  if (const auto known = state.services.find(service); known != state.services.end()) {
    old_slots = std::move(known->second);
  } else if (entries.empty()) {
    return;
  }
  const auto old_slot_of = [&](const EntryKey& key) {
    return std::find_if(old_slots.begin(), old_slots.end(),
                        [&](const Slot& slot) { return slot.wanted && slot.wanted->key == key; });
  };

  std::vector<Slot> new_slots;
  new_slots.reserve(entries.size());
  std::vector<EntryKey> touched;
  std::vector<EntryPointer> claims_to_drop;
  std::vector<EntryPointer> claims_to_add;
  for (ForwardingEntry& entry : entries) {
    const auto old_slot = old_slot_of(entry.key);
    if (old_slot == old_slots.end()) {
      Slot slot{std::make_shared<const ForwardingEntry>(std::move(entry)), nullptr};
      claims_to_add.push_back(slot.wanted);
      new_slots.push_back(std::move(slot));
      continue;
    }
    Slot slot = std::move(*old_slot);
    *old_slot = {};
    if (!(*slot.wanted == entry)) {
      auto wanted = std::make_shared<const ForwardingEntry>(std::move(entry));
      claims_to_drop.push_back(slot.wanted);
      claims_to_add.push_back(wanted);
      // Claims hold the entry itself, so the new object takes over even where they are the same.
      if (same_claims(*slot.wanted, *wanted)) touched.push_back(wanted->key);
      slot.wanted = std::move(wanted);
    }
    new_slots.push_back(std::move(slot));
  }
  for (Slot& slot : old_slots) {
    if (!slot.wanted) continue;
    claims_to_drop.push_back(slot.wanted);
    state.changed.insert(slot.wanted->key);
  }
  for (const EntryPointer& entry : claims_to_drop) state.drop_claims(entry, touched);
  for (const EntryPointer& entry : claims_to_add) state.add_claims(entry, touched);

  state.entry_count += new_slots.size();
  state.entry_count -= old_slots.size();
  if (new_slots.empty()) {
    state.services.erase(service);
  } else {
    std::vector<Slot>& stored = state.services[service];
    stored = std::move(new_slots);
    for (Slot& slot : stored) state.settle(slot);
  }
  for (const EntryKey& key : touched) {
    if (key.service == service) continue;
    if (Slot* slot = state.find(key)) state.settle(*slot);
  }
}

Delta ForwardingTable::pending() const {
  Delta delta;
  for (const EntryKey& key : state_->changed) {
    if (const Slot* slot = state_->find(key)) {
      delta.upserted.push_back(slot->effective);
    } else {
      delta.removed.push_back(key);
    }
  }
  std::sort(delta.upserted.begin(), delta.upserted.end(),
            [](const EntryPointer& a, const EntryPointer& b) { return a->key < b->key; });
  std::sort(delta.removed.begin(), delta.removed.end());
  return delta;
}

bool ForwardingTable::has_pending() const {
  return !state_->changed.empty();
}

void ForwardingTable::acknowledge(const Delta& delta, const std::vector<EntryKey>& refused) {
  for (const EntryPointer& entry : delta.upserted) {
    const Slot* slot = state_->find(entry->key);
    if (slot != nullptr && slot->effective == entry) state_->changed.erase(entry->key);
  }
  for (const EntryKey& key : delta.removed) {
    if (state_->find(key) == nullptr) state_->changed.erase(key);
  }
  for (const EntryKey& key : refused) state_->changed.insert(key);
}

void ForwardingTable::forget_acknowledged() {
  for (const auto& [name, slots] : state_->services) {
    for (const Slot& slot : slots) state_->changed.insert(slot.wanted->key);
  }
}

EntryPointer ForwardingTable::find(const EntryKey& key) const {
  const Slot* slot = state_->find(key);
  return slot == nullptr ? nullptr : slot->effective;
}

std::vector<EntryPointer> ForwardingTable::find_service(const ObjectName& service) const {
  std::vector<EntryPointer> found;
  const auto slots = state_->services.find(service);
  if (slots == state_->services.end()) return found;
  for (const Slot& slot : slots->second) found.push_back(slot.effective);
  return found;
}

size_t ForwardingTable::size() const {
  return state_->entry_count;
}
size_t ForwardingTable::services() const {
  return state_->services.size();
}

std::vector<EntryPointer> ForwardingTable::entries() const {
  std::vector<EntryPointer> all;
  all.reserve(state_->entry_count);
  for (const auto& [name, slots] : state_->services) {
    for (const Slot& slot : slots) all.push_back(slot.effective);
  }
  return all;
}

std::vector<FrontendConflict> ForwardingTable::conflicts() const {
  std::vector<FrontendConflict> all;
  for (const auto& [claim, claimants] : state_->contested) {
    for (size_t i = 1; i < claimants.size(); ++i) {
      const ForwardingEntry& loser = *claimants[i];
      for (const Frontend& frontend : loser.frontends) {
        if (claim_of(loser, frontend) == claim) {
          all.push_back({loser.key, claimants.front()->key, frontend});
        }
      }
    }
  }
  std::sort(all.begin(), all.end(), [](const FrontendConflict& a, const FrontendConflict& b) {
    return std::tie(a.loser, a.frontend.address) < std::tie(b.loser, b.frontend.address);
  });
  return all;
}

Delta diff(const ForwardingTable& from, const ForwardingTable& to) {
  Delta delta;
  for (EntryPointer& entry : to.entries()) {
    const EntryPointer before = from.find(entry->key);
    if (!before || !(*before == *entry)) delta.upserted.push_back(std::move(entry));
  }
  for (const EntryPointer& entry : from.entries()) {
    if (!to.find(entry->key)) delta.removed.push_back(entry->key);
  }
  std::sort(delta.upserted.begin(), delta.upserted.end(),
            [](const EntryPointer& a, const EntryPointer& b) { return a->key < b->key; });
  std::sort(delta.removed.begin(), delta.removed.end());
  return delta;
}

}  // namespace fairlead::dataplane
