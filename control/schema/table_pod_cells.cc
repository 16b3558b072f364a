#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <vector>

#include "control/api/decode.h"
#include "control/schema/scalars.h"
#include "control/schema/table_cells.h"

namespace fairlead::schema {

namespace {

constexpr std::string_view kRolePrefix = "node-role.kubernetes.io/";
constexpr std::string_view kRoleLabel = "kubernetes.io/role";

bool condition_is_true(const Value& status, std::string_view type) {
  for (const Value& condition : status.get("conditions").items()) {
    if (condition.get("type").as_string() == type) {
      return condition.get("status").as_string() == "True";
    }
  }
  return false;
}

// What a pod's row says, worked out once for the three cells that need it.
struct PodSummary {
  std::string reason;
  int64_t ready = 0;
  int64_t total = 0;
  int64_t restarts = 0;
  std::string last_restart;  // RFC 3339; sorts as it should
};

struct Restarts {
  int64_t count = 0;
  std::string last;

  void add(const Value& container) {
    count += container.get("restartCount").as_int();
    const std::string_view finished = container.at("lastState.terminated.finishedAt").as_string();
    if (finished > last) last = finished;
  }
};

std::string ended(std::string_view prefix, const Value& terminated) {
  const std::string_view reason = terminated.get("reason").as_string();
  if (!reason.empty()) return fmt::format("{}{}", prefix, reason);
  if (const int64_t signal = terminated.get("signal").as_int(); signal != 0) {
    return fmt::format("{}Signal:{}", prefix, signal);
  }
  return fmt::format("{}ExitCode:{}", prefix, terminated.get("exitCode").as_int());
}

// True while the containers proper wait for this one.
bool blocks(const Value& container, bool sidecar, size_t index, size_t count, PodSummary* pod) {
  const Value& terminated = container.at("state.terminated");
  if (terminated.is_object() && terminated.get("exitCode").as_int() == 0) return false;
  if (sidecar && container.get("started").as_bool()) {
    if (container.get("ready").as_bool()) ++pod->ready;
    return false;
  }
  const std::string_view waiting = container.at("state.waiting.reason").as_string();
  if (terminated.is_object()) {
    pod->reason = ended("Init:", terminated);
  } else if (!waiting.empty() && waiting != "PodInitializing") {
    pod->reason = fmt::format("Init:{}", waiting);
  } else {
    pod->reason = fmt::format("Init:{}/{}", index, count);
  }
  return true;
}

void main_containers(const Value& status, PodSummary* pod, Restarts* restarts) {
  bool running = false;
  const std::span<const Value> containers = status.get("containerStatuses").items();
  for (auto container = containers.rbegin(); container != containers.rend(); ++container) {
    restarts->add(*container);
    const std::string_view waiting = container->at("state.waiting.reason").as_string();
    const Value& terminated = container->at("state.terminated");
    if (!waiting.empty()) {
      pod->reason = waiting;
    } else if (terminated.is_object()) {
      pod->reason = ended("", terminated);
    } else if (container->get("ready").as_bool() && container->at("state.running").is_object()) {
      running = true;
      ++pod->ready;
    }
  }
  if (pod->reason == "Completed" && running) {
    pod->reason = condition_is_true(status, "Ready") ? "Running" : "NotReady";
  }
}

PodSummary summarize(const Value& object) {
  const Value& status = object.get("status");
  const Value& spec = object.get("spec");
  PodSummary pod;
  const std::string_view phase = status.get("phase").as_string();
  const std::string_view reason = status.get("reason").as_string();
  pod.reason = reason.empty() ? phase : reason;
  pod.total = static_cast<int64_t>(spec.get("containers").size());
  for (const Value& condition : status.get("conditions").items()) {
    if (condition.get("type").as_string() == "PodScheduled" &&
        condition.get("reason").as_string() == "SchedulingGated") {
      pod.reason = "SchedulingGated";
    }
  }
  std::set<std::string_view> sidecars;
  const Value& init_containers = spec.get("initContainers");
  for (const Value& container : init_containers.items()) {
    if (container.get("restartPolicy").as_string() != "Always") continue;
    sidecars.insert(container.get("name").as_string());
    ++pod.total;
  }
  Restarts initial;
  Restarts lasting;
  bool initializing = false;
  size_t index = 0;
  for (const Value& container : status.get("initContainerStatuses").items()) {
    const bool sidecar = sidecars.count(container.get("name").as_string()) > 0;
    initial.add(container);
    if (sidecar) lasting.add(container);
    initializing = blocks(container, sidecar, index++, init_containers.size(), &pod);
    if (initializing) break;
  }
  Restarts* shown = &initial;
  if (!initializing || condition_is_true(status, "Initialized")) {
    main_containers(status, &pod, &lasting);
    shown = &lasting;
  }
  pod.restarts = shown->count;
  pod.last_restart = shown->last;
  const bool deleted = object.at("metadata.deletionTimestamp").is_string();
  if (deleted && reason == "NodeLost") {
    pod.reason = "Unknown";
  } else if (deleted && phase != "Failed" && phase != "Succeeded") {
    pod.reason = "Terminating";
  }
  return pod;
}

const Value& template_of(const Value& object) {
  const Value& inner = object.at("spec.template.spec.containers");
  return inner.is_array() ? inner : object.at("template.spec.containers");
}

Cell joined_field(const Value& containers, std::string_view field) {
  std::vector<std::string_view> texts;
  for (const Value& container : containers.items())
    texts.push_back(container.get(field).as_string());
  return fmt::format("{}", fmt::join(texts, ","));
}

Cell node_address(const Value& node, std::string_view type) {
  for (const Value& address : node.at("status.addresses").items()) {
    if (address.get("type").as_string() == type) return address.get("address").as_string();
  }
  return kNone;
}

}  // namespace

Cell pod_ready(const Value& pod, int64_t) {
  const PodSummary summary = summarize(pod);
  return fmt::format("{}/{}", summary.ready, summary.total);
}

Cell pod_status(const Value& pod, int64_t) {
  return summarize(pod).reason;
}

Cell pod_restarts(const Value& pod, int64_t now) {
  const PodSummary summary = summarize(pod);
  if (summary.restarts == 0 || summary.last_restart.empty()) {
    return std::to_string(summary.restarts);
  }
  return fmt::format("{} ({} ago)", summary.restarts,
                     age_of(Value::string(summary.last_restart), now));
}

Cell pod_readiness_gates(const Value& pod, int64_t) {
  const Value& gates = pod.at("spec.readinessGates");
  if (gates.empty()) return kNone;
  const auto passed =
      std::count_if(gates.items().begin(), gates.items().end(), [&](const Value& gate) {
        return condition_is_true(pod.get("status"), gate.get("conditionType").as_string());
      });
  return fmt::format("{}/{}", passed, gates.size());
}

Cell node_status(const Value& node, int64_t) {
  std::string text = "Unknown";
  for (const Value& condition : node.at("status.conditions").items()) {
    if (condition.get("type").as_string() != "Ready") continue;
    text = condition.get("status").as_string() == "True" ? "Ready" : "NotReady";
  }
  if (node.at("spec.unschedulable").as_bool()) text += ",SchedulingDisabled";
  return text;
}

Cell node_roles(const Value& node, int64_t) {
  std::set<std::string_view> roles;
  for (const Member& label : node.at("metadata.labels").members()) {
    if (label.key.starts_with(kRolePrefix) && label.key.size() > kRolePrefix.size()) {
      roles.insert(label.key.substr(kRolePrefix.size()));
    } else if (label.key == kRoleLabel && !label.value.as_string().empty()) {
      roles.insert(label.value.as_string());
    }
  }
  return roles.empty() ? Cell(kNone) : Cell(fmt::format("{}", fmt::join(roles, ",")));
}

Cell node_internal_ip(const Value& node, int64_t) {
  return node_address(node, "InternalIP");
}

Cell node_external_ip(const Value& node, int64_t) {
  return node_address(node, "ExternalIP");
}

Cell template_containers(const Value& object, int64_t) {
  return joined_field(template_of(object), "name");
}

Cell template_images(const Value& object, int64_t) {
  return joined_field(template_of(object), "image");
}

Cell ready_of_replicas(const Value& object, int64_t) {
  return fmt::format("{}/{}", object.at("status.readyReplicas").as_int(),
                     object.at("spec.replicas").as_int());
}

Cell job_completions(const Value& job, int64_t) {
  const int64_t succeeded = job.at("status.succeeded").as_int();
  const Value& completions = job.at("spec.completions");
  if (completions.is_int()) return fmt::format("{}/{}", succeeded, completions.as_int());
  const int64_t parallelism = job.at("spec.parallelism").as_int();
  return parallelism > 1 ? fmt::format("{}/1 of {}", succeeded, parallelism)
                         : fmt::format("{}/1", succeeded);
}

Cell job_duration(const Value& job, int64_t now) {
  const auto start = api::parse_rfc3339_seconds(job.at("status.startTime").as_string());
  const auto end = api::parse_rfc3339_seconds(job.at("status.completionTime").as_string());
  return start ? human_duration(end.value_or(now) - *start) : "";
}

Cell cron_job_last(const Value& job, int64_t now) {
  const Value& last = job.at("status.lastScheduleTime");
  return last.is_null() ? Cell(kNone) : Cell(age_of(last, now));
}

}  // namespace fairlead::schema
