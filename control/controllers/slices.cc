#include "control/controllers/slices.h"

#include <algorithm>
#include <set>
#include <utility>

#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

std::optional<bool> optional_bool(const Value& value) {
  if (!value.is_bool()) return std::nullopt;
  return value.as_bool();
}

EndpointRow parse_endpoint(const Value& value) {
  EndpointRow row;
  for (const Value& address : value.get("addresses").items()) {
    row.addresses.emplace_back(address.as_string());
  }
  std::sort(row.addresses.begin(), row.addresses.end());
  row.node = value.get("nodeName").as_string();
  const Value& target = value.get("targetRef");
  row.target = {
      std::string(target.get("kind").as_string()), std::string(target.get("namespace").as_string()),
      std::string(target.get("name").as_string()), std::string(target.get("uid").as_string())};
  const Value& conditions = value.get("conditions");
  row.ready = optional_bool(conditions.get("ready"));
  row.serving = optional_bool(conditions.get("serving"));
  row.terminating = optional_bool(conditions.get("terminating"));
  row.hostname = value.get("hostname").as_string();
  row.zone = value.get("zone").as_string();
  for (const Value& zone : value.get("hints").get("forZones").items()) {
    row.hint_zones.emplace_back(zone.get("name").as_string());
  }
  return row;
}

Value endpoint_value(Arena& arena, const EndpointRow& row) {
  Value made = Value::object();
  Value& addresses = made.append(arena, "addresses", Value::array());
  for (const std::string& address : row.addresses) addresses.push(arena, text(arena, address));
  Value conditions = Value::object();
  if (row.ready) conditions.append(arena, "ready", Value::boolean(*row.ready));
  if (row.serving) conditions.append(arena, "serving", Value::boolean(*row.serving));
  if (row.terminating) conditions.append(arena, "terminating", Value::boolean(*row.terminating));
  made.append(arena, "conditions", conditions);
  if (!row.hint_zones.empty()) {
    Value zones = Value::array();
    for (const std::string& zone : row.hint_zones) {
      zones.push(arena, Value::object()).append(arena, "name", text(arena, zone));
    }
    made.append(arena, "hints", Value::object()).append(arena, "forZones", zones);
  }
  set_text(arena, made, "hostname", row.hostname);
  set_text(arena, made, "nodeName", row.node);
  if (!row.target.kind.empty()) {
    Value& target = made.append(arena, "targetRef", Value::object());
    set_text(arena, target, "kind", row.target.kind);
    set_text(arena, target, "name", row.target.name);
    set_text(arena, target, "namespace", row.target.space);
    set_text(arena, target, "uid", row.target.uid);
  }
  set_text(arena, made, "zone", row.zone);
  return made;
}

Value ports_value(Arena& arena, const Ports& ports) {
  Value made = Value::array();
  for (const PortRow& row : ports) {
    Value& port = made.push(arena, Value::object());
    if (!row.app_protocol.empty()) {
      port.append(arena, "appProtocol", text(arena, row.app_protocol));
    }
    port.append(arena, "name", text(arena, row.name));
    if (row.port) port.append(arena, "port", Value::integer(*row.port));
    port.append(arena, "protocol", text(arena, row.protocol));
  }
  return made;
}

Slice new_slice(const SliceFrame& frame, const Ports& ports) {
  Slice made;
  made.address_type = frame.address_type;
  made.ports = ports;
  made.labels = frame.labels;
  return made;
}

// The fullest one that has room for all; none when there is none.
std::optional<size_t> slice_to_fill(const std::vector<Slice>& slices, size_t endpoints,
                                    size_t most) {
  std::optional<size_t> best;
  for (size_t i = 0; i < slices.size(); ++i) {
    const size_t has = slices[i].endpoints.size();
    if (has + endpoints > most) continue;
    if (!best || has > slices[*best].endpoints.size()) best = i;
  }
  return best;
}

Document slice_body(const SliceFrame& frame, const Slice& slice, const SliceWriting& writing) {
  const schema::Resource& row = resource("discovery.k8s.io", "v1", "endpointslices");
  Document body =
      slice.source ? copy_of(*slice.source) : new_object(row, space_of(*frame.owner), slice.name);
  Arena& arena = body.arena;
  Value& metadata = body.root.ensure(arena, "metadata");
  if (slice.name.empty()) {
    metadata.set(arena, "generateName", text(arena, std::string(name_of(*frame.owner)) + "-"));
  }
  Value labels = Value::object();
  for (const auto& [key, value] : slice.labels) {
    labels.append(arena, arena.copy(key), text(arena, value));
  }
  metadata.set(arena, "labels", labels);
  Value annotations = metadata.get("annotations");
  if (writing.other_annotations) {
    annotations = Value::object();
    for (const auto& [key, value] : *writing.other_annotations) {
      annotations.append(arena, arena.copy(key), text(arena, value));
    }
  }
  if (!annotations.is_object()) annotations = Value::object();
  annotations.erase(kTriggerTimeAnnotation);
  if (!writing.trigger_time.empty()) {
    annotations.set(arena, kTriggerTimeAnnotation, text(arena, writing.trigger_time));
  }
  if (annotations.empty()) {
    metadata.erase("annotations");
  } else {
    metadata.set(arena, "annotations", annotations);
  }
  Value owners = Value::array();
  owners.push(arena, controller_reference(arena, *frame.owner_resource, *frame.owner));
  metadata.set(arena, "ownerReferences", owners);
  body.root.set(arena, "addressType", text(arena, slice.address_type));
  Value endpoints = Value::array();
  for (const EndpointRow& endpoint : slice.endpoints) {
    endpoints.push(arena, endpoint_value(arena, endpoint));
  }
  body.root.set(arena, "endpoints", endpoints);
  body.root.set(arena, "ports", ports_value(arena, slice.ports));
  return body;
}

}  // namespace

std::string EndpointRow::identity() const {
  std::string made;
  for (const std::string& address : addresses) made.append(address).push_back(' ');
  for (const std::string* part : {&node, &target.kind, &target.space, &target.name, &target.uid}) {
    made.append("/").append(*part);
  }
  return made;
}

Labels labels_of(const Value& object) {
  Labels labels;
  for (const schema::Member& label : object.get("metadata").get("labels").members()) {
    labels.emplace(label.key, label.value.as_string());
  }
  return labels;
}

Slice parse_slice(ObjectPtr object) {
  Slice slice;
  slice.name = name_of(*object);
  slice.address_type = object->get("addressType").as_string();
  slice.labels = labels_of(*object);
  for (const Value& port : object->get("ports").items()) {
    PortRow row;
    row.name = port.get("name").as_string();
    row.protocol = port.get("protocol").as_string();
    if (port.get("port").is_int()) row.port = port.get("port").as_int();
    row.app_protocol = port.get("appProtocol").as_string();
    slice.ports.push_back(std::move(row));
  }
  std::sort(slice.ports.begin(), slice.ports.end());
  for (const Value& endpoint : object->get("endpoints").items()) {
    slice.endpoints.push_back(parse_endpoint(endpoint));
  }
  slice.source = std::move(object);
  return slice;
}

void pack_endpoints(const SliceFrame& frame, const Ports& ports, std::vector<Slice> existing,
                    std::vector<EndpointRow> desired, SliceChanges* changes) {
  std::map<std::string, size_t> wanted;  // identity to position
  for (size_t i = 0; i < desired.size(); ++i) wanted.emplace(desired[i].identity(), i);
  std::vector<Slice> changed;
  std::vector<Slice> unchanged;
  for (Slice& slice : existing) {
    std::vector<EndpointRow> stay;
    bool differs = false;
    for (EndpointRow& has : slice.endpoints) {
      const auto found = wanted.find(has.identity());
      if (found == wanted.end()) continue;
      EndpointRow& want = desired[found->second];
      want.hint_zones = has.hint_zones;  // decided later
      differs = differs || !(want == has);
      stay.push_back(std::move(want));
      wanted.erase(found);
    }
    if (stay.empty() && !slice.endpoints.empty()) {
      changes->remove.push_back(std::move(slice));
      continue;
    }
    differs = differs || stay.size() != slice.endpoints.size() || slice.labels != frame.labels;
    slice.endpoints = std::move(stay);
    slice.labels = frame.labels;
    (differs ? changed : unchanged).push_back(std::move(slice));
  }
  // In the order in which they were asked for.
  std::vector<size_t> positions;
  for (const auto& [identity, position] : wanted) positions.push_back(position);
  std::sort(positions.begin(), positions.end());
  std::vector<EndpointRow> left;
  for (const size_t position : positions) left.push_back(std::move(desired[position]));
  size_t next = 0;
  const auto fill = [&](Slice& slice) {
    while (next < left.size() && slice.endpoints.size() < frame.most) {
      slice.endpoints.push_back(std::move(left[next++]));
    }
  };
  std::stable_sort(changed.begin(), changed.end(), [](const Slice& a, const Slice& b) {
    return a.endpoints.size() > b.endpoints.size();
  });
  for (Slice& slice : changed) fill(slice);
  while (next < left.size()) {
    const size_t remaining = left.size() - next;
    const std::optional<size_t> found =
        remaining < frame.most ? slice_to_fill(unchanged, remaining, frame.most) : std::nullopt;
    if (found) {
      fill(unchanged[*found]);
      changed.push_back(std::move(unchanged[*found]));
      unchanged.erase(unchanged.begin() + static_cast<std::ptrdiff_t>(*found));
    } else {
      Slice made = new_slice(frame, ports);
      fill(made);
      changes->create.push_back(std::move(made));
    }
  }
  // Empty ones are of use as placeholders only: pack_slices() makes those.
  for (Slice& slice : changed) {
    (slice.endpoints.empty() ? changes->remove : changes->update).push_back(std::move(slice));
  }
  for (Slice& slice : unchanged) {
    (slice.endpoints.empty() ? changes->remove : changes->keep).push_back(std::move(slice));
  }
}

SliceChanges pack_slices(const SliceFrame& frame, std::vector<Slice> existing,
                         std::map<Ports, std::vector<EndpointRow>> desired, bool placeholder) {
  SliceChanges changes;
  std::map<Ports, std::vector<Slice>> by_ports;
  for (Slice& slice : existing) by_ports[slice.ports].push_back(std::move(slice));
  for (auto& [ports, endpoints] : desired) {
    std::vector<Slice> mine;
    if (const auto found = by_ports.find(ports); found != by_ports.end()) {
      mine = std::move(found->second);
      by_ports.erase(found);
    }
    pack_endpoints(frame, ports, std::move(mine), std::move(endpoints), &changes);
  }
  for (auto& [ports, slices] : by_ports) {
    for (Slice& slice : slices) changes.remove.push_back(std::move(slice));
  }
  if (placeholder && changes.create.empty() && changes.update.empty() && changes.keep.empty()) {
    const auto stands =
        std::find_if(changes.remove.begin(), changes.remove.end(), [&](const Slice& slice) {
          return slice.endpoints.empty() && slice.ports.empty() && slice.labels == frame.labels;
        });
    if (stands != changes.remove.end()) {
      changes.keep.push_back(std::move(*stands));
      changes.remove.erase(stands);
    } else {
      changes.create.push_back(new_slice(frame, {}));
    }
  }
  return changes;
}

void merge_replacements(const SliceFrame& frame, SliceChanges* changes) {
  std::vector<Slice> removed;
  for (Slice& slice : changes->remove) {
    if (changes->create.empty() || slice.address_type != changes->create.back().address_type ||
        !is_controlled_by(*slice.source, uid_of(*frame.owner))) {
      removed.push_back(std::move(slice));
      continue;
    }
    Slice made = std::move(changes->create.back());
    changes->create.pop_back();
    made.name = slice.name;
    made.source = std::move(slice.source);
    changes->update.push_back(std::move(made));
  }
  changes->remove = std::move(removed);
}

void write_slices(const SliceFrame& frame, SliceChanges changes, const SliceWriting& writing,
                  std::vector<Write>* writes) {
  const schema::Resource& row = resource("discovery.k8s.io", "v1", "endpointslices");
  const std::string space(space_of(*frame.owner));
  // New addresses are there before old ones go.
  if (writing.creating) {
    for (const Slice& slice : changes.create) {
      Write write;
      write.verb = Write::Verb::kCreate;
      write.what = {&row, space, ""};
      write.body = slice_body(frame, slice, writing);
      writes->push_back(std::move(write));
    }
  }
  for (const Slice& slice : changes.update) {
    Write write;
    write.verb = Write::Verb::kUpdate;
    write.what = {&row, space, slice.name};
    write.body = slice_body(frame, slice, writing);
    writes->push_back(std::move(write));
  }
  for (const Slice& slice : changes.remove) {
    Write write;
    write.verb = Write::Verb::kRemove;
    write.what = {&row, space, slice.name};
    write.options.uid = uid_of(*slice.source);
    writes->push_back(std::move(write));
  }
}

}  // namespace fairlead::controllers
