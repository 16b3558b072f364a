// The types of the Kubernetes API as tables: what every other part of this folder reads instead of
// knowing a kind. The rows are generated at build time from facts/types.txt.
//
// A Type is a struct: its own fields in order of their protobuf numbers, and all fields by JSON
// name, those of inlined structs included. A Shape is what a value can look like: a scalar, a
// special form such as a quantity, a struct, or a list or map of another shape.
//
// Threads: constants.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace fairlead::schema {

enum class Kind : uint8_t {
  kBool,
  kInt32,
  kInt64,
  kFloat64,
  kString,
  kBytes,  // base64 in JSON
  kStruct,
  kUnion,  // one of the type's fields; in JSON the value itself says which
  kList,
  kWrappedList,  // a list that protobuf puts into a message of its own
  kMap,          // string keys
  kQuantity,     // "500m"
  kIntOrString,
  kTime,       // RFC 3339 in seconds
  kMicroTime,  // RFC 3339 in microseconds
  kDuration,   // Go's "1h30m"
  kRaw,        // any object: RawExtension
  kFieldsV1,   // any object: the field sets of managedFields
  kJson,       // any value, JSON text in protobuf
  kAny,        // any value, never in protobuf
};

struct Type;

struct Shape {
  Kind kind;
  const Shape* element;      // of lists and maps
  const Type* type;          // of structs and unions
  std::string_view go_name;  // "v1.Protocol", "int32": for messages; empty for lists and maps
};

// How server-side apply merges a value (KEP-555, the listType/mapType/structType markers).
enum class Merge : uint8_t {
  kDefault,   // scalars and lists are atomic; maps and structs are merged
  kAtomic,    // replaced as a whole
  kSet,       // list of unique scalars
  kMap,       // list of structs that its keys identify
  kGranular,  // merged although the type says atomic
};

enum FieldFlags : uint8_t {
  kPointer = 1,    // zero and absent differ
  kOmitEmpty = 2,  // not written when empty
  kRequired = 4,   // OpenAPI's "required"
  kPatchMerge = 8,
  kPatchReplace = 16,
  kPatchRetainKeys = 32,
};

struct Field {
  std::string_view name;  // in JSON; empty: an inlined struct
  const Shape* shape;
  uint16_t number;  // in protobuf; 0: not in it
  uint8_t flags;
  Merge merge;
  uint8_t key_count;
  const std::string_view* keys;    // of Merge::kMap
  std::string_view patch_key;      // merge key of strategic merge patch
  std::string_view default_value;  // of the schema: what an absent list key means

  bool is(FieldFlags flag) const { return (flags & flag) != 0; }
  std::span<const std::string_view> list_keys() const { return {keys, key_count}; }
};

struct FieldEntry {
  std::string_view name;
  const Field* field;
};

struct Type {
  std::string_view name;  // "core.v1.Pod"
  const Field* fields;
  const FieldEntry* entries;  // sorted by name
  uint16_t field_count;
  uint16_t entry_count;
  bool atomic;         // structType=atomic
  const Shape* shape;  // of a value of this type

  std::span<const Field> own_fields() const { return {fields, field_count}; }
  std::span<const FieldEntry> by_name() const { return {entries, entry_count}; }
  const Field* find(std::string_view json_name) const;
  std::string_view short_name() const { return name.substr(name.rfind('.') + 1); }
  std::string_view package() const { return name.substr(0, name.rfind('.')); }
};

struct Enum {
  std::string_view name;
  const std::string_view* values;
  uint16_t value_count;
};

std::span<const Type> all_types();  // sorted by name
std::span<const Enum> all_enums();  // sorted by name

// Null when there is none of this name ("core.v1.Pod").
const Type* find_type(std::string_view name);
const Enum* find_enum(std::string_view name);

// As Go writes it in messages: "[]v1.Container", "map[string]string".
std::string go_type_name(const Shape& shape);
// As OpenAPI documents name it: "io.k8s.api.core.v1.Pod".
std::string openapi_name(std::string_view type_name);

}  // namespace fairlead::schema
