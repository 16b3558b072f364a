#include <fmt/format.h>

#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/api/json_writer.h"
#include "control/schema/discovery.h"

namespace fairlead::schema {

namespace {

using api::JsonWriter;

constexpr std::string_view kGvkExtension = "x-kubernetes-group-version-kind";
constexpr std::string_view kInfo = R"({"title":"Kubernetes","version":"v1.30.0"})";

// Values that have a definition of their own without being structs.
struct SpecialSchema {
  Kind kind;
  std::string_view name;
  std::string_view v2;
  std::string_view v3;
};
constexpr std::array<SpecialSchema, 8> kSpecials = {{
    {Kind::kQuantity, "api.resource.Quantity", R"({"type":"string"})",
     R"({"oneOf":[{"type":"string"},{"type":"number"}]})"},
    {Kind::kIntOrString, "util.intstr.IntOrString", R"({"type":"string","format":"int-or-string"})",
     R"({"format":"int-or-string","oneOf":[{"type":"integer"},{"type":"string"}]})"},
    {Kind::kTime, "meta.v1.Time", R"({"type":"string","format":"date-time"})",
     R"({"type":"string","format":"date-time"})"},
    {Kind::kMicroTime, "meta.v1.MicroTime", R"({"type":"string","format":"date-time"})",
     R"({"type":"string","format":"date-time"})"},
    {Kind::kDuration, "meta.v1.Duration", R"({"type":"string"})", R"({"type":"string"})"},
    {Kind::kRaw, "runtime.RawExtension", R"({"type":"object"})", R"({"type":"object"})"},
    {Kind::kFieldsV1, "meta.v1.FieldsV1", R"({"type":"object"})", R"({"type":"object"})"},
    {Kind::kJson, "apiextensions.v1.JSON", "{}", "{}"},
}};

const SpecialSchema* special_of(Kind kind) {
  for (const SpecialSchema& row : kSpecials) {
    if (row.kind == kind) return &row;
  }
  return nullptr;
}

struct GroupVersionKind {
  std::string_view group;
  std::string_view version;
  std::string kind;

  auto operator<=>(const GroupVersionKind&) const = default;
};

void write_gvk(JsonWriter& json, const GroupVersionKind& gvk) {
  json.begin_object().key("group").string(gvk.group).key("kind").string(gvk.kind);
  json.key("version").string(gvk.version).end_object();
}

// One document: the definitions of some resources, with all that they refer to.
class Definitions {
 public:
  explicit Definitions(bool v3) : v3_(v3) {}

  void add_resource(const Resource& resource) {
    const auto use = [this](const Type* type, GroupVersionKind gvk) {
      if (!type) return;
      reach(*type->shape);
      kinds_[type->name].insert(std::move(gvk));
    };
    use(resource.type(), {resource.group, resource.version, std::string(resource.kind)});
    if (resource.verbs & kList) {
      use(resource.list_type(), {resource.group, resource.version, resource.list_kind()});
    }
    for (const std::string_view name : words(resource.subresources)) {
      const Subresource& sub = *find_subresource(resource, name);
      if (sub.type_name.empty()) continue;
      const bool elsewhere = !sub.version.empty();
      use(find_type(sub.type_name),
          {elsewhere ? sub.group : resource.group, elsewhere ? sub.version : resource.version,
           std::string(sub.kind)});
    }
    for (const std::string_view name : {"meta.v1.DeleteOptions", "meta.v1.Status"}) {
      use(find_type(name),
          {resource.group, resource.version, std::string(find_type(name)->short_name())});
    }
  }

  void write(JsonWriter& json) const {
    json.begin_object();
    for (const std::string_view name : reached_) {
      json.key(openapi_name(name));
      const Type* type = find_type(name);
      if (type && type->shape->kind == Kind::kStruct && !unions_.count(name)) {
        write_type(json, *type);
      } else if (unions_.count(name)) {
        json.raw("{}");
      } else {
        for (const SpecialSchema& row : kSpecials) {
          if (row.name == name) json.raw(v3_ ? row.v3 : row.v2);
        }
      }
    }
    json.end_object();
  }

 private:
  void reach(const Shape& shape) {
    if (shape.element) return reach(*shape.element);
    if (const SpecialSchema* special = special_of(shape.kind)) {
      reached_.insert(special->name);
      return;
    }
    if (shape.kind == Kind::kUnion) unions_.insert(shape.type->name);
    if (!shape.type || !reached_.insert(shape.type->name).second) return;
    for (const FieldEntry& entry : shape.type->by_name()) reach(*entry.field->shape);
  }

  void write_reference(JsonWriter& json, std::string_view name) const {
    const std::string target =
        (v3_ ? "#/components/schemas/" : "#/definitions/") + openapi_name(name);
    if (v3_) {
      json.key("allOf").begin_array().begin_object().key("$ref").string(target).end_object();
      json.end_array();
    } else {
      json.key("$ref").string(target);
    }
  }

  // The members of a schema for a value of the shape.
  void write_shape(JsonWriter& json, const Shape& shape) const {
    const auto plain = [&json](std::string_view type, std::string_view format) {
      json.key("type").string(type);
      if (!format.empty()) json.key("format").string(format);
    };
    switch (shape.kind) {
      case Kind::kBool:
        return plain("boolean", "");
      case Kind::kInt32:
        return plain("integer", "int32");
      case Kind::kInt64:
        return plain("integer", "int64");
      case Kind::kFloat64:
        return plain("number", "double");
      case Kind::kString:
        return plain("string", "");
      case Kind::kBytes:
        return plain("string", "byte");
      case Kind::kList:
      case Kind::kWrappedList:
        json.key("type").string("array").key("items").begin_object();
        write_shape(json, *shape.element);
        json.end_object();
        return;
      case Kind::kMap:
        json.key("type").string("object").key("additionalProperties").begin_object();
        write_shape(json, *shape.element);
        json.end_object();
        return;
      case Kind::kStruct:
      case Kind::kUnion:
        return write_reference(json, shape.type->name);
      case Kind::kAny:
        return;
      default:
        return write_reference(json, special_of(shape.kind)->name);
    }
  }

  void write_field(JsonWriter& json, const Field& field) const {
    json.begin_object();
    write_shape(json, *field.shape);
    if (!field.default_value.empty()) json.key("default").string(field.default_value);
    const bool list = field.shape->kind == Kind::kList;
    if (list && field.merge != Merge::kDefault) {
      const bool map = field.merge == Merge::kMap;
      json.key("x-kubernetes-list-type")
          .string(map                          ? "map"
                  : field.merge == Merge::kSet ? "set"
                                               : "atomic");
      if (map) {
        json.key("x-kubernetes-list-map-keys").begin_array();
        for (const std::string_view key : field.list_keys()) json.string(key);
        json.end_array();
      }
    } else if (field.merge == Merge::kAtomic) {
      json.key("x-kubernetes-map-type").string("atomic");
    }
    if (!field.patch_key.empty()) json.key("x-kubernetes-patch-merge-key").string(field.patch_key);
    std::string strategy;
    for (const auto& [flag, name] : {std::pair{kPatchMerge, "merge"},
                                     {kPatchReplace, "replace"},
                                     {kPatchRetainKeys, "retainKeys"}}) {
      if (field.is(flag)) strategy += (strategy.empty() ? "" : ",") + std::string(name);
    }
    if (!strategy.empty()) json.key("x-kubernetes-patch-strategy").string(strategy);
    json.end_object();
  }

  void write_type(JsonWriter& json, const Type& type) const {
    json.begin_object().key("type").string("object");
    std::vector<std::string_view> required;
    if (type.entry_count > 0) json.key("properties").begin_object();
    for (const FieldEntry& entry : type.by_name()) {
      json.key(entry.name);
      write_field(json, *entry.field);
      if (entry.field->is(kRequired)) required.push_back(entry.name);
    }
    if (type.entry_count > 0) json.end_object();
    if (!required.empty()) {
      json.key("required").begin_array();
      for (const std::string_view name : required) json.string(name);
      json.end_array();
    }
    if (type.atomic) json.key("x-kubernetes-map-type").string("atomic");
    const auto kinds = kinds_.find(type.name);
    if (kinds != kinds_.end()) {
      json.key(kGvkExtension).begin_array();
      for (const GroupVersionKind& gvk : kinds->second) write_gvk(json, gvk);
      json.end_array();
    }
    json.end_object();
  }

  const bool v3_;
  std::set<std::string_view> reached_;
  std::set<std::string_view> unions_;
  std::map<std::string_view, std::set<GroupVersionKind>> kinds_;
};

struct Operation {
  std::string_view method;
  std::string_view action;
  uint16_t verb;
  std::string_view parameters;  // words: the query parameters that clients look for
};
constexpr std::string_view kWriteParameters = "dryRun fieldManager fieldValidation";
constexpr std::array<Operation, 3> kCollection = {{
    {"get", "list", kList, "labelSelector fieldSelector limit continue watch"},
    {"post", "post", kCreate, kWriteParameters},
    {"delete", "deletecollection", kDeleteCollection, "dryRun"},
}};
constexpr std::array<Operation, 5> kItem = {{
    {"get", "get", kGet, ""},
    {"put", "put", kUpdate, kWriteParameters},
    {"patch", "patch", kPatch, "dryRun fieldManager fieldValidation force"},
    {"delete", "delete", kDelete, "dryRun"},
    {"post", "post", kCreate, kWriteParameters},
}};
constexpr std::string_view kPatchTypes[] = {
    "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json", "application/apply-patch+yaml"};

class Paths {
 public:
  Paths(JsonWriter& json, bool v3) : json_(json), v3_(v3) {}

  void write(const Resource& resource) {
    const std::string root = resource.group.empty() ? "/api/" + std::string(resource.version)
                                                    : "/apis/" + resource.api_version();
    const std::string scope = resource.namespaced ? "/namespaces/{namespace}" : "";
    const std::string collection = fmt::format("{}{}/{}", root, scope, resource.plural);
    const GroupVersionKind gvk{resource.group, resource.version, std::string(resource.kind)};
    path(collection, kCollection, resource.verbs, gvk);
    if (!(resource.verbs & kGet)) return;
    const uint16_t item_verbs = resource.verbs & ~kCreate;
    path(collection + "/{name}", kItem, item_verbs, gvk);
    for (const std::string_view name : words(resource.subresources)) {
      const Subresource& sub = *find_subresource(resource, name);
      const bool elsewhere = !sub.version.empty();
      const GroupVersionKind kind{elsewhere ? sub.group : resource.group,
                                  elsewhere ? sub.version : resource.version,
                                  std::string(sub.kind.empty() ? resource.kind : sub.kind)};
      path(fmt::format("{}/{{name}}/{}", collection, name), kItem, sub.verbs, kind);
    }
    if (resource.namespaced && (resource.verbs & kList)) {
      path(fmt::format("{}/{}", root, resource.plural), kCollection, kList, gvk);
    }
  }

 private:
  template <typename Operations>
  void path(const std::string& text, const Operations& operations, uint16_t verbs,
            const GroupVersionKind& gvk) {
    json_.key(text).begin_object();
    for (const Operation& row : operations) {
      if (!(verbs & row.verb)) continue;
      json_.key(row.method).begin_object();
      if (row.verb == kPatch && !v3_) {
        json_.key("consumes").begin_array();
        for (const std::string_view type : kPatchTypes) json_.string(type);
        json_.end_array();
      }
      json_.key("parameters").begin_array();
      for (const std::string_view name : words(row.parameters)) {
        json_.begin_object().key("name").string(name).key("in").string("query");
        if (v3_) {
          json_.key("schema").begin_object().key("type").string("string").end_object();
        } else {
          json_.key("type").string("string");
        }
        json_.end_object();
      }
      json_.end_array().key("responses").raw(R"({"200":{"description":"OK"}})");
      json_.key("x-kubernetes-action").string(row.action).key(kGvkExtension);
      write_gvk(json_, gvk);
      json_.end_object();
    }
    json_.end_object();
  }

  JsonWriter& json_;
  const bool v3_;
};

}  // namespace

std::string openapi_v3_index_json(const Catalog& catalog,
                                  std::string (*hash)(const GroupVersion& version)) {
  JsonWriter json;
  json.begin_object().key("paths").begin_object();
  for (const GroupVersion& version : catalog.versions) {
    const std::string name = (version.group.empty() ? "api/" : "apis/") + version.api_version();
    json.key(name).begin_object().key("serverRelativeURL");
    json.string(fmt::format("/openapi/v3/{}?hash={}", name, hash(version))).end_object();
  }
  json.end_object().end_object();
  return json.take();
}

std::string openapi_v3_json(const Catalog& catalog, const GroupVersion& version) {
  JsonWriter json;
  json.begin_object().key("openapi").string("3.0.0").key("info").raw(kInfo);
  Definitions definitions(true);
  json.key("paths").begin_object();
  Paths paths(json, true);
  for (const Resource& resource : catalog.resources) {
    if (resource.group != version.group || resource.version != version.version) continue;
    paths.write(resource);
    definitions.add_resource(resource);
  }
  json.end_object().key("components").begin_object().key("schemas");
  definitions.write(json);
  json.end_object().end_object();
  return json.take();
}

std::string openapi_v2_json(const Catalog& catalog) {
  JsonWriter json;
  json.begin_object().key("swagger").string("2.0").key("info").raw(kInfo);
  Definitions definitions(false);
  json.key("paths").begin_object();
  Paths paths(json, false);
  for (const Resource& resource : catalog.resources) {
    paths.write(resource);
    definitions.add_resource(resource);
  }
  json.end_object().key("definitions");
  definitions.write(json);
  json.end_object();
  return json.take();
}

}  // namespace fairlead::schema
