// The columns of each kind, and what stands in them.
//
// Threads: constants and pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "control/schema/resources.h"
#include "control/schema/value.h"

namespace fairlead::schema {

inline constexpr std::string_view kNone = "<none>";
inline constexpr std::string_view kUnknown = "<unknown>";

// One cell: text, or a number where `is_number` says so.
struct Cell {
  std::string text;
  bool is_number = false;

  Cell(std::string value) : text(std::move(value)) {}  // NOLINT: cells are made often
  Cell(std::string_view value) : text(value) {}        // NOLINT: as above
  Cell(const char* value) : text(value) {}             // NOLINT: as above
  Cell(int64_t value) : text(std::to_string(value)), is_number(true) {}  // NOLINT: as above
};

using CellFunction = Cell (*)(const Value& object, int64_t now);

struct ColumnRow {
  std::string_view name;
  std::string_view type;
  CellFunction cell;           // null: `path`
  std::string_view path = {};  // dotted; absent is "<none>", or 0 for integers
  int priority = 0;            // 1: only in wide output
  std::string_view format = {};
};

struct TableColumns {
  std::string_view group;
  std::string_view plural;
  std::span<const ColumnRow> columns;
};

std::span<const ColumnRow> columns_of(const Resource& resource);

// "5m10s" since the time in the field, "<unknown>" without one.
std::string age_of(const Value& time, int64_t now);
// "a=b,c=d"
std::string format_labels(const Value& labels);
// A meta.v1.LabelSelector as a query parameter would say it.
std::string format_selector(const Value& selector);

// Pods, nodes and what makes pods.
Cell pod_ready(const Value& pod, int64_t now);
Cell pod_status(const Value& pod, int64_t now);
Cell pod_restarts(const Value& pod, int64_t now);
Cell pod_readiness_gates(const Value& pod, int64_t now);
Cell node_status(const Value& node, int64_t now);
Cell node_roles(const Value& node, int64_t now);
Cell node_internal_ip(const Value& node, int64_t now);
Cell node_external_ip(const Value& node, int64_t now);
Cell template_containers(const Value& object, int64_t now);
Cell template_images(const Value& object, int64_t now);
Cell ready_of_replicas(const Value& object, int64_t now);
Cell job_completions(const Value& job, int64_t now);
Cell job_duration(const Value& job, int64_t now);
Cell cron_job_last(const Value& job, int64_t now);
// Services and what belongs to them.
Cell service_cluster_ip(const Value& service, int64_t now);
Cell service_external_ip(const Value& service, int64_t now);
Cell service_ports_cell(const Value& service, int64_t now);
Cell endpoints_cell(const Value& endpoints, int64_t now);
Cell slice_ports(const Value& slice, int64_t now);
Cell slice_endpoints(const Value& slice, int64_t now);
Cell ingress_hosts(const Value& ingress, int64_t now);
Cell ingress_address(const Value& ingress, int64_t now);
Cell ingress_ports(const Value& ingress, int64_t now);
Cell ingress_class_parameters(const Value& object, int64_t now);
// The rest.
Cell event_last_seen(const Value& event, int64_t now);
Cell event_first_seen(const Value& event, int64_t now);
Cell event_object(const Value& event, int64_t now);
Cell event_source(const Value& event, int64_t now);
Cell event_count(const Value& event, int64_t now);
Cell volume_claim(const Value& volume, int64_t now);
Cell access_modes(const Value& object, int64_t now);
Cell claim_status(const Value& claim, int64_t now);
Cell claim_capacity(const Value& claim, int64_t now);
Cell storage_class_name(const Value& object, int64_t now);
Cell role_of_binding(const Value& binding, int64_t now);
Cell subject_users(const Value& binding, int64_t now);
Cell subject_groups(const Value& binding, int64_t now);
Cell subject_accounts(const Value& binding, int64_t now);
Cell signing_condition(const Value& request, int64_t now);
Cell signing_duration(const Value& request, int64_t now);
Cell autoscaler_reference(const Value& scaler, int64_t now);
Cell autoscaler_targets(const Value& scaler, int64_t now);
Cell quota_requests(const Value& quota, int64_t now);
Cell quota_limits(const Value& quota, int64_t now);
Cell controller_of(const Value& object, int64_t now);
Cell service_of_api(const Value& object, int64_t now);
Cell api_available(const Value& object, int64_t now);

}  // namespace fairlead::schema
