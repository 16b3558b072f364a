// EndpointSlices as rows, and how endpoints are put into them with the least change.
//
// Source: KEP-752; discovery.k8s.io/v1; the order in which kube-controller-manager fills slices, so
// that both make the same slices of the same pods.
//
// Threads: pure functions.
#pragma once

#include <compare>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/controllers/cluster.h"
#include "control/controllers/controller.h"

namespace fairlead::controllers {

inline constexpr std::string_view kServiceNameLabel = "kubernetes.io/service-name";
inline constexpr std::string_view kManagedByLabel = "endpointslice.kubernetes.io/managed-by";
inline constexpr std::string_view kHeadlessLabel = "service.kubernetes.io/headless";
inline constexpr std::string_view kTriggerTimeAnnotation =
    "endpoints.kubernetes.io/last-change-trigger-time";

struct PortRow {
  std::string name;
  std::string protocol = "TCP";
  std::optional<int64_t> port;
  std::string app_protocol;  // empty: none

  auto operator<=>(const PortRow&) const = default;
};
using Ports = std::vector<PortRow>;  // sorted

struct TargetReference {
  std::string kind;
  std::string space;
  std::string name;
  std::string uid;

  auto operator<=>(const TargetReference&) const = default;
};

struct EndpointRow {
  // What an endpoint is.
  std::vector<std::string> addresses;  // sorted
  std::string node;
  TargetReference target;
  // What may change about it.
  std::optional<bool> ready;
  std::optional<bool> serving;
  std::optional<bool> terminating;
  std::string hostname;
  std::string zone;
  std::vector<std::string> hint_zones;

  // Of `addresses`, `node` and `target`: the same endpoint in another state has the same.
  std::string identity() const;
  bool is_ready() const { return ready.value_or(true); }
  bool operator==(const EndpointRow&) const = default;
};

using Labels = std::map<std::string, std::string, std::less<>>;

struct Slice {
  ObjectPtr source;  // null: to be created
  std::string name;  // empty: to be created
  std::string address_type;
  Ports ports;
  Labels labels;
  std::vector<EndpointRow> endpoints;
};

Slice parse_slice(ObjectPtr object);
Labels labels_of(const schema::Value& object);

// What becomes of a set of slices.
struct SliceChanges {
  std::vector<Slice> create;
  std::vector<Slice> update;
  std::vector<Slice> remove;
  std::vector<Slice> keep;
};

// What slices of one service and address type have in common.
struct SliceFrame {
  const schema::Resource* owner_resource = nullptr;
  const schema::Value* owner = nullptr;  // its name is the prefix of theirs
  std::string address_type;
  Labels labels;
  size_t most = 100;  // endpoints of a slice
};

// Slices of one set of ports: keeps endpoints where they are, fills slices that change anyway, then
// one that is not changed and has room for all that is left, then new ones.
void pack_endpoints(const SliceFrame& frame, const Ports& ports, std::vector<Slice> existing,
                    std::vector<EndpointRow> desired, SliceChanges* changes);

// Endpoints by their ports, packed; slices of other ports go. `placeholder`: an empty slice stands
// where there would be none.
SliceChanges pack_slices(const SliceFrame& frame, std::vector<Slice> existing,
                         std::map<Ports, std::vector<EndpointRow>> desired, bool placeholder);

// A removal and a creation become one update.
void merge_replacements(const SliceFrame& frame, SliceChanges* changes);

// `trigger_time` replaces what the slice has of the last-change-trigger-time, `other_annotations`,
// of mirrored slices, all others; `creating`: slices may be made (their owner stays).
struct SliceWriting {
  std::string trigger_time;                 // empty: none
  std::optional<Labels> other_annotations;  // none: as they are
  bool creating = true;
};
void write_slices(const SliceFrame& frame, SliceChanges changes, const SliceWriting& writing,
                  std::vector<Write>* writes);

}  // namespace fairlead::controllers
