#include "control/controllers/topology_hints.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "control/controllers/objects.h"
#include "control/controllers/pods.h"
#include "control/schema/quantity.h"

namespace fairlead::controllers {

namespace {

constexpr double kOverload = 0.2;  // what a zone may carry above its share

struct Allocation {
  int least = 0;
  int most = 0;
  double fair = 0;
};
using Allocations = std::map<std::string, Allocation, std::less<>>;

// One ready endpoint and the slice that it is in.
struct Place {
  EndpointRow* endpoint = nullptr;
  bool pinned = false;  // keeps its hint
  std::string hint;
};

// Empty: the endpoints cannot be divided without overload.
Allocations allocate(const ZoneShares& shares, size_t endpoints) {
  Allocations made;
  if (shares.size() < 2 || endpoints < shares.size()) return made;
  const int total = static_cast<int>(endpoints);
  int least = 0;
  for (const auto& [zone, share] : shares) {
    Allocation& row = made[zone];
    row.fair = share * total;
    row.least = static_cast<int>(std::ceil(row.fair / (1 + kOverload) - 1e-9));
    least += row.least;
  }
  if (least > total) return {};
  for (auto& [zone, row] : made) row.most = row.least + total - least;
  return made;
}

using Counts = std::map<std::string, int, std::less<>>;

// A zone that should get one more: below its least first, then the one farthest below its share.
const std::string* receiver(const Allocations& allocations, Counts& counts, bool only_least) {
  const std::string* best = nullptr;
  double lowest = std::numeric_limits<double>::max();
  for (const auto& [zone, row] : allocations) {
    const int has = counts[zone];
    if (has >= (only_least ? row.least : row.most)) continue;
    const double level = has / std::max(row.fair, 1e-9);
    if (level < lowest) {
      lowest = level;
      best = &zone;
    }
  }
  return best;
}

// What can be lent, by the zone that it is for.
using Movable = std::map<std::string, std::vector<Place*>, std::less<>>;

// A zone that can spare an endpoint: the one farthest above its share.
std::vector<Place*>* giver(const Allocations& allocations, Counts& counts, Movable& movable,
                           bool only_above_most) {
  std::vector<Place*>* best = nullptr;
  double highest = -1;
  for (auto& [zone, places] : movable) {
    if (places.empty()) continue;
    const auto row = allocations.find(zone);
    double level = std::numeric_limits<double>::max();  // of a zone without consumers
    if (row != allocations.end()) {
      const int has = counts[zone];
      if (has <= (only_above_most ? row->second.most : row->second.least)) continue;
      level = has / std::max(row->second.fair, 1e-9);
    }
    if (level > highest) {
      highest = level;
      best = &places;
    }
  }
  return best;
}

// False when pinned hints stand in the way.
bool distribute(const Allocations& allocations, std::vector<Place>& places) {
  Counts counts;
  Movable movable;
  for (Place& place : places) {
    if (!place.pinned) {
      place.hint = place.endpoint->zone;
      movable[place.hint].push_back(&place);
    }
    ++counts[place.hint];
  }
  const auto move = [&](std::vector<Place*>& from, const std::string& zone) {
    Place* place = from.back();
    from.pop_back();
    --counts[place->hint];
    place->hint = zone;
    ++counts[zone];
    movable[zone].push_back(place);
  };
  while (const std::string* zone = receiver(allocations, counts, true)) {
    std::vector<Place*>* spare = giver(allocations, counts, movable, false);
    if (!spare) return false;
    move(*spare, *zone);
  }
  while (std::vector<Place*>* spare = giver(allocations, counts, movable, true)) {
    const std::string* zone = receiver(allocations, counts, false);
    if (!zone) return false;
    move(*spare, *zone);
  }
  return std::all_of(allocations.begin(), allocations.end(), [&](const auto& entry) {
    const int has = counts[entry.first];
    return has >= entry.second.least && has <= entry.second.most;
  });
}

std::vector<Place> places_of(std::vector<Slice>& slices, bool pin, const Allocations& allocations) {
  std::vector<Place> places;
  for (Slice& slice : slices) {
    for (EndpointRow& endpoint : slice.endpoints) {
      if (!endpoint.is_ready()) continue;
      Place place;
      place.endpoint = &endpoint;
      if (pin && endpoint.hint_zones.size() == 1 &&
          allocations.count(endpoint.hint_zones[0]) != 0) {
        place.pinned = true;
        place.hint = endpoint.hint_zones[0];
      }
      places.push_back(std::move(place));
    }
  }
  return places;
}

// The hints of all ready endpoints; false when there cannot be any.
bool by_share(const ZoneShares& shares, SliceChanges* changes) {
  size_t ready = 0;
  for (std::vector<Slice>* slices : {&changes->keep, &changes->update, &changes->create}) {
    for (const Slice& slice : *slices) {
      for (const EndpointRow& endpoint : slice.endpoints) {
        if (!endpoint.is_ready()) continue;
        if (endpoint.zone.empty()) return false;
        ++ready;
      }
    }
  }
  const Allocations allocations = allocate(shares, ready);
  if (allocations.empty()) return false;
  // Slices that need not be written keep their hints where that is fair enough.
  for (const bool pin : {true, false}) {
    std::vector<Place> places = places_of(changes->keep, pin, allocations);
    for (std::vector<Slice>* slices : {&changes->update, &changes->create}) {
      for (Place& place : places_of(*slices, false, allocations)) {
        places.push_back(std::move(place));
      }
    }
    if (!distribute(allocations, places)) continue;
    for (Place& place : places) place.endpoint->hint_zones = {place.hint};
    return true;
  }
  return false;
}

}  // namespace

HintMode hint_mode(const Value& service) {
  const Value& annotations = service.get("metadata").get("annotations");
  // Where both are, the one that is deprecated counts, as in kube-controller-manager.
  const Value* mode = annotations.find("service.kubernetes.io/topology-aware-hints");
  if (!mode) mode = annotations.find("service.kubernetes.io/topology-mode");
  if (mode && (mode->as_string() == "Auto" || mode->as_string() == "auto")) {
    return HintMode::kByShare;
  }
  const std::string_view distribution = service.get("spec").get("trafficDistribution").as_string();
  if (distribution == "PreferClose" || distribution == "PreferSameZone") return HintMode::kOwnZone;
  return HintMode::kNone;
}

ZoneShares zone_shares(const std::vector<ObjectPtr>& nodes) {
  ZoneShares shares;
  double total = 0;
  for (const ObjectPtr& node : nodes) {
    const Value& labels = node->get("metadata").get("labels");
    if (labels.find("node-role.kubernetes.io/control-plane") ||
        labels.find("node-role.kubernetes.io/master") ||
        condition_status(*node, "Ready") != "True") {
      continue;
    }
    const std::string_view zone = labels.get(kZoneLabel).as_string();
    const Value& cpu = node->get("status").get("allocatable").get("cpu");
    const auto cores = cpu.is_int() ? schema::Quantity::of(cpu.as_int())
                                    : schema::Quantity::parse(cpu.as_string());
    if (zone.empty() || !cores || cores->milli() <= 0) return {};
    shares[std::string(zone)] += static_cast<double>(cores->milli());
    total += static_cast<double>(cores->milli());
  }
  if (shares.size() < 2) return {};
  for (auto& [zone, share] : shares) share /= total;
  return shares;
}

bool is_share_change(const Value& before, const Value& after) {
  for (const char* path : {"metadata.labels", "status.allocatable"}) {
    if (!(before.at(path) == after.at(path))) return true;
  }
  return condition_status(before, "Ready") != condition_status(after, "Ready");
}

void set_hints(HintMode mode, const ZoneShares& shares, SliceChanges* changes) {
  const std::vector<Slice> kept = changes->keep;
  const bool shared = mode == HintMode::kByShare && by_share(shares, changes);
  for (std::vector<Slice>* slices : {&changes->keep, &changes->update, &changes->create}) {
    for (Slice& slice : *slices) {
      for (EndpointRow& endpoint : slice.endpoints) {
        if (mode == HintMode::kOwnZone && endpoint.is_ready() && !endpoint.zone.empty()) {
          endpoint.hint_zones = {endpoint.zone};
        } else if (!shared || !endpoint.is_ready()) {
          endpoint.hint_zones.clear();
        }
      }
    }
  }
  std::vector<Slice> same;
  for (size_t i = 0; i < changes->keep.size(); ++i) {
    const bool differs = changes->keep[i].endpoints != kept[i].endpoints;
    (differs ? changes->update : same).push_back(std::move(changes->keep[i]));
  }
  changes->keep = std::move(same);
}

}  // namespace fairlead::controllers
