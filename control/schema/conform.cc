#include "control/schema/conform.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "control/api/base64.h"
#include "control/api/decode.h"
#include "control/schema/quantity.h"
#include "control/schema/scalars.h"

namespace fairlead::schema {

namespace {

constexpr size_t kMaxComplaints = 64;
constexpr size_t kMaxQuoted = 64;
constexpr std::string_view kTimeLayout = "2006-01-02T15:04:05Z07:00";
constexpr std::string_view kMicroTimeLayout = "2006-01-02T15:04:05.000000Z07:00";

std::string_view cut(std::string_view text) {
  if (text.size() <= kMaxQuoted) return text;
  size_t length = kMaxQuoted;
  while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  return text.substr(0, length);
}

struct Path {
  const Path* parent;
  std::string_view key;  // null data: an element
  size_t index = 0;
  const Type* owner = nullptr;  // the struct whose field this is

  std::string to_string() const {
    std::string text = parent ? parent->to_string() : std::string();
    if (!key.data()) return text + fmt::format("[{}]", index);
    if (!text.empty()) text.push_back('.');
    return text.append(cut(key));
  }
  // As Go's decoder names it: fields only.
  std::string fields() const {
    std::string text = parent ? parent->fields() : std::string();
    if (!owner) return text;
    if (!text.empty()) text.push_back('.');
    return text.append(key);
  }
  const Type* innermost() const { return owner ? owner : parent ? parent->innermost() : nullptr; }
};

std::string_view json_name(const Value& value) {
  switch (value.tag()) {
    case Value::Tag::kNull:
      return "null";
    case Value::Tag::kBool:
      return "bool";
    case Value::Tag::kInt:
    case Value::Tag::kNumber:
      return "number";
    case Value::Tag::kString:
      return "string";
    case Value::Tag::kArray:
      return "array";
    case Value::Tag::kObject:
      return "object";
  }
  return "";
}

class Conformer {
 public:
  Conformer(Arena& arena, Conform mode, std::vector<std::string>* complaints)
      : arena_(arena), normal_(mode == Conform::kObject), complaints_(complaints) {}

  Status value(Value& value, const Shape& shape, const Path* path);

 private:
  Status structure(Value& value, const Type& type, const Path* path);
  Status fill(Value& value, const Type& type, const Path* path);
  Status list(Value& value, const Shape& shape, const Path* path);
  Status map(Value& value, const Shape& shape, const Path* path);
  Status either(Value& value, const Shape& shape, const Path* path);
  Status integer(const Value& value, const Shape& shape, const Path* path);
  Status spelled(Value& value, const Shape& shape, const Path* path);

  // Puts a zero value of the shape where null stands, as Go's decoder does for elements.
  void no_null(Value& value, const Shape& shape) {
    if (value.is_null()) value = zero(shape.kind);
  }
  static Value zero(Kind kind);

  void complain(std::string_view what, const Path& path) {
    if (complaints_ && complaints_->size() < kMaxComplaints) {
      complaints_->push_back(fmt::format("{} field \"{}\"", what, path.to_string()));
    }
  }
  Status fail(const Path* path, std::string reason) const {
    return Status::error(StatusCode::kInvalid, "decode", path ? path->to_string() : "body", reason);
  }
  Status mismatch(std::string_view found, const Shape& shape, const Path* path) const {
    const Type* owner = path ? path->innermost() : nullptr;
    if (!owner) {
      return fail(path, fmt::format("json: cannot unmarshal {} into Go value of type {}", found,
                                    go_type_name(shape)));
    }
    return fail(path, fmt::format("json: cannot unmarshal {} into Go struct field {}.{} of type {}",
                                  found, owner->short_name(), path->fields(), go_type_name(shape)));
  }

  Arena& arena_;
  const bool normal_;
  std::vector<std::string>* complaints_;
};

Status Conformer::value(Value& value, const Shape& shape, const Path* path) {
  switch (shape.kind) {
    case Kind::kBool:
      return value.is_bool() ? Status() : mismatch(json_name(value), shape, path);
    case Kind::kInt32:
    case Kind::kInt64:
      return integer(value, shape, path);
    case Kind::kFloat64:
      return value.is_number() ? Status() : mismatch(json_name(value), shape, path);
    case Kind::kString:
      return value.is_string() ? Status() : mismatch(json_name(value), shape, path);
    case Kind::kBytes:
    case Kind::kQuantity:
    case Kind::kTime:
    case Kind::kMicroTime:
    case Kind::kDuration:
      return spelled(value, shape, path);
    case Kind::kIntOrString:
      return value.is_string() ? Status() : integer(value, shape, path);
    case Kind::kStruct:
      return structure(value, *shape.type, path);
    case Kind::kUnion:
      return either(value, shape, path);
    case Kind::kList:
    case Kind::kWrappedList:
      return list(value, shape, path);
    case Kind::kMap:
      return map(value, shape, path);
    case Kind::kFieldsV1:
      if (!value.is_object()) return mismatch(json_name(value), shape, path);
      [[fallthrough]];
    case Kind::kRaw:
    case Kind::kJson:
    case Kind::kAny:
      sort_deep(value);
      return {};
  }
  return {};
}

Status Conformer::structure(Value& value, const Type& type, const Path* path) {
  if (!value.is_object()) return mismatch(json_name(value), *type.shape, path);
  value.sort_members();
  const std::span<Member> members = value.members();
  size_t kept = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    Member& member = members[i];
    Path here{path, member.key, 0, &type};
    const Field* field = type.find(member.key);
    if (!field) {
      complain("unknown", here);
      continue;
    }
    if (i + 1 < members.size() && members[i + 1].key == member.key) {
      complain("duplicate", here);
      continue;  // the last one counts
    }
    if (member.value.is_null()) continue;
    RETURN_IF_ERROR(this->value(member.value, *field->shape, &here));
    const Kind kind = field->shape->kind;
    const bool list = kind == Kind::kList || kind == Kind::kMap;  // protobuf has no empty ones
    const bool can_be_empty = field->is(kPointer) || (!field->is(kOmitEmpty) && !list) ||
                              kind == Kind::kStruct || kind == Kind::kQuantity ||
                              kind == Kind::kIntOrString;
    if (normal_ && !can_be_empty && member.value.is_zero()) continue;
    members[kept++] = member;
  }
  value.truncate(kept);
  return normal_ ? fill(value, type, path) : Status();
}

Value Conformer::zero(Kind kind) {
  switch (kind) {
    case Kind::kStruct:
    case Kind::kMap:
    case Kind::kRaw:
    case Kind::kFieldsV1:
      return Value::object();
    case Kind::kList:
    case Kind::kWrappedList:
      return Value::array();
    case Kind::kString:
    case Kind::kBytes:
      return Value::string("");
    case Kind::kBool:
      return Value::boolean(false);
    case Kind::kQuantity:
      return Value::string("0");
    case Kind::kDuration:
      return Value::string("0s");
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kFloat64:
    case Kind::kIntOrString:
      return Value::integer(0);
    default:
      return Value();
  }
}

Status Conformer::fill(Value& value, const Type& type, const Path* path) {
  bool added = false;
  for (const FieldEntry& entry : type.by_name()) {
    const Field& field = *entry.field;
    if (field.is(kPointer)) continue;
    const Kind kind = field.shape->kind;
    const bool never_absent =
        kind == Kind::kStruct || kind == Kind::kQuantity || kind == Kind::kIntOrString;
    const bool written_when_zero = kind == Kind::kString || kind == Kind::kInt32 ||
                                   kind == Kind::kInt64 || kind == Kind::kBool ||
                                   kind == Kind::kFloat64 || kind == Kind::kDuration;
    if (!never_absent && (field.is(kOmitEmpty) || !written_when_zero)) continue;
    if (value.find(entry.name)) continue;
    Value made = zero(kind);
    if (kind == Kind::kStruct) RETURN_IF_ERROR(structure(made, *field.shape->type, path));
    value.append(arena_, entry.name, made);
    added = true;
  }
  if (added) value.sort_members();
  return arena_.full() ? fail(path, "too large in memory") : Status();
}

Status Conformer::list(Value& value, const Shape& shape, const Path* path) {
  if (!value.is_array()) return mismatch(json_name(value), shape, path);
  size_t index = 0;
  for (Value& item : value.items()) {
    Path here{path, {}, index++};
    no_null(item, *shape.element);
    RETURN_IF_ERROR(this->value(item, *shape.element, &here));
  }
  return {};
}

Status Conformer::map(Value& value, const Shape& shape, const Path* path) {
  if (!value.is_object()) return mismatch(json_name(value), shape, path);
  value.sort_members();
  const std::span<Member> members = value.members();
  size_t kept = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    Member& member = members[i];
    Path here{path, member.key};
    if (i + 1 < members.size() && members[i + 1].key == member.key) {
      complain("duplicate", here);
      continue;
    }
    no_null(member.value, *shape.element);
    RETURN_IF_ERROR(this->value(member.value, *shape.element, &here));
    members[kept++] = member;
  }
  value.truncate(kept);
  return {};
}

Status Conformer::either(Value& value, const Shape& shape, const Path* path) {
  for (const Field& field : shape.type->own_fields()) {
    const Kind kind = field.shape->kind;
    const bool fits = (kind == Kind::kBool && value.is_bool()) ||
                      (kind == Kind::kList && value.is_array()) ||
                      (kind == Kind::kStruct && value.is_object());
    if (fits) return this->value(value, *field.shape, path);
  }
  return mismatch(json_name(value), shape, path);
}

Status Conformer::integer(const Value& value, const Shape& shape, const Path* path) {
  if (value.is_int()) {
    const int64_t number = value.as_int();
    if (shape.kind == Kind::kInt64 || (number >= std::numeric_limits<int32_t>::min() &&
                                       number <= std::numeric_limits<int32_t>::max())) {
      return {};
    }
    return mismatch(fmt::format("number {}", number), shape, path);
  }
  if (value.is_number()) {
    return mismatch(fmt::format("number {}", cut(value.number_text())), shape, path);
  }
  return mismatch(json_name(value), shape, path);
}

Status Conformer::spelled(Value& value, const Shape& shape, const Path* path) {
  std::string number;
  std::string_view text = value.as_string();
  if (shape.kind == Kind::kQuantity && value.is_number()) {
    number = value.is_int() ? std::to_string(value.as_int()) : std::string(value.number_text());
    text = number;
  } else if (!value.is_string()) {
    return mismatch(json_name(value), shape, path);
  }
  std::string canonical;
  switch (shape.kind) {
    case Kind::kBytes: {
      const auto bytes = api::decode_base64(text);
      if (!bytes) return fail(path, "illegal base64 data");
      if (text.find_first_of("\r\n") == std::string_view::npos) return {};
      canonical = api::encode_base64(*bytes);
      break;
    }
    case Kind::kQuantity: {
      const auto quantity = Quantity::parse(text);
      if (!quantity) {
        return fail(path,
                    "quantities must match the regular expression "
                    "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
      }
      canonical = quantity->to_string();
      break;
    }
    case Kind::kDuration: {
      const auto duration = parse_duration(text);
      if (!duration) return fail(path, fmt::format("time: invalid duration \"{}\"", cut(text)));
      canonical = format_duration(*duration);
      break;
    }
    default: {
      const bool micro = shape.kind == Kind::kMicroTime;
      const auto micros = api::parse_rfc3339_micros(text);
      if (!micros) {
        return fail(path, fmt::format("parsing time \"{}\" as \"{}\": cannot parse", cut(text),
                                      micro ? kMicroTimeLayout : kTimeLayout));
      }
      canonical = micro ? api::format_rfc3339_micros(*micros)
                        : format_time(*api::parse_rfc3339_seconds(text));
    }
  }
  if (!value.is_string() || canonical != text) value = Value::string(arena_.copy(canonical));
  return {};
}

}  // namespace

Result<FieldValidation> parse_field_validation(std::string_view text) {
  if (text.empty() || text == "Warn") return FieldValidation::kWarn;
  if (text == "Ignore") return FieldValidation::kIgnore;
  if (text == "Strict") return FieldValidation::kStrict;
  return Status::error(
      StatusCode::kInvalid, "parse", "fieldValidation",
      fmt::format("Unsupported value: \"{}\": supported values: \"Ignore\", \"Strict\", \"Warn\"",
                  cut(text)));
}

Status conform(Document& document, const Shape& shape, Conform mode,
               std::vector<std::string>* complaints) {
  return Conformer(document.arena, mode, complaints).value(document.root, shape, nullptr);
}

std::string strict_error(const std::vector<std::string>& complaints) {
  return fmt::format("strict decoding error: {}", fmt::join(complaints, ", "));
}

void sort_deep(Value& value) {
  for (Value& item : value.items()) sort_deep(item);
  if (!value.is_object()) return;
  value.sort_members();
  const std::span<Member> members = value.members();
  size_t kept = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    if (i + 1 < members.size() && members[i + 1].key == members[i].key) continue;
    sort_deep(members[i].value);
    members[kept++] = members[i];
  }
  value.truncate(kept);
}

}  // namespace fairlead::schema
