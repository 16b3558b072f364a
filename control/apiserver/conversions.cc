// The versions of kinds that have several: which is stored, and what becomes of the others.
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "control/apiserver/codec.h"
#include "control/schema/conform.h"
#include "control/schema/json_text.h"

namespace fairlead::apiserver {

namespace {

using schema::Arena;
using schema::Document;
using schema::Resource;
using schema::Value;

using Change = void (*)(Value& object, Arena& arena);

void unchanged(Value&, Arena&) {}

// Moves a member to another name.
void rename(Value& object, Arena& arena, std::string_view from, std::string_view to) {
  const Value* found = object.find(from);
  if (found == nullptr) return;
  const Value moved = *found;
  object.erase(from);
  object.set(arena, to, moved);
}

// core/v1 and events.k8s.io/v1.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kEventNames = {{
    {"involvedObject", "regarding"},
    {"message", "note"},
    {"reportingComponent", "reportingController"},
    {"source", "deprecatedSource"},
    {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"},
    {"count", "deprecatedCount"},
}};

void event_from_core(Value& object, Arena& arena) {
  for (const auto& [core, events] : kEventNames) rename(object, arena, core, events);
}

void event_to_core(Value& object, Arena& arena) {
  for (const auto& [core, events] : kEventNames) rename(object, arena, events, core);
}

constexpr std::string_view kMetrics = "autoscaling.alpha.kubernetes.io/metrics";
constexpr std::string_view kBehavior = "autoscaling.alpha.kubernetes.io/behavior";

bool is_cpu_utilization(const Value& metric, std::string_view amount) {
  return metric.at("type").as_string() == "Resource" &&
         metric.at("resource.name").as_string() == "cpu" &&
         metric.at("resource").at(amount).find("averageUtilization") != nullptr;
}

void annotate(Value& object, Arena& arena, std::string_view key, const Value& value) {
  object.ensure(arena, "metadata.annotations")
      .set(arena, key, Value::string(arena.copy(schema::to_json(value))));
}

// Takes an annotation that annotate() has made of a field of a spec; null when there is none. One
// that holds something else, for users can write it, stays an annotation.
Value take_annotation(Value& object, Arena& arena, std::string_view key, std::string_view field) {
  Value* metadata = object.find("metadata");
  Value* annotations = metadata != nullptr ? metadata->find("annotations") : nullptr;
  const Value* text = annotations != nullptr ? annotations->find(key) : nullptr;
  if (text == nullptr) return {};
  Result<Document> found = schema::parse_json(text->as_string());
  const schema::Type* type = schema::find_type("autoscaling.v2.HorizontalPodAutoscalerSpec");
  if (!found || type == nullptr) return {};
  Value spec = Value::object();
  spec.append(found->arena, field, found->root);
  found->root = spec;
  if (!schema::conform(*found, *type->shape, schema::Conform::kObject, nullptr)) return {};
  const Value taken = found->root.get(field).clone(arena);
  annotations->erase(key);
  if (annotations->empty()) metadata->erase("annotations");
  return taken;
}

// v1 knows the use of the processor only; the other metrics, and how to scale, travel in
// annotations, as in Kubernetes.
void autoscaler_to_v1(Value& object, Arena& arena) {
  if (Value* spec = object.find("spec")) {
    Value others = Value::array();
    bool found = false;
    for (const Value& metric : spec->get("metrics").items()) {
      if (!found && is_cpu_utilization(metric, "target")) {
        found = true;
        spec->set(arena, "targetCPUUtilizationPercentage",
                  metric.at("resource.target.averageUtilization"));
      } else {
        others.push(arena, metric);
      }
    }
    const Value behavior = spec->get("behavior");
    spec->erase("metrics");
    spec->erase("behavior");
    if (!others.empty()) annotate(object, arena, kMetrics, others);
    if (!behavior.empty()) annotate(object, arena, kBehavior, behavior);
  }
  if (Value* status = object.find("status")) {
    for (const Value& metric : status->get("currentMetrics").items()) {
      if (!is_cpu_utilization(metric, "current")) continue;
      status->set(arena, "currentCPUUtilizationPercentage",
                  metric.at("resource.current.averageUtilization"));
      break;
    }
    status->erase("currentMetrics");
    status->erase("conditions");
  }
}

Value cpu_metric(Arena& arena, const Value& percent, std::string_view amount) {
  Value metric = Value::object();
  metric.append(arena, "type", Value::string("Resource"));
  Value& resource = metric.append(arena, "resource", Value::object());
  resource.append(arena, "name", Value::string("cpu"));
  Value& target = resource.append(arena, amount, Value::object());
  target.append(arena, "averageUtilization", percent);
  if (amount == "target") target.append(arena, "type", Value::string("Utilization"));
  return metric;
}

void autoscaler_from_v1(Value& object, Arena& arena) {
  Value metrics = Value::array();
  if (Value* spec = object.find("spec")) {
    if (const Value* percent = spec->find("targetCPUUtilizationPercentage")) {
      metrics.push(arena, cpu_metric(arena, *percent, "target"));
      spec->erase("targetCPUUtilizationPercentage");
    }
    const Value others = take_annotation(object, arena, kMetrics, "metrics");
    for (const Value& metric : others.items()) metrics.push(arena, metric);
    const Value behavior = take_annotation(object, arena, kBehavior, "behavior");
    // `spec` stays where it is: nothing above adds members to the object.
    if (!metrics.empty()) spec->set(arena, "metrics", metrics);
    if (!behavior.empty()) spec->set(arena, "behavior", behavior);
  }
  if (Value* status = object.find("status")) {
    if (const Value* percent = status->find("currentCPUUtilizationPercentage")) {
      Value current = Value::array();
      current.push(arena, cpu_metric(arena, *percent, "current"));
      status->erase("currentCPUUtilizationPercentage");
      status->set(arena, "currentMetrics", current);
    }
  }
}

struct Row {
  std::string_view type;     // the version that is not stored
  std::string_view storage;  // the one that is
  Change to_storage;
  Change from_storage;
};

constexpr Row kRows[] = {
    {"autoscaling.v1.HorizontalPodAutoscaler", "autoscaling.v2.HorizontalPodAutoscaler",
     autoscaler_from_v1, autoscaler_to_v1},
    {"batch.v1beta1.CronJob", "batch.v1.CronJob", unchanged, unchanged},
    {"events.v1.Event", "core.v1.Event", event_to_core, event_from_core},
    {"policy.v1beta1.PodDisruptionBudget", "policy.v1.PodDisruptionBudget", unchanged, unchanged},
};

const Row* row_of(const Resource& resource) {
  for (const Row& row : kRows) {
    if (row.type == resource.type_name) return &row;
  }
  return nullptr;
}

}  // namespace

const Resource& storage_of(const Resource& resource) {
  const Row* row = row_of(resource);
  if (row == nullptr) return resource;
  for (const Resource& other : schema::all_resources()) {
    if (other.type_name == row->storage) return other;
  }
  return resource;
}

void convert(Document& object, const Resource& from, const Resource& to) {
  if (&from == &to) return;
  if (const Row* row = row_of(from)) row->to_storage(object.root, object.arena);
  if (const Row* row = row_of(to)) row->from_storage(object.root, object.arena);
  object.root.set(object.arena, "apiVersion", Value::string(object.arena.copy(to.api_version())));
  schema::sort_deep(object.root);
}

}  // namespace fairlead::apiserver
