#include <fmt/format.h>
#include <simdjson.h>

#include <bit>
#include <cmath>

#include "control/api/base64.h"
#include "control/api/decode.h"
#include "control/schema/json_text.h"
#include "control/schema/protobuf.h"
#include "control/schema/quantity.h"
#include "control/schema/resources.h"
#include "control/schema/scalars.h"
#include "control/schema/wire.h"

namespace fairlead::schema {

namespace {

Status broken(std::string_view where, std::string_view reason) {
  return Status::error(StatusCode::kInvalid, "decode protobuf", where, reason);
}

class MessageDecoder {
 public:
  explicit MessageDecoder(Arena& arena) : arena_(arena) {}

  // Adds the message's fields to `object`.
  Status structure(std::string_view message, const Type& type, size_t depth, Value* object);

 private:
  Status element(const WireField& from, const Shape& shape, size_t depth, Value* out);
  Status field(const WireField& from, const Field& field, size_t depth, Value* object);
  Status entry(std::string_view message, const Shape& shape, size_t depth, Value* map);
  Status special(std::string_view message, const Shape& shape, size_t depth, Value* out);
  Status either(std::string_view message, const Type& type, size_t depth, Value* out);
  Status embedded(std::string_view raw, size_t depth, Value* out);
  Status text(std::string_view bytes, Value* out);

  Arena& arena_;
};

Status MessageDecoder::structure(std::string_view message, const Type& type, size_t depth,
                                 Value* object) {
  if (depth == 0) return broken(type.name, "nested too deep");
  if (arena_.full()) return broken(type.name, "too large in memory");
  WireReader reader(message);
  WireField from;
  size_t at = 0;  // fields mostly arrive in the order of the table
  const std::span<const Field> fields = type.own_fields();
  while (!reader.done()) {
    if (!reader.next(&from)) return broken(type.name, "malformed message");
    for (size_t tried = 0; tried < fields.size() && fields[at].number != from.number; ++tried) {
      at = at + 1 == fields.size() ? 0 : at + 1;
    }
    if (fields.empty() || fields[at].number != from.number) continue;
    RETURN_IF_ERROR(field(from, fields[at], depth, object));
  }
  return {};
}

Status MessageDecoder::field(const WireField& from, const Field& field, size_t depth,
                             Value* object) {
  const Shape& shape = *field.shape;
  if (field.name.empty()) {
    if (from.type != WireType::kBytes) return broken(shape.type->name, "wrong wire type");
    return structure(from.bytes, *shape.type, depth - 1, object);
  }
  if (shape.kind == Kind::kList || shape.kind == Kind::kMap) {
    Value* found = object->find(field.name);
    if (!found) {
      found = &object->append(arena_, field.name,
                              shape.kind == Kind::kMap ? Value::object() : Value::array());
    }
    if (shape.kind == Kind::kMap) {
      if (from.type != WireType::kBytes) return broken(field.name, "wrong wire type");
      return entry(from.bytes, shape, depth - 1, found);
    }
    const Kind kind = shape.element->kind;
    const bool packed = from.type == WireType::kBytes &&
                        (kind == Kind::kInt32 || kind == Kind::kInt64 || kind == Kind::kBool);
    if (!packed) {
      Value item;
      RETURN_IF_ERROR(element(from, *shape.element, depth - 1, &item));
      found->push(arena_, item);
      return {};
    }
    WireReader numbers(from.bytes);
    WireField number;
    while (!numbers.done()) {
      if (!numbers.varint(&number.integer)) return broken(field.name, "malformed numbers");
      Value item;
      RETURN_IF_ERROR(element(number, *shape.element, depth - 1, &item));
      found->push(arena_, item);
    }
    return {};
  }
  Value value;
  RETURN_IF_ERROR(element(from, shape, depth - 1, &value));
  if (!value.is_null()) object->set(arena_, field.name, value);
  return {};
}

Status MessageDecoder::entry(std::string_view message, const Shape& shape, size_t depth,
                             Value* map) {
  WireReader reader(message);
  WireField part;
  Value key = Value::string("");
  Value value;
  bool has_value = false;
  while (!reader.done()) {
    if (!reader.next(&part)) return broken("map entry", "malformed message");
    if (part.number == 1) {
      if (part.type != WireType::kBytes) return broken("map entry", "wrong wire type");
      RETURN_IF_ERROR(text(part.bytes, &key));
    } else if (part.number == 2) {
      RETURN_IF_ERROR(element(part, *shape.element, depth, &value));
      has_value = true;
    }
  }
  if (!has_value) {
    // The zero value: an empty message or string says it.
    WireField nothing;
    const Kind kind = shape.element->kind;
    const bool number = kind == Kind::kInt32 || kind == Kind::kInt64 || kind == Kind::kBool;
    nothing.type = number ? WireType::kVarint : WireType::kBytes;
    RETURN_IF_ERROR(element(nothing, *shape.element, depth, &value));
  }
  // Keys that repeat stand side by side; the last one counts once the object is made canonical.
  map->append(arena_, key.as_string(), value);
  return {};
}

Status MessageDecoder::text(std::string_view bytes, Value* out) {
  if (!simdjson::validate_utf8(bytes.data(), bytes.size())) {
    return broken("string", "is not UTF-8");
  }
  *out = Value::string(arena_.copy(bytes));
  return {};
}

Status MessageDecoder::element(const WireField& from, const Shape& shape, size_t depth,
                               Value* out) {
  const bool varint = from.type == WireType::kVarint;
  switch (shape.kind) {
    case Kind::kBool:
      if (!varint) return broken(shape.go_name, "wrong wire type");
      *out = Value::boolean(from.integer != 0);
      return {};
    case Kind::kInt32:
      if (!varint) return broken(shape.go_name, "wrong wire type");
      *out = Value::integer(static_cast<int32_t>(from.integer));
      return {};
    case Kind::kInt64:
      if (!varint) return broken(shape.go_name, "wrong wire type");
      *out = Value::integer(static_cast<int64_t>(from.integer));
      return {};
    case Kind::kFloat64: {
      if (from.type != WireType::kFixed64) return broken(shape.go_name, "wrong wire type");
      const auto number = std::bit_cast<double>(from.integer);
      if (!std::isfinite(number)) return broken(shape.go_name, "is not a finite number");
      constexpr double kExact = 9007199254740992.0;
      const bool whole = std::trunc(number) == number && std::abs(number) <= kExact;
      *out = whole ? Value::integer(static_cast<int64_t>(number))
                   : Value::number(arena_.copy(fmt::format("{}", number)));
      return {};
    }
    default:
      break;
  }
  if (from.type != WireType::kBytes) return broken(go_type_name(shape), "wrong wire type");
  switch (shape.kind) {
    case Kind::kString:
      return text(from.bytes, out);
    case Kind::kBytes:
      *out = Value::string(arena_.copy(api::encode_base64(from.bytes)));
      return {};
    case Kind::kStruct:
      *out = Value::object();
      return structure(from.bytes, *shape.type, depth, out);
    case Kind::kUnion:
      return either(from.bytes, *shape.type, depth, out);
    default:
      return special(from.bytes, shape, depth, out);
  }
}

// Messages that JSON spells as a scalar, a list, or any value.
Status MessageDecoder::special(std::string_view message, const Shape& shape, size_t depth,
                               Value* out) {
  if (depth == 0) return broken(go_type_name(shape), "nested too deep");
  WireReader reader(message);
  WireField part;
  int64_t numbers[3] = {0, 0, 0};
  std::string_view bytes;
  if (shape.kind == Kind::kWrappedList) *out = Value::array();
  while (!reader.done()) {
    if (!reader.next(&part)) return broken(go_type_name(shape), "malformed message");
    if (shape.kind == Kind::kWrappedList && part.number == 1) {
      Value item;
      RETURN_IF_ERROR(element(part, *shape.element, depth - 1, &item));
      out->push(arena_, item);
    } else if (part.type == WireType::kVarint && part.number <= 3) {
      numbers[part.number - 1] = static_cast<int64_t>(part.integer);
    } else if (part.type == WireType::kBytes && part.number <= 3) {
      bytes = part.bytes;
    }
  }
  switch (shape.kind) {
    case Kind::kQuantity: {
      const auto quantity = Quantity::parse(bytes.empty() ? "0" : bytes);
      if (!quantity) return broken("quantity", "malformed");
      *out = Value::string(arena_.copy(quantity->to_string()));
      return {};
    }
    case Kind::kIntOrString:
      if (numbers[0] != 0) return text(bytes, out);
      *out = Value::integer(static_cast<int32_t>(numbers[1]));
      return {};
    case Kind::kTime:
      if (!message.empty()) *out = Value::string(arena_.copy(format_time(numbers[0])));
      return {};
    case Kind::kMicroTime: {
      if (message.empty()) return {};
      // The second is what format_time() holds it to.
      const auto second = api::parse_rfc3339_micros(format_time(numbers[0]));
      const int64_t nanos = numbers[1] < 0 || numbers[1] > 999999999 ? 0 : numbers[1];
      *out =
          Value::string(arena_.copy(api::format_rfc3339_micros(second.value_or(0) + nanos / 1000)));
      return {};
    }
    case Kind::kDuration:
      *out = Value::string(arena_.copy(format_duration(numbers[0])));
      return {};
    case Kind::kRaw:
    case Kind::kFieldsV1:
    case Kind::kJson:
      return bytes.empty() ? Status() : embedded(bytes, depth - 1, out);
    default:
      return {};
  }
}

// Text is JSON of any kind; an envelope is an object of a kind that the tables know.
Status MessageDecoder::embedded(std::string_view raw, size_t depth, Value* out) {
  if (depth == 0) return broken("embedded object", "nested too deep");
  if (is_protobuf(raw)) {
    Envelope envelope;
    ASSIGN_OR_RETURN(envelope, open_envelope(raw));
    const Resource* resource = find_kind(envelope.api_version, envelope.kind);
    if (!resource) return broken("embedded object", "of an unknown kind");
    *out = Value::object();
    RETURN_IF_ERROR(structure(envelope.raw, *resource->type(), depth - 1, out));
    out->set(arena_, "apiVersion", Value::string(arena_.copy(envelope.api_version)));
    out->set(arena_, "kind", Value::string(arena_.copy(envelope.kind)));
    return {};
  }
  // Scalars are JSON too, which parse_json() leaves to whoever wraps them.
  const std::string wrapped = fmt::format("[{}]", raw);
  Result<Document> document = parse_json(wrapped, {wrapped.size(), depth});
  if (!document.ok() || document->root.size() != 1) return broken("embedded object", "is not JSON");
  *out = document->root.items()[0].clone(arena_);
  return {};
}

Status MessageDecoder::either(std::string_view message, const Type& type, size_t depth,
                              Value* out) {
  Value object = Value::object();
  RETURN_IF_ERROR(structure(message, type, depth, &object));
  *out = type.fields[type.field_count - 1].shape->kind == Kind::kList ? Value::array()
                                                                      : Value::boolean(false);
  // The last field that says something: a schema rather than the bare permission beside it.
  for (const Field& field : type.own_fields()) {
    const Value* found = object.find(field.name);
    if (found && !(field.shape->kind == Kind::kList && found->empty())) *out = *found;
  }
  return {};
}

}  // namespace

bool is_protobuf(std::string_view body) {
  return body.starts_with(std::string_view("k8s\0", 4));
}

Result<Envelope> open_envelope(std::string_view body) {
  if (!is_protobuf(body)) return broken("envelope", "does not start with k8s and a zero byte");
  WireReader reader(body.substr(4));
  WireField part;
  Envelope envelope;
  std::string_view encoding;
  while (!reader.done()) {
    if (!reader.next(&part)) return broken("envelope", "malformed message");
    if (part.type != WireType::kBytes) continue;
    if (part.number == 2) envelope.raw = part.bytes;
    if (part.number == 3) encoding = part.bytes;
    if (part.number == 4) envelope.content_type = part.bytes;
    if (part.number != 1) continue;
    WireReader meta(part.bytes);
    while (!meta.done()) {
      if (!meta.next(&part)) return broken("envelope", "malformed type");
      if (part.type != WireType::kBytes) continue;
      if (part.number == 1) envelope.api_version = part.bytes;
      if (part.number == 2) envelope.kind = part.bytes;
    }
  }
  if (!encoding.empty()) return broken("envelope", "is compressed");
  return envelope;
}

Result<Document> decode_protobuf(std::string_view message, const Type& type, size_t depth) {
  Document document;
  document.root = Value::object();
  RETURN_IF_ERROR(MessageDecoder(document.arena).structure(message, type, depth, &document.root));
  return document;
}

}  // namespace fairlead::schema
