#include "control/api/decode_objects.h"

#include <array>
#include <iterator>
#include <limits>

#include "control/api/decode.h"

namespace fairlead::api {

namespace {

using walk::Path;
using walk::Value;
using walk::Walk;

constexpr int64_t kMaxPort = 65535;
constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

constexpr std::array<std::string_view, 3> kKeptAnnotations = {
    "endpoints.kubernetes.io/last-change-trigger-time",
    "service.kubernetes.io/topology-mode",
    "service.kubernetes.io/topology-aware-hints",
};

void read_time(Walk& walk, Value value, const Path& path, std::optional<int64_t>* out) {
  std::string_view text;
  if (!walk.view(value, path, &text)) return;
  if (const auto seconds = parse_rfc3339_seconds(text)) {
    *out = *seconds;
  } else {
    walk.problem(path, "is not an RFC 3339 time");
  }
}

bool keep_annotation(std::string_view key) {
  for (const std::string_view kept : kKeptAnnotations) {
    if (key == kept) return true;
  }
  return false;
}

void read_meta(Walk& walk, Value value, const Path& path, ObjectMeta* meta) {
  walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key == "name") {
      walk.string(field, at, &meta->name);
    } else if (key == "namespace") {
      walk.string(field, at, &meta->name_space);
    } else if (key == "uid") {
      walk.string(field, at, &meta->uid);
    } else if (key == "resourceVersion") {
      walk.string(field, at, &meta->resource_version);
    } else if (key == "creationTimestamp") {
      std::optional<int64_t> time;
      read_time(walk, field, at, &time);
      meta->creation_timestamp = time.value_or(0);
    } else if (key == "deletionTimestamp") {
      read_time(walk, field, at, &meta->deletion_timestamp);
    } else if (key == "labels") {
      walk.object(field, at, [&](std::string_view label, Value text, const Path& label_at) {
        std::string_view view;
        if (walk.view(text, label_at, &view)) meta->labels.emplace_back(label, view);
      });
    } else if (key == "annotations") {
      walk.object(field, at, [&](std::string_view name, Value text, const Path& name_at) {
        std::string_view view;
        if (keep_annotation(name) && walk.view(text, name_at, &view)) {
          meta->annotations.emplace_back(name, view);
        }
      });
    }
  });
}

// Replaces `out` with one T for each object of an array; other elements are problems and are left
// out.
template <typename T, typename Read>
void read_objects(Walk& walk, Value value, const Path& path, std::vector<T>* out, Read&& read) {
  std::vector<T> found;
  const bool is_array = walk.array(value, path, [&](Value element, const Path& at) {
    T item;
    const bool is_object =
        walk.object(element, at, [&](std::string_view key, Value field, const Path& field_at) {
          read(item, key, field, field_at);
        });
    if (is_object) found.push_back(std::move(item));
  });
  if (is_array) *out = std::move(found);
}

void read_service_port(Walk& walk, ServicePort& port, std::string_view key, Value field,
                       const Path& at) {
  if (key == "name") {
    walk.string(field, at, &port.name);
  } else if (key == "protocol") {
    walk.string(field, at, &port.protocol);
  } else if (key == "port") {
    walk.integer(field, at, 1, kMaxPort, &port.port);
  } else if (key == "nodePort") {
    walk.integer(field, at, 0, kMaxPort, &port.node_port);
  }
}

void read_affinity_config(Walk& walk, Value value, const Path& path, Service* service) {
  walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key != "clientIP") return;
    walk.object(field, at, [&](std::string_view name, Value seconds, const Path& seconds_at) {
      int64_t timeout = 0;
      if (name == "timeoutSeconds" && walk.integer(seconds, seconds_at, 0, kMaxInt32, &timeout)) {
        service->affinity_timeout_seconds = timeout;
      }
    });
  });
}

void read_service_spec(Walk& walk, Value value, const Path& path, Service* service) {
  walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key == "type") {
      walk.string(field, at, &service->type);
    } else if (key == "clusterIP") {
      walk.string(field, at, &service->cluster_ip);
    } else if (key == "clusterIPs") {
      walk.strings(field, at, &service->cluster_ips);
    } else if (key == "externalIPs") {
      walk.strings(field, at, &service->external_ips);
    } else if (key == "ports") {
      read_objects(
          walk, field, at, &service->ports,
          [&walk](ServicePort& port, std::string_view name, Value item, const Path& place) {
            read_service_port(walk, port, name, item, place);
          });
    } else if (key == "sessionAffinity") {
      walk.string(field, at, &service->session_affinity);
    } else if (key == "sessionAffinityConfig") {
      read_affinity_config(walk, field, at, service);
    } else if (key == "externalTrafficPolicy") {
      walk.string(field, at, &service->external_traffic_policy);
    } else if (key == "internalTrafficPolicy") {
      walk.string(field, at, &service->internal_traffic_policy);
    } else if (key == "loadBalancerSourceRanges") {
      walk.strings(field, at, &service->load_balancer_source_ranges);
    } else if (key == "healthCheckNodePort") {
      walk.integer(field, at, 0, kMaxPort, &service->health_check_node_port);
    }
  });
}

void read_service_status(Walk& walk, Value value, const Path& path, Service* service) {
  walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key != "loadBalancer") return;
    walk.object(field, at, [&](std::string_view name, Value list, const Path& list_at) {
      if (name != "ingress") return;
      read_objects(walk, list, list_at, &service->load_balancer_ingress,
                   [&walk](LoadBalancerIngress& ingress, std::string_view part, Value item,
                           const Path& place) {
                     if (part == "ip") walk.string(item, place, &ingress.ip);
                     if (part == "ipMode") walk.string(item, place, &ingress.ip_mode);
                   });
    });
  });
}

void read_condition(Walk& walk, Value value, const Path& path, std::optional<bool>* out) {
  bool condition = false;
  if (walk.boolean(value, path, &condition)) *out = condition;
}

void read_hints(Walk& walk, Value value, const Path& path, std::vector<std::string>* out) {
  std::vector<std::string> names;
  const bool is_array = walk.array(value, path, [&](Value hint, const Path& at) {
    walk.object(hint, at, [&](std::string_view key, Value name, const Path& name_at) {
      std::string_view text;
      if (key == "name" && walk.view(name, name_at, &text)) names.emplace_back(text);
    });
  });
  if (is_array) *out = std::move(names);
}

void read_endpoint(Walk& walk, Endpoint& endpoint, std::string_view key, Value field,
                   const Path& at) {
  if (key == "addresses") {
    walk.strings(field, at, &endpoint.addresses);
  } else if (key == "conditions") {
    walk.object(field, at, [&](std::string_view name, Value condition, const Path& place) {
      if (name == "ready") read_condition(walk, condition, place, &endpoint.ready);
      if (name == "serving") read_condition(walk, condition, place, &endpoint.serving);
      if (name == "terminating") read_condition(walk, condition, place, &endpoint.terminating);
    });
  } else if (key == "nodeName") {
    std::string_view name;
    if (walk.view(field, at, &name)) endpoint.node_name.emplace(name);
  } else if (key == "hints") {
    walk.object(field, at, [&](std::string_view name, Value hints, const Path& place) {
      if (name == "forZones") read_hints(walk, hints, place, &endpoint.hints_for_zones);
      if (name == "forNodes") read_hints(walk, hints, place, &endpoint.hints_for_nodes);
    });
  }
}

void read_endpoints(Walk& walk, Value value, const Path& path, std::vector<Endpoint>* out,
                    std::vector<Endpoint>* scratch) {
  scratch->clear();
  const bool is_array = walk.array(value, path, [&](Value element, const Path& at) {
    scratch->emplace_back();
    const bool is_object =
        walk.object(element, at, [&](std::string_view key, Value field, const Path& field_at) {
          read_endpoint(walk, scratch->back(), key, field, field_at);
        });
    if (!is_object) scratch->pop_back();
  });
  if (is_array) {
    out->assign(std::make_move_iterator(scratch->begin()), std::make_move_iterator(scratch->end()));
  }
  scratch->clear();
}

void read_endpoint_port(Walk& walk, EndpointPort& port, std::string_view key, Value field,
                        const Path& at) {
  std::string_view text;
  int64_t number = 0;
  if (key == "name" && walk.view(field, at, &text)) {
    port.name.emplace(text);
  } else if (key == "protocol") {
    walk.string(field, at, &port.protocol);
  } else if (key == "port" && walk.integer(field, at, 0, kMaxPort, &number)) {
    port.port = number;
  }
}

void read_node_spec(Walk& walk, Value value, const Path& path, Node* node, std::string* pod_cidr) {
  walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key == "podCIDR") {
      walk.string(field, at, pod_cidr);
    } else if (key == "podCIDRs") {
      walk.strings(field, at, &node->pod_cidrs);
    } else if (key == "taints") {
      read_objects(walk, field, at, &node->taints,
                   [&walk](NodeTaint& taint, std::string_view name, Value item, const Path& place) {
                     if (name == "key") walk.string(item, place, &taint.key);
                     if (name == "value") walk.string(item, place, &taint.value);
                     if (name == "effect") walk.string(item, place, &taint.effect);
                   });
    }
  });
}

void read_node_status(Walk& walk, Value value, const Path& path, Node* node) {
  walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key != "addresses") return;
    read_objects(
        walk, field, at, &node->addresses,
        [&walk](NodeAddress& address, std::string_view name, Value item, const Path& place) {
          if (name == "type") walk.string(item, place, &address.type);
          if (name == "address") walk.string(item, place, &address.address);
        });
  });
}

}  // namespace

void walk_service(Walk& walk, walk::ondemand::document& document, Service* service) {
  walk.root(document, [&](std::string_view key, Value field, const Path& at) {
    if (key == "metadata") {
      read_meta(walk, field, at, &service->meta);
    } else if (key == "spec") {
      read_service_spec(walk, field, at, service);
    } else if (key == "status") {
      read_service_status(walk, field, at, service);
    }
  });
}

void walk_endpoint_slice(Walk& walk, walk::ondemand::document& document, EndpointSlice* slice,
                         std::vector<Endpoint>* scratch) {
  walk.root(document, [&](std::string_view key, Value field, const Path& at) {
    if (key == "metadata") {
      read_meta(walk, field, at, &slice->meta);
    } else if (key == "addressType") {
      walk.string(field, at, &slice->address_type);
    } else if (key == "endpoints") {
      read_endpoints(walk, field, at, &slice->endpoints, scratch);
    } else if (key == "ports") {
      read_objects(
          walk, field, at, &slice->ports,
          [&walk](EndpointPort& port, std::string_view name, Value item, const Path& place) {
            read_endpoint_port(walk, port, name, item, place);
          });
    }
  });
}

void walk_node(Walk& walk, walk::ondemand::document& document, Node* node) {
  std::string pod_cidr;
  walk.root(document, [&](std::string_view key, Value field, const Path& at) {
    if (key == "metadata") {
      read_meta(walk, field, at, &node->meta);
    } else if (key == "spec") {
      read_node_spec(walk, field, at, node, &pod_cidr);
    } else if (key == "status") {
      read_node_status(walk, field, at, node);
    }
  });
  // Servers from before dual-stack know only the singular field.
  if (node->pod_cidrs.empty() && !pod_cidr.empty()) node->pod_cidrs.push_back(std::move(pod_cidr));
}

void walk_service_cidr(Walk& walk, walk::ondemand::document& document, ServiceCidr* cidr) {
  walk.root(document, [&](std::string_view key, Value field, const Path& at) {
    if (key == "metadata") {
      read_meta(walk, field, at, &cidr->meta);
    } else if (key == "spec") {
      walk.object(field, at, [&](std::string_view name, Value item, const Path& place) {
        if (name == "cidrs") walk.strings(item, place, &cidr->cidrs);
      });
    }
  });
}

}  // namespace fairlead::api
