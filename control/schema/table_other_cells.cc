#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "control/api/decode.h"
#include "control/schema/scalars.h"
#include "control/schema/selector.h"
#include "control/schema/table_cells.h"

namespace fairlead::schema {

namespace {

constexpr size_t kShownEndpoints = 3;  // further ones are counted

template <typename Texts>
std::string comma_joined(const Texts& texts) {
  return fmt::format("{}", fmt::join(texts, ","));
}

std::string some_of(const std::vector<std::string>& texts, bool suffix_count) {
  if (texts.empty()) return std::string(kNone);
  if (texts.size() <= kShownEndpoints) return comma_joined(texts);
  const std::vector<std::string> shown(texts.begin(), texts.begin() + kShownEndpoints);
  return suffix_count
             ? fmt::format("{} + {} more...", comma_joined(shown), texts.size() - kShownEndpoints)
             : comma_joined(shown);
}

std::string host_port(std::string_view host, int64_t port) {
  return host.find(':') == std::string_view::npos ? fmt::format("{}:{}", host, port)
                                                  : fmt::format("[{}]:{}", host, port);
}

std::vector<std::string> texts_of(const Value& list) {
  std::vector<std::string> texts;
  for (const Value& item : list.items()) texts.emplace_back(item.as_string());
  return texts;
}

std::vector<std::string> balancer_addresses(const Value& object) {
  std::set<std::string> addresses;
  for (const Value& ingress : object.at("status.loadBalancer.ingress").items()) {
    const std::string_view ip = ingress.get("ip").as_string();
    const std::string_view name = ingress.get("hostname").as_string();
    if (!ip.empty() || !name.empty()) addresses.emplace(ip.empty() ? name : ip);
  }
  return {addresses.begin(), addresses.end()};
}

Cell subjects_of(const Value& binding, std::string_view kind) {
  std::vector<std::string> names;
  for (const Value& subject : binding.get("subjects").items()) {
    if (subject.get("kind").as_string() != kind) continue;
    const std::string_view name = subject.get("name").as_string();
    names.push_back(kind == "ServiceAccount"
                        ? fmt::format("{}/{}", subject.get("namespace").as_string(), name)
                        : std::string(name));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

const Value& first_of(const Value& object, std::initializer_list<std::string_view> paths) {
  for (const std::string_view path : paths) {
    const Value& found = object.at(path);
    if (!found.is_null()) return found;
  }
  return object.at("nothing");
}

Cell quota_of(const Value& quota, bool limits) {
  const Value& used = quota.at("status.used");
  std::vector<std::string> texts;
  for (const Member& hard : quota.at("status.hard").members()) {
    if (hard.key.starts_with("limits.") != limits) continue;
    const std::string_view amount = used.get(hard.key).as_string();
    texts.push_back(
        fmt::format("{}: {}/{}", hard.key, amount.empty() ? "0" : amount, hard.value.as_string()));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

std::string metric_target(const Value& metric, const Value& current) {
  // The member that is named as the type says, with a small letter.
  std::string member(metric.get("type").as_string());
  if (!member.empty()) member[0] = static_cast<char>(member[0] | 0x20);
  const Value& source = metric.get(member);
  const Value& target = source.get("target");
  const Value& now = current.get(member).get("current");
  const Value& utilization = target.get("averageUtilization");
  std::string have(kUnknown);
  std::string want;
  if (utilization.is_int()) {
    want = fmt::format("{}%", utilization.as_int());
    const Value& found = now.get("averageUtilization");
    if (found.is_int()) have = fmt::format("{}%", found.as_int());
  } else {
    const bool average = target.find("averageValue") != nullptr;
    const std::string_view field = average ? "averageValue" : "value";
    want = fmt::format("{}{}", target.get(field).as_string(),
                       average && member != "resource" && member != "pods" ? " (avg)" : "");
    const std::string_view found = now.get(field).as_string();
    if (!found.empty()) have = found;
  }
  const std::string_view name = source.get("name").as_string();
  return name.empty() ? fmt::format("{}/{}", have, want)
                      : fmt::format("{}: {}/{}", name, have, want);
}

}  // namespace

std::string age_of(const Value& time, int64_t now) {
  const auto seconds = api::parse_rfc3339_seconds(time.as_string());
  return seconds ? human_duration(now - *seconds) : std::string(kUnknown);
}

std::string format_labels(const Value& labels) {
  if (labels.empty()) return std::string(kNone);
  std::vector<std::string> texts;
  for (const Member& label : labels.members()) {
    texts.push_back(fmt::format("{}={}", label.key, label.value.as_string()));
  }
  return comma_joined(texts);
}

std::string format_selector(const Value& selector) {
  const Result<LabelSelector> parsed = LabelSelector::from_object(selector);
  if (!parsed.ok()) return "<error>";
  const std::string text = parsed->to_string();
  return text.empty() ? std::string(kNone) : text;
}

Cell service_cluster_ip(const Value& service, int64_t) {
  const std::string_view address = service.at("spec.clusterIP").as_string();
  return address.empty() ? kNone : address;
}

Cell service_external_ip(const Value& service, int64_t) {
  const std::string_view type = service.at("spec.type").as_string();
  if (type == "ExternalName") return service.at("spec.externalName").as_string();
  std::vector<std::string> addresses;
  if (type == "LoadBalancer") addresses = balancer_addresses(service);
  for (std::string& address : texts_of(service.at("spec.externalIPs"))) {
    addresses.push_back(std::move(address));
  }
  if (!addresses.empty()) return comma_joined(addresses);
  return type == "LoadBalancer" ? "<pending>" : kNone;
}

Cell service_ports_cell(const Value& service, int64_t) {
  std::vector<std::string> texts;
  for (const Value& port : service.at("spec.ports").items()) {
    const int64_t node_port = port.get("nodePort").as_int();
    const std::string_view protocol = port.get("protocol").as_string();
    const int64_t number = port.get("port").as_int();
    texts.push_back(node_port > 0 ? fmt::format("{}:{}/{}", number, node_port, protocol)
                                  : fmt::format("{}/{}", number, protocol));
  }
  return texts.empty() ? std::string(kNone) : comma_joined(texts);
}

Cell endpoints_cell(const Value& endpoints, int64_t) {
  std::vector<std::string> texts;
  for (const Value& subset : endpoints.get("subsets").items()) {
    for (const Value& address : subset.get("addresses").items()) {
      const std::string_view ip = address.get("ip").as_string();
      if (subset.get("ports").empty()) texts.emplace_back(ip);
      for (const Value& port : subset.get("ports").items()) {
        texts.push_back(host_port(ip, port.get("port").as_int()));
      }
    }
  }
  return some_of(texts, true);
}

Cell slice_ports(const Value& slice, int64_t) {
  std::vector<std::string> texts;
  for (const Value& port : slice.get("ports").items()) {
    const Value& number = port.get("port");
    texts.push_back(number.is_int() ? std::to_string(number.as_int()) : "<unset>");
  }
  return texts.empty() ? Cell("<unset>") : Cell(some_of(texts, true));
}

Cell slice_endpoints(const Value& slice, int64_t) {
  std::vector<std::string> texts;
  for (const Value& endpoint : slice.get("endpoints").items()) {
    for (std::string& address : texts_of(endpoint.get("addresses"))) {
      texts.push_back(std::move(address));
    }
  }
  return texts.empty() ? Cell("<unset>") : Cell(some_of(texts, true));
}

Cell ingress_hosts(const Value& ingress, int64_t) {
  std::vector<std::string> hosts;
  for (const Value& rule : ingress.at("spec.rules").items()) {
    if (!rule.get("host").as_string().empty()) hosts.emplace_back(rule.get("host").as_string());
  }
  return hosts.empty() ? Cell("*") : Cell(some_of(hosts, true));
}

Cell ingress_address(const Value& ingress, int64_t) {
  return comma_joined(balancer_addresses(ingress));
}

Cell ingress_ports(const Value& ingress, int64_t) {
  return ingress.at("spec.tls").empty() ? "80" : "80, 443";
}

Cell ingress_class_parameters(const Value& object, int64_t) {
  const Value& parameters = object.at("spec.parameters");
  if (!parameters.is_object()) return kNone;
  const std::string_view group = parameters.get("apiGroup").as_string();
  return fmt::format("{}{}{}/{}", parameters.get("kind").as_string(), group.empty() ? "" : ".",
                     group, parameters.get("name").as_string());
}

Cell event_last_seen(const Value& event, int64_t now) {
  return age_of(first_of(event, {"series.lastObservedTime", "lastTimestamp",
                                 "deprecatedLastTimestamp", "eventTime", "firstTimestamp"}),
                now);
}

Cell event_first_seen(const Value& event, int64_t now) {
  return age_of(first_of(event, {"firstTimestamp", "deprecatedFirstTimestamp", "eventTime"}), now);
}

Cell event_object(const Value& event, int64_t) {
  const Value& involved = first_of(event, {"involvedObject", "regarding"});
  std::string kind(involved.get("kind").as_string());
  for (char& c : kind) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const std::string_view name = involved.get("name").as_string();
  return name.empty() ? kind : fmt::format("{}/{}", kind, name);
}

Cell event_source(const Value& event, int64_t) {
  const std::string_view component =
      first_of(event, {"source.component", "deprecatedSource.component", "reportingComponent",
                       "reportingController"})
          .as_string();
  const std::string_view host =
      first_of(event, {"source.host", "deprecatedSource.host", "reportingInstance"}).as_string();
  return host.empty() ? std::string(component) : fmt::format("{}, {}", component, host);
}

Cell event_count(const Value& event, int64_t) {
  const int64_t count = first_of(event, {"series.count", "count", "deprecatedCount"}).as_int();
  return std::to_string(std::max<int64_t>(count, 1));
}

Cell volume_claim(const Value& volume, int64_t) {
  const Value& claim = volume.at("spec.claimRef");
  if (!claim.is_object()) return "";
  return fmt::format("{}/{}", claim.get("namespace").as_string(), claim.get("name").as_string());
}

Cell access_modes(const Value& object, int64_t) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kShort = {
      {{"ReadWriteOnce", "RWO"},
       {"ReadOnlyMany", "ROX"},
       {"ReadWriteMany", "RWX"},
       {"ReadWriteOncePod", "RWOP"}}};
  // A claim shows what it got.
  const bool claim = object.get("kind").as_string() == "PersistentVolumeClaim";
  const Value& modes = object.at(claim ? "status.accessModes" : "spec.accessModes");
  std::vector<std::string_view> texts;
  for (const auto& [mode, text] : kShort) {
    const bool has = std::any_of(modes.items().begin(), modes.items().end(),
                                 [name = mode](const Value& m) { return m.as_string() == name; });
    if (has) texts.push_back(text);
  }
  return comma_joined(texts);
}

Cell claim_status(const Value& claim, int64_t) {
  if (claim.at("metadata.deletionTimestamp").is_string()) return "Terminating";
  return claim.at("status.phase").as_string();
}

Cell claim_capacity(const Value& claim, int64_t) {
  if (claim.at("spec.volumeName").as_string().empty()) return "";
  return claim.at("status.capacity.storage").as_string();
}

Cell storage_class_name(const Value& object, int64_t) {
  const std::string_view name = object.at("metadata.name").as_string();
  const Value& annotations = object.at("metadata.annotations");
  const bool preferred =
      annotations.get("storageclass.kubernetes.io/is-default-class").as_string() == "true" ||
      annotations.get("storageclass.beta.kubernetes.io/is-default-class").as_string() == "true";
  return preferred ? fmt::format("{} (default)", name) : std::string(name);
}

Cell role_of_binding(const Value& binding, int64_t) {
  return fmt::format("{}/{}", binding.at("roleRef.kind").as_string(),
                     binding.at("roleRef.name").as_string());
}

Cell subject_users(const Value& binding, int64_t) {
  return subjects_of(binding, "User");
}

Cell subject_groups(const Value& binding, int64_t) {
  return subjects_of(binding, "Group");
}

Cell subject_accounts(const Value& binding, int64_t) {
  return subjects_of(binding, "ServiceAccount");
}

Cell signing_condition(const Value& request, int64_t) {
  std::set<std::string_view> types;
  for (const Value& condition : request.at("status.conditions").items()) {
    types.insert(condition.get("type").as_string());
  }
  std::vector<std::string_view> texts;
  for (const std::string_view type : {"Approved", "Denied", "Failed"}) {
    if (types.count(type) > 0) texts.push_back(type);
  }
  if (texts.empty()) texts.push_back("Pending");
  if (!request.at("status.certificate").as_string().empty()) texts.push_back("Issued");
  return comma_joined(texts);
}

Cell signing_duration(const Value& request, int64_t) {
  const Value& seconds = request.at("spec.expirationSeconds");
  return seconds.is_int() ? Cell(human_duration(seconds.as_int())) : Cell(kNone);
}

Cell autoscaler_reference(const Value& scaler, int64_t) {
  return fmt::format("{}/{}", scaler.at("spec.scaleTargetRef.kind").as_string(),
                     scaler.at("spec.scaleTargetRef.name").as_string());
}

Cell autoscaler_targets(const Value& scaler, int64_t) {
  if (const Value& percent = scaler.at("spec.targetCPUUtilizationPercentage"); percent.is_int()) {
    const Value& now = scaler.at("status.currentCPUUtilizationPercentage");
    return fmt::format("cpu: {}/{}%", now.is_int() ? fmt::format("{}%", now.as_int()) : kUnknown,
                       percent.as_int());
  }
  const Value& metrics = scaler.at("spec.metrics");
  const Value& current = scaler.at("status.currentMetrics");
  if (metrics.empty()) return kNone;
  std::vector<std::string> texts;
  for (size_t i = 0; i < metrics.size(); ++i) {
    texts.push_back(metric_target(metrics.items()[i],
                                  i < current.size() ? current.items()[i] : scaler.at("nothing")));
  }
  if (texts.size() <= 2) return fmt::format("{}", fmt::join(texts, ", "));
  return fmt::format("{}, {} + {} more...", texts[0], texts[1], texts.size() - 2);
}

Cell quota_requests(const Value& quota, int64_t) {
  return quota_of(quota, false);
}

Cell quota_limits(const Value& quota, int64_t) {
  return quota_of(quota, true);
}

Cell controller_of(const Value& object, int64_t) {
  for (const Value& owner : object.at("metadata.ownerReferences").items()) {
    if (!owner.get("controller").as_bool()) continue;
    std::string kind(owner.get("kind").as_string());
    for (char& c : kind) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const std::string_view version = owner.get("apiVersion").as_string();
    const size_t slash = version.find('/');
    const std::string_view group = slash == std::string_view::npos ? "" : version.substr(0, slash);
    return fmt::format("{}{}{}/{}", kind, group.empty() ? "" : ".", group,
                       owner.get("name").as_string());
  }
  return kNone;
}

Cell service_of_api(const Value& object, int64_t) {
  const Value& service = object.at("spec.service");
  if (!service.is_object()) return "Local";
  return fmt::format("{}/{}", service.get("namespace").as_string(),
                     service.get("name").as_string());
}

Cell api_available(const Value& object, int64_t) {
  for (const Value& condition : object.at("status.conditions").items()) {
    if (condition.get("type").as_string() != "Available") continue;
    const std::string_view status = condition.get("status").as_string();
    if (status == "True") return "True";
    return fmt::format("{} ({})", status, condition.get("reason").as_string());
  }
  return "Unknown";
}

}  // namespace fairlead::schema
