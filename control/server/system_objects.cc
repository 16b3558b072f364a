#include "control/server/system_objects.h"

#include <fmt/core.h>

#include <future>

#include "control/schema/json_text.h"
#include "control/server/addresses.h"

namespace fairlead::server {
namespace {

using apiserver::Outcome;
using apiserver::Written;

apiserver::WriteContext context() {
  apiserver::WriteContext result;
  result.user.name = "system:apiserver";
  result.user.groups = {"system:masters", "system:authenticated"};
  result.field_manager = "fairlead";
  return result;
}

struct Place {
  std::string_view api_version;
  std::string_view kind;
  std::string space;
  std::string name;
};

Result<apiserver::Target> target_of(const Place& place) {
  const schema::Resource* resource = schema::find_kind(place.api_version, place.kind);
  if (resource == nullptr) {
    return Status::error(StatusCode::kInternal, "find", place.kind, "no such kind");
  }
  return apiserver::Target{resource, nullptr, place.space, place.name};
}

// Creates the object; with `apply` brings one that exists to what is wanted.
Status ensure(apiserver::Registry& registry, const Place& place, const std::string& json,
              bool apply) {
  ASSIGN_OR_RETURN(apiserver::Target target, target_of(place));
  ASSIGN_OR_RETURN(schema::Document body, schema::parse_json(json));
  auto promise = std::make_shared<std::promise<Outcome<Written>>>();
  auto done = [promise](Outcome<Written> written) { promise->set_value(std::move(written)); };
  if (apply) {
    registry.patch(target, apiserver::PatchType::kApply, std::move(body), true, context(), done);
  } else {
    target.name.clear();
    registry.create(target, std::move(body), context(), done);
  }
  const Outcome<Written> written = promise->get_future().get();
  constexpr int kConflict = 409;
  if (written.ok() || (!apply && written.error().code == kConflict)) return {};
  return Status::error(StatusCode::kUnavailable, "create",
                       fmt::format("{} {}", place.kind, place.name), written.error().message);
}

Status ensure_namespace(apiserver::Registry& registry, const std::string& name) {
  return ensure(
      registry, {"v1", "Namespace", "", name},
      fmt::format(R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}})", name),
      false);
}

constexpr std::string_view kLabels = R"({"component":"apiserver","provider":"kubernetes"})";

std::string service_json(const SystemObjects& what) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Service","metadata":{{"name":"kubernetes","namespace":"default",)"
      R"("labels":{}}},"spec":{{"type":"ClusterIP","clusterIP":"{}","clusterIPs":["{}"],)"
      R"("ports":[{{"name":"https","port":443,"protocol":"TCP","targetPort":{}}}]}}}})",
      kLabels, what.service_address, what.service_address, what.server_port);
}

std::string endpoints_json(const SystemObjects& what) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Endpoints","metadata":{{"name":"kubernetes","namespace":)"
      R"("default","labels":{{"endpointslice.kubernetes.io/skip-mirror":"true"}}}},"subsets":)"
      R"([{{"addresses":[{{"ip":"{}"}}],"ports":[{{"name":"https","port":{},"protocol":"TCP"}}]}}]}})",
      what.server_address, what.server_port);
}

std::string slice_json(const SystemObjects& what) {
  return fmt::format(
      R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"kubernetes",)"
      R"("namespace":"default","labels":{{"kubernetes.io/service-name":"kubernetes"}}}},)"
      R"("addressType":"{}","endpoints":[{{"addresses":["{}"],"conditions":{{"ready":true}}}}],)"
      R"("ports":[{{"name":"https","port":{},"protocol":"TCP"}}]}})",
      is_ipv6(what.server_address) ? "IPv6" : "IPv4", what.server_address, what.server_port);
}

}  // namespace

Status ensure_system_objects(apiserver::Registry& registry, const SystemObjects& what) {
  for (const char* name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    RETURN_IF_ERROR(ensure_namespace(registry, name));
  }
  RETURN_IF_ERROR(
      ensure(registry, {"v1", "Service", "default", "kubernetes"}, service_json(what), false));
  const bool loopback = what.server_address.starts_with("127.") || what.server_address == "::1";
  if (loopback) return {};  // the API refuses such endpoints, and nobody else could use them
  RETURN_IF_ERROR(
      ensure(registry, {"v1", "Endpoints", "default", "kubernetes"}, endpoints_json(what), true));
  return ensure(registry, {"discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes"},
                slice_json(what), true);
}

}  // namespace fairlead::server
