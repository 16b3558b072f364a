#include "control/apiserver/system_objects.h"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <utility>

#include "base/log.h"
#include "control/schema/json_text.h"

namespace fairlead::apiserver {

namespace {

constexpr std::chrono::seconds kAlive{15};
constexpr std::string_view kLivingKeys = "/masterleases/";

std::string quoted(std::string_view text) {
  std::string made;
  schema::append_json_string(text, &made);
  return made;
}

}  // namespace

Status SystemObjects::apply(std::string_view group, std::string_view version,
                            std::string_view plural, std::string_view space, std::string_view name,
                            const std::string& body) {
  Target target;
  target.resource = schema::find_resource(group, version, plural);
  target.space = space;
  target.name = name;
  schema::Document document;
  ASSIGN_OR_RETURN(document, schema::parse_json(body));
  WriteContext context;
  context.user.name = "system:apiserver";
  context.user.groups = {std::string(auth::kMasters)};
  context.field_manager = "fairlead-server";
  std::promise<Outcome<Written>> promise;
  registry_.patch(target, PatchType::kApply, std::move(document), true, std::move(context),
                  [&promise](Outcome<Written> outcome) { promise.set_value(std::move(outcome)); });
  const Outcome<Written> outcome = promise.get_future().get();
  if (outcome) return {};
  return Status::error(StatusCode::kUnavailable, "apply", fmt::format("{} {}", plural, name),
                       outcome.error().message);
}

Status SystemObjects::make_namespaces() {
  Status first;
  for (const std::string_view name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    const Status status = apply("", "v1", "namespaces", "", name,
                                fmt::format(R"({{"apiVersion":"v1","kind":"Namespace",)"
                                            R"("metadata":{{"name":"{}"}}}})",
                                            name));
    if (first.ok()) first = status;
  }
  return first;
}

// https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/: where
// kube-controller-manager, kube-scheduler and extension servers look. Once: servers with different
// authorities would take turns for ever.
Status SystemObjects::make_authentication() {
  if (options_.client_ca.empty() || authentication_made_) return {};
  RETURN_IF_ERROR(apply("", "v1", "configmaps", "kube-system", "extension-apiserver-authentication",
                        fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":)"
                                    R"("extension-apiserver-authentication"}},"data":)"
                                    R"({{"client-ca-file":{}}}}})",
                                    quoted(options_.client_ca))));
  authentication_made_ = true;
  return {};
}

Status SystemObjects::make_service() {
  if (options_.ranges.addresses.empty()) return {};
  const std::string address = options_.ranges.addresses[0].address(0);
  make_service_cidr();
  return apply(
      "", "v1", "services", "default", "kubernetes",
      fmt::format(
          R"({{"apiVersion":"v1","kind":"Service","metadata":{{"name":"kubernetes","labels":)"
          R"({{"component":"apiserver","provider":"kubernetes"}}}},"spec":{{"clusterIP":"{}",)"
          R"("ports":[{{"name":"https","port":443,"protocol":"TCP","targetPort":{}}}]}}}})",
          address, options_.port));
}

Status SystemObjects::refresh() {
  Status first;
  for (const auto step : {&SystemObjects::make_namespaces, &SystemObjects::make_authentication,
                          &SystemObjects::make_service, &SystemObjects::make_endpoints}) {
    const Status status = (this->*step)();
    if (first.ok()) first = status;
  }
  return first;
}

void SystemObjects::make_service_cidr() {
  std::string cidrs;
  for (const AddressRange& range : options_.ranges.addresses) {
    cidrs += (cidrs.empty() ? "" : ",") + quoted(range.text());
  }
  const Status status =
      apply("networking.k8s.io", "v1", "servicecidrs", "", "kubernetes",
            fmt::format(R"({{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":)"
                        R"({{"name":"kubernetes"}},"spec":{{"cidrs":[{}]}}}})",
                        cidrs));
  if (!status) LOG_WARNING("{}", status.message());
}

Result<std::vector<std::string>> SystemObjects::living() {
  if (lease_ != 0) {
    std::promise<Result<store::Lease>> kept;
    store_.keep_alive(lease_,
                      [&kept](Result<store::Lease> lease) { kept.set_value(std::move(lease)); });
    if (!kept.get_future().get()) lease_ = 0;
  }
  if (lease_ == 0) {
    std::promise<Result<store::Lease>> granted;
    store_.grant_lease(
        kAlive, [&granted](Result<store::Lease> lease) { granted.set_value(std::move(lease)); });
    store::Lease lease;
    ASSIGN_OR_RETURN(lease, granted.get_future().get());
    std::promise<Result<store::WriteOutcome>> put;
    store_.put(std::string(kLivingKeys).append(options_.address), "alive",
               store::Expect::anything(), lease.id,
               [&put](Result<store::WriteOutcome> outcome) { put.set_value(std::move(outcome)); });
    store::WriteOutcome outcome;
    ASSIGN_OR_RETURN(outcome, put.get_future().get());
    lease_ = lease.id;
  }
  store::RangeRequest request;
  request.key = kLivingKeys;
  request.end = store::prefix_end(kLivingKeys);
  std::promise<Result<store::RangeResult>> found;
  store_.range(request,
               [&found](Result<store::RangeResult> result) { found.set_value(std::move(result)); });
  store::RangeResult result;
  ASSIGN_OR_RETURN(result, found.get_future().get());
  std::vector<std::string> addresses;
  for (const store::EntryPtr& entry : result.entries) {
    addresses.push_back(entry->key.substr(kLivingKeys.size()));
  }
  return addresses;
}

Status SystemObjects::make_endpoints() {
  if (options_.address.empty()) return {};
  std::vector<std::string> addresses;
  ASSIGN_OR_RETURN(addresses, living());
  const bool v6 = is_v6(options_.address);
  std::string subset;
  std::string endpoints;
  for (const std::string& address : addresses) {
    if (is_v6(address) != v6) continue;
    subset += fmt::format(R"({}{{"ip":{}}})", subset.empty() ? "" : ",", quoted(address));
    endpoints += fmt::format(R"({}{{"addresses":[{}],"conditions":{{"ready":true}}}})",
                             endpoints.empty() ? "" : ",", quoted(address));
  }
  const std::string ports =
      fmt::format(R"([{{"name":"https","port":{},"protocol":"TCP"}}])", options_.port);
  RETURN_IF_ERROR(apply(
      "", "v1", "endpoints", "default", "kubernetes",
      fmt::format(
          R"({{"apiVersion":"v1","kind":"Endpoints","metadata":{{"name":"kubernetes","labels":)"
          R"({{"endpointslice.kubernetes.io/skip-mirror":"true"}}}},"subsets":[{{"addresses":[{}],)"
          R"("ports":{}}}]}})",
          subset, ports)));
  return apply(
      "discovery.k8s.io", "v1", "endpointslices", "default", "kubernetes",
      fmt::format(
          R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":)"
          R"("kubernetes","labels":{{"kubernetes.io/service-name":"kubernetes"}}}},"addressType":)"
          R"("{}","endpoints":[{}],"ports":{}}})",
          v6 ? "IPv6" : "IPv4", endpoints, ports));
}

void SystemObjects::leave() {
  if (std::exchange(lease_, 0) == 0) return;
  std::promise<Result<store::WriteOutcome>> removed;
  store_.remove(
      std::string(kLivingKeys).append(options_.address), store::Expect::anything(),
      [&removed](Result<store::WriteOutcome> outcome) { removed.set_value(std::move(outcome)); });
  (void)removed.get_future().get().ok();  // else its lease ends
}

}  // namespace fairlead::apiserver
