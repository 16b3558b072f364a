#include "proxy/tracker.h"

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace fairlead::proxy {

using dataplane::Endpoint;
using dataplane::EndpointGroup;
using dataplane::Hint;
using dataplane::ObjectName;
using dataplane::Service;

namespace {

struct NameHash {
  size_t operator()(const ObjectName& name) const {
    return dataplane::stable_hash(name.name, dataplane::stable_hash(name.name_space));
  }
};

struct Known {
  std::optional<Service> service;
  std::vector<std::shared_ptr<const Slice>> slices;
  std::vector<int64_t> trigger_times;
};

// Keeps memory bounded when slices of a service change faster than they are synced.
constexpr size_t kMaxTriggerTimes = 64;

Endpoint endpoint_of(const SliceEndpoint& from, uint16_t port, const ZoneHints& hints,
                     std::string_view zone) {
  Endpoint to;
  to.target = {from.address, port};
  to.ready = (from.flags & SliceEndpoint::kReady) != 0;
  to.serving = (from.flags & SliceEndpoint::kServing) != 0;
  to.terminating = (from.flags & SliceEndpoint::kTerminating) != 0;
  to.local = (from.flags & SliceEndpoint::kLocal) != 0;
  to.node_unknown = (from.flags & SliceEndpoint::kNodeUnknown) != 0;
  if ((from.flags & SliceEndpoint::kNodeHintHere) != 0) to.node_hint = Hint::kHere;
  if ((from.flags & SliceEndpoint::kNodeHintElsewhere) != 0) to.node_hint = Hint::kElsewhere;
  to.zone_hint = hints.match(from.zones, zone);
  return to;
}

bool better_copy(const Endpoint& a, const Endpoint& b) {
  if (a.local != b.local) return a.local;
  if (a.ready != b.ready) return a.ready;
  return a.serving && !b.serving;
}

}  // namespace

struct Tracker::State {
  boost::unordered_flat_map<ObjectName, Known, NameHash> known;
  // (namespace, slice) -> the service that it counts for.
  boost::unordered_flat_map<ObjectName, ObjectName, NameHash> owner_of_slice;
  boost::unordered_flat_set<ObjectName, NameHash> changed;
  size_t services = 0;

  void forget_if_empty(const ObjectName& name) {
    const auto found = known.find(name);
    if (found != known.end() && !found->second.service && found->second.slices.empty()) {
      known.erase(found);
    }
  }
};

Tracker::Tracker() : state_(std::make_unique<State>()) {}
Tracker::~Tracker() = default;

void Tracker::put_service(Service service) {
  Known& known = state_->known[service.name];
  if (known.service && *known.service == service) return;
  if (!known.service) ++state_->services;
  state_->changed.insert(service.name);
  known.service = std::move(service);
}

void Tracker::remove_service(const ObjectName& name) {
  const auto found = state_->known.find(name);
  if (found == state_->known.end() || !found->second.service) return;
  found->second.service.reset();
  --state_->services;
  state_->changed.insert(name);
  state_->forget_if_empty(name);
}

void Tracker::put_slice(Slice slice) {
  const ObjectName slice_name{slice.service.name_space, slice.name};
  const auto owner = state_->owner_of_slice.find(slice_name);
  if (owner != state_->owner_of_slice.end() && owner->second != slice.service) {
    remove_slice(slice_name.name_space, slice_name.name);  // it moved to another service
  }
  state_->owner_of_slice.insert_or_assign(slice_name, slice.service);
  state_->changed.insert(slice.service);
  Known& known = state_->known[slice.service];
  if (slice.trigger_time_micros != 0 && known.trigger_times.size() < kMaxTriggerTimes) {
    known.trigger_times.push_back(slice.trigger_time_micros);
  }
  const auto same = std::find_if(known.slices.begin(), known.slices.end(),
                                 [&](const auto& other) { return other->name == slice.name; });
  auto stored = std::make_shared<const Slice>(std::move(slice));
  if (same == known.slices.end()) {
    known.slices.push_back(std::move(stored));
  } else {
    *same = std::move(stored);
  }
}

void Tracker::remove_slice(const std::string& name_space, const std::string& name) {
  const auto owner = state_->owner_of_slice.find(ObjectName{name_space, name});
  if (owner == state_->owner_of_slice.end()) return;
  const ObjectName service = owner->second;
  state_->owner_of_slice.erase(owner);
  Known& known = state_->known[service];
  std::erase_if(known.slices, [&](const auto& slice) { return slice->name == name; });
  state_->changed.insert(service);
  state_->forget_if_empty(service);
}

void Tracker::mark_all() {
  for (const auto& [name, known] : state_->known) {
    if (known.service) state_->changed.insert(name);
  }
}

std::vector<ObjectName> Tracker::take_changed() {
  std::vector<ObjectName> names(state_->changed.begin(), state_->changed.end());
  state_->changed.clear();
  std::sort(names.begin(), names.end());
  return names;
}

bool Tracker::has_changed() const {
  return !state_->changed.empty();
}

const Service* Tracker::service(const ObjectName& name) const {
  const auto found = state_->known.find(name);
  return found == state_->known.end() || !found->second.service ? nullptr : &*found->second.service;
}

std::vector<EndpointGroup> Tracker::groups(const ObjectName& name, const ZoneHints& hints,
                                           std::string_view zone) const {
  std::vector<EndpointGroup> groups;
  const auto found = state_->known.find(name);
  if (found == state_->known.end()) return groups;
  for (const auto& slice : found->second.slices) {
    for (const SlicePort& port : slice->ports) {
      auto group = std::find_if(groups.begin(), groups.end(), [&](const EndpointGroup& g) {
        return g.port_name == port.name && g.protocol == port.protocol && g.family == slice->family;
      });
      if (group == groups.end()) {
        groups.push_back({port.name, port.protocol, slice->family, {}});
        group = groups.end() - 1;
      }
      group->endpoints.reserve(group->endpoints.size() + slice->endpoints.size());
      for (const SliceEndpoint& endpoint : slice->endpoints) {
        group->endpoints.push_back(endpoint_of(endpoint, port.port, hints, zone));
      }
    }
  }
  for (EndpointGroup& group : groups) {
    std::stable_sort(group.endpoints.begin(), group.endpoints.end(),
                     [](const Endpoint& a, const Endpoint& b) {
                       if (a.target != b.target) return a.target < b.target;
                       return better_copy(a, b);
                     });
    group.endpoints.erase(
        std::unique(group.endpoints.begin(), group.endpoints.end(),
                    [](const Endpoint& a, const Endpoint& b) { return a.target == b.target; }),
        group.endpoints.end());
  }
  return groups;
}

std::vector<int64_t> Tracker::take_trigger_times(const ObjectName& name) {
  const auto found = state_->known.find(name);
  if (found == state_->known.end()) return {};
  return std::exchange(found->second.trigger_times, {});
}

size_t Tracker::services() const {
  return state_->services;
}
size_t Tracker::slices() const {
  return state_->owner_of_slice.size();
}

}  // namespace fairlead::proxy
