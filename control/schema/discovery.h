// The documents that tell clients what is served: discovery in its three forms, and OpenAPI in its
// two (with version 2 also as the protobuf that kubectl asks for).
//
// All are functions of a catalog of resources, which is that of the built-in ones unless the caller
// has more. They are large; callers keep what they get.
//
// Threads: pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "control/schema/resources.h"

namespace fairlead::schema {

struct Catalog {
  std::span<const Resource> resources = all_resources();
  std::span<const GroupVersion> versions = all_group_versions();
};

// /api: APIVersions; `address` is where clients reach the server ("10.0.0.1:6443").
std::string api_versions_json(std::string_view address);
// /apis: APIGroupList
std::string api_group_list_json(const Catalog& catalog);
// /apis/<group>: APIGroup; empty when nobody serves it.
std::string api_group_json(const Catalog& catalog, std::string_view group);
// /api/v1 and /apis/<group>/<version>: APIResourceList
std::string api_resource_list_json(const Catalog& catalog, const GroupVersion& version);
// The same of all at once, for /api (`core`) or /apis: APIGroupDiscoveryList of
// apidiscovery.k8s.io/v2 or v2beta1, as was asked.
std::string aggregated_discovery_json(const Catalog& catalog, std::string_view version, bool core);

// /openapi/v3: where the documents are. `hash` of a document makes its address.
std::string openapi_v3_index_json(const Catalog& catalog,
                                  std::string (*hash)(const GroupVersion& version));
// /openapi/v3/apis/<group>/<version>
std::string openapi_v3_json(const Catalog& catalog, const GroupVersion& version);
// /openapi/v2
std::string openapi_v2_json(const Catalog& catalog);
// An OpenAPI v2 document, as above, in gnostic's protobuf (openapi.v2.Document).
std::string openapi_v2_protobuf(std::string_view json);

}  // namespace fairlead::schema
