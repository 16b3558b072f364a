// Plans on any objects that the API would store: whatever a namespace holds, plans do not fail, and
// once their writes are made there is nothing left to write.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/controllers/endpoint_slices.h"
#include "control/controllers/endpoints.h"
#include "control/controllers/namespace_defaults.h"
#include "control/controllers/namespaces.h"
#include "control/controllers/node_health.h"
#include "control/controllers/objects.h"
#include "control/controllers/owner_graph.h"
#include "control/controllers/slice_mirroring.h"
#include "control/schema/conform.h"
#include "control/schema/json_text.h"

namespace schema = fairlead::schema;
using namespace fairlead::controllers;  // NOLINT: a fuzzer

namespace {

using Named = std::map<std::string, ObjectPtr>;

// As the server stores it; null when it would not.
ObjectPtr stored(schema::Document document, const schema::Resource& row) {
  const auto status =
      schema::conform(document, *row.type()->shape, schema::Conform::kObject, nullptr);
  return status.ok() ? share(std::move(document)) : nullptr;
}

std::vector<ObjectPtr> values(const Named& named) {
  std::vector<ObjectPtr> made;
  for (const auto& [name, object] : named) made.push_back(object);
  return made;
}

// Makes the writes; aborts when one is no object.
void make(Plan plan, Named* held) {
  for (Write& write : plan.writes) {
    if (write.verb == Write::Verb::kRemove) {
      held->erase(write.what.name);
      continue;
    }
    const std::string name =
        write.what.name.empty() ? "made-" + std::to_string(held->size()) : write.what.name;
    write.body.root.ensure(write.body.arena, "metadata")
        .set(write.body.arena, "name", text(write.body.arena, name));
    ObjectPtr object = stored(std::move(write.body), *write.what.resource);
    if (!object) std::abort();
    (*held)[name] = std::move(object);
  }
}

// Plans over what is held until nothing is left to write: once, or the plan is wrong.
template <typename PlanOf>
void settle(Named held, PlanOf plan_of) {
  make(plan_of(held), &held);
  if (!plan_of(held).writes.empty()) std::abort();
}

}  // namespace

// An array of objects.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parsed = schema::parse_json({reinterpret_cast<const char*>(data), size});
  if (!parsed.ok() || !parsed->root.is_array()) return 0;
  std::map<std::string_view, Named> world;  // by kind
  OwnerGraph graph;
  for (const Value& item : parsed->root.items()) {
    const schema::Resource* row =
        schema::find_kind(item.get("apiVersion").as_string(), item.get("kind").as_string());
    if (!row) continue;
    const ObjectPtr object = stored(copy_of(item), *row);
    if (!object || name_of(*object).empty()) continue;  // what has no name is not stored
    world[row->kind].emplace(name_of(*object), object);
    graph.put(owned_object(*row, *object));
    graph.decide(owned_object(*row, *object),
                 [](std::string_view uid) { return uid.size() % 2 == 0; });
  }
  const std::vector<ObjectPtr> pods = values(world["Pod"]);
  const Named& nodes = world["Node"];
  for (const auto& [name, service] : world["Service"]) {
    // Where the owner goes, nothing is made.
    if (!is_terminating(*service)) {
      Named mine;
      for (const auto& [slice, object] : world["EndpointSlice"]) {
        if (!is_terminating(*object)) mine.emplace(slice, object);
      }
      settle(mine, [&, owner = service](const Named& slices) {
        SliceInput input;
        input.service = owner;
        input.pods = pods;
        input.existing = values(slices);
        input.node = [&](std::string_view node) {
          const auto found = nodes.find(std::string(node));
          return found == nodes.end() ? nullptr : found->second;
        };
        input.shares = zone_shares(values(nodes));
        input.most = 3;
        return plan_endpoint_slices(input);
      });
      settle(mine, [&, owner = service](const Named& slices) {
        MirrorInput input;
        input.service = owner;
        const auto found = world["Endpoints"].find(std::string(name_of(*owner)));
        if (found != world["Endpoints"].end()) input.endpoints = found->second;
        input.existing = values(slices);
        return plan_mirror(input);
      });
    }
    settle({}, [&, owner = service](const Named& endpoints) {
      EndpointsInput input;
      input.service = owner;
      input.pods = pods;
      if (!endpoints.empty()) input.existing = endpoints.begin()->second;
      return plan_endpoints(input);
    });
  }
  for (const auto& [name, node] : nodes) {
    for (const bool alive : {false, true}) {
      NodeInput input;
      input.node = node;
      input.pods = pods;
      input.alive = alive;
      input.was_ready = true;
      plan_node(input);
    }
  }
  for (const auto& [name, space] : world["Namespace"]) {
    plan_namespace(*space, {}, 0);
    NamespaceFindings findings;
    findings.remaining["pods."] = 1;
    plan_namespace(*space, findings, 0);
    settle({}, [&, owner = space](const Named& held) {
      NamespaceDefaultsInput input;
      input.space = owner;
      input.root_ca = "PEM";
      const auto account = held.find("default");
      const auto certificates = held.find("kube-root-ca.crt");
      if (account != held.end()) input.account = account->second;
      if (certificates != held.end()) input.certificates = certificates->second;
      return plan_namespace_defaults(input);
    });
  }
  return 0;
}
