// Objects as tables (meta.k8s.io Table): what "kubectl get" prints, made where the types are known.
//
// Columns and cells are those of kube-apiserver for each kind; kinds without rows of their own have
// a name and an age.
//
// Threads: pure functions; the caller says what time it is.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/schema/resources.h"
#include "control/schema/value.h"

namespace fairlead::schema {

enum class IncludeObject { kNone, kMetadata, kObject };

// "None", "Metadata", "Object"; "" for the default, which is Metadata.
Result<IncludeObject> parse_include_object(std::string_view text);

struct TableRequest {
  std::string_view api_version = "meta.k8s.io/v1";  // or meta.k8s.io/v1beta1
  IncludeObject include = IncludeObject::kMetadata;
  bool with_columns = true;  // later events of a watch go without
  int64_t now = 0;           // seconds since 1970
};

// The JSON of a Table; `metadata` is that of the list, or of the one object.
std::string table_json(const Resource& resource, std::span<const Value* const> objects,
                       const Value& metadata, const TableRequest& request);

// The JSON of a PartialObjectMetadata: the object's metadata and nothing else.
std::string partial_metadata_json(const Value& object, std::string_view api_version);

}  // namespace fairlead::schema
