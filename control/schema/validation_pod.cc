// What a row cannot say of pods: what refers to what, and what excludes what.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "control/schema/quantity.h"
#include "control/schema/validation_rules.h"

namespace fairlead::schema {

namespace {

constexpr std::string_view kContainerLists[] = {"initContainers", "containers"};

void container_names(const Value& spec, const FieldPath& path, ErrorList& errors) {
  std::unordered_set<std::string_view> seen;
  for (const std::string_view list : {"initContainers", "containers", "ephemeralContainers"}) {
    const FieldPath here = path.child(list);
    size_t index = 0;
    for (const Value& container : spec.get(list).items()) {
      const FieldPath at = here.element(index++);
      const Value& name = container.get("name");
      if (!name.as_string().empty() && !seen.insert(name.as_string()).second) {
        errors.duplicate(at.child("name"), name);
      }
      if (container.get("image").as_string().empty()) errors.required(at.child("image"));
    }
  }
}

void volume_references(const Value& spec, const FieldPath& path, ErrorList& errors) {
  std::unordered_set<std::string_view> volumes;
  for (const Value& volume : spec.get("volumes").items()) {
    volumes.insert(volume.get("name").as_string());
  }
  for (const std::string_view list : kContainerLists) {
    const FieldPath containers = path.child(list);
    size_t index = 0;
    for (const Value& container : spec.get(list).items()) {
      const FieldPath at = containers.element(index++);
      for (const std::string_view kind : {"volumeMounts", "volumeDevices"}) {
        const FieldPath mounts = at.child(kind);
        size_t mount_index = 0;
        for (const Value& mount : container.get(kind).items()) {
          const FieldPath here = mounts.element(mount_index++);
          const Value& name = mount.get("name");
          if (name.as_string().empty() || volumes.count(name.as_string()) > 0) continue;
          errors.not_found(here.child("name"), name);
        }
      }
    }
  }
}

void host_ports(const Value& spec, const FieldPath& path, ErrorList& errors) {
  std::unordered_set<std::string> seen;
  const FieldPath containers = path.child("containers");
  const bool host_network = spec.get("hostNetwork").as_bool();
  size_t index = 0;
  for (const Value& container : spec.get("containers").items()) {
    const FieldPath at = containers.element(index++);
    const FieldPath list = at.child("ports");
    size_t port_index = 0;
    for (const Value& port : container.get("ports").items()) {
      const FieldPath here = list.element(port_index++);
      const int64_t host = port.get("hostPort").as_int();
      if (host == 0) continue;
      const std::string key = fmt::format("{}/{}/{}", port.get("protocol").as_string(),
                                          port.get("hostIP").as_string(), host);
      if (!seen.insert(key).second) errors.duplicate(here.child("hostPort"), port.get("hostPort"));
      if (host_network && host != port.get("containerPort").as_int()) {
        errors.invalid(here.child("containerPort"), port.get("containerPort"),
                       "must match `hostPort` when `hostNetwork` is true");
      }
    }
  }
}

void pod_spec_checks(const Value& spec, const FieldPath& path, ErrorList& errors) {
  container_names(spec, path, errors);
  volume_references(spec, path, errors);
  host_ports(spec, path, errors);
}

// Exactly one of the members beside the name, each of which is a kind of source.
void one_source(const Value& value, const FieldPath& path, ErrorList& errors,
                std::string_view missing) {
  size_t sources = 0;
  for (const Member& member : value.members()) {
    if (!member.value.is_object()) continue;
    if (++sources > 1)
      errors.forbidden(path.child(member.key), "may not specify more than 1 volume type");
  }
  if (sources == 0) errors.required(path, missing);
}

void volume_checks(const Value& volume, const FieldPath& path, ErrorList& errors) {
  one_source(volume, path, errors, "must specify a volume type");
}

void env_source(const Value& variable, const FieldPath& path, ErrorList& errors) {
  const Value* from = variable.find("valueFrom");
  if (!from) return;
  const FieldPath here = path.child("valueFrom");
  if (!variable.get("value").as_string().empty()) {
    errors.invalid(here, Value::string(""), "may not be specified when `value` is not empty");
  }
  if (from->empty()) {
    errors.invalid(here, Value::string(""),
                   "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                   "`secretKeyRef`");
  } else if (from->size() > 1) {
    errors.invalid(here, Value::string(""), "may not have more than one field specified at a time");
  }
}

void resource_checks(const Value& resources, const FieldPath& path, ErrorList& errors) {
  const Value& limits = resources.get("limits");
  for (const std::string_view list : {"limits", "requests"}) {
    const FieldPath here = path.child(list);
    for (const Member& member : resources.get(list).members()) {
      const auto quantity = Quantity::parse(member.value.as_string());
      if (quantity && quantity->negative()) {
        errors.invalid(here.key(member.key), member.value, "must be greater than or equal to 0");
      }
      const Value* limit = list == "requests" ? limits.find(member.key) : nullptr;
      const auto bound = limit ? Quantity::parse(limit->as_string()) : std::nullopt;
      if (bound && quantity && *quantity > *bound) {
        errors.invalid(path.child("requests"), member.value,
                       fmt::format("must be less than or equal to {} limit of {}", member.key,
                                   limit->as_string()));
      }
    }
  }
}

void one_handler(const Value& probe, const FieldPath& path, ErrorList& errors) {
  size_t handlers = 0;
  for (const std::string_view name : {"exec", "httpGet", "tcpSocket", "grpc"}) {
    if (!probe.find(name)) continue;
    if (++handlers > 1) {
      errors.forbidden(path.child(name), "may not specify more than 1 handler type");
    }
  }
  if (handlers == 0) errors.required(path, "must specify a handler type");
}

void container_probes(const Value& container, const FieldPath& path, ErrorList& errors) {
  for (const std::string_view name : {"livenessProbe", "startupProbe"}) {
    const Value& probe = container.get(name);
    if (probe.is_object() && probe.get("successThreshold").as_int() > 1) {
      const FieldPath here = path.child(name);
      errors.invalid(here.child("successThreshold"), probe.get("successThreshold"), "must be 1");
    }
  }
}

void toleration_checks(const Value& toleration, const FieldPath& path, ErrorList& errors) {
  constexpr std::string_view kOperators[] = {"Equal", "Exists"};
  const Value& op = toleration.get("operator");
  const std::string_view name = op.as_string();
  if (!name.empty() && name != "Equal" && name != "Exists") {
    errors.not_supported(path.child("operator"), op, kOperators);
  }
  if (toleration.get("key").as_string().empty() && name != "Exists") {
    errors.invalid(
        path.child("operator"), op,
        "operator must be Exists when `key` is empty, which means \"match all values and "
        "all keys\"");
  }
  if (name == "Exists" && !toleration.get("value").as_string().empty()) {
    errors.invalid(path.child("operator"), toleration.get("value"),
                   "value must be empty when `operator` is 'Exists'");
  }
  if (toleration.find("tolerationSeconds") && toleration.get("effect").as_string() != "NoExecute") {
    errors.invalid(path.child("effect"), toleration.get("effect"),
                   "effect must be 'NoExecute' when `tolerationSeconds` is set");
  }
}

void node_requirement(const Value& requirement, const FieldPath& path, ErrorList& errors) {
  const std::string_view op = requirement.get("operator").as_string();
  const size_t values = requirement.get("values").size();
  const FieldPath here = path.child("values");
  if ((op == "In" || op == "NotIn") && values == 0) {
    errors.required(here, "must be specified when `operator` is 'In' or 'NotIn'");
  } else if ((op == "Exists" || op == "DoesNotExist") && values > 0) {
    errors.forbidden(here, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  } else if ((op == "Gt" || op == "Lt") && values != 1) {
    errors.required(here, "must be specified single value when `operator` is 'Lt' or 'Gt'");
  }
}

constexpr ValidationHookRow kPodHooks[] = {
    {"core.v1.PodSpec", pod_spec_checks},
    {"core.v1.Volume", volume_checks},
    {"core.v1.EnvVar", env_source},
    {"core.v1.ResourceRequirements", resource_checks},
    {"core.v1.Probe", one_handler},
    {"core.v1.Container", container_probes},
    {"core.v1.Toleration", toleration_checks},
    {"core.v1.NodeSelectorRequirement", node_requirement},
};

}  // namespace

std::span<const ValidationHookRow> pod_hooks() {
  return kPodHooks;
}

}  // namespace fairlead::schema
