// In which form an answer goes out and a body comes in: Accept and Content-Type.
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/apiserver/registry.h"

namespace fairlead::apiserver {

enum class Encoding : uint8_t { kJson, kYaml, kProtobuf };
enum class Shape : uint8_t { kObject, kTable, kPartial, kPartialList };

struct Form {
  Encoding encoding = Encoding::kJson;
  Shape shape = Shape::kObject;
  std::string meta_version = "v1";  // of meta.k8s.io, for tables and partial objects

  // "application/json", with as, g and v where the shape is not the object's own; with
  // ";stream=watch" for watches in protobuf.
  std::string content_type(bool watch) const;
};

// The best form that the client takes (q-values, then the order in the header); nullopt: 406.
// An empty header takes JSON. `protobuf`: whether the kind has one. Tables and partial objects are
// given in JSON only; a clause that asks for them in protobuf is passed over.
std::optional<Form> negotiate(std::string_view accept, bool protobuf, bool watch);

// What of "v2", "v2beta1" the client wants of aggregated discovery; empty: the plain lists.
std::string negotiate_discovery(std::string_view accept);
// Whether gnostic's protobuf is preferred to JSON for OpenAPI.
bool wants_openapi_protobuf(std::string_view accept);

// The encoding of a body; JSON when the header is missing, nullopt: 415.
std::optional<Encoding> body_encoding(std::string_view content_type);
std::optional<PatchType> patch_type(std::string_view content_type);

}  // namespace fairlead::apiserver
