#include <algorithm>
#include <bit>
#include <span>

#include "control/api/base64.h"
#include "control/api/decode.h"
#include "control/schema/json_text.h"
#include "control/schema/protobuf.h"
#include "control/schema/scalars.h"
#include "control/schema/wire.h"

namespace fairlead::schema {

namespace {

constexpr int64_t kMicros = 1000000;

// From the last to the first: std::views::reverse is beyond clang 14.
template <typename T>
class Reversed {
 public:
  explicit Reversed(std::span<T> all) : all_(all) {}
  auto begin() const { return all_.rbegin(); }
  auto end() const { return all_.rend(); }

 private:
  std::span<T> all_;
};

class MessageEncoder {
 public:
  void structure(const Value& value, const Type& type) {
    const std::span<const Field> fields = type.own_fields();
    for (const Field& field : Reversed(fields)) {
      if (field.number != 0) this->field(value, field);
    }
  }
  std::string take() { return out_.take(); }

 private:
  void field(const Value& owner, const Field& field);
  void element(uint32_t number, const Value& value, const Shape& shape);
  void message(const Value& value, const Shape& shape);
  void either(const Value& value, const Type& type);

  WireWriter out_;
};

void MessageEncoder::field(const Value& owner, const Field& field) {
  const Shape& shape = *field.shape;
  if (field.name.empty()) {
    const size_t before = out_.size();
    structure(owner, *shape.type);
    out_.close(field.number, before);
    return;
  }
  const Value* value = owner.find(field.name);
  if (shape.kind == Kind::kList) {
    if (!value) return;
    for (const Value& item : Reversed(value->items())) {
      element(field.number, item, *shape.element);
    }
    return;
  }
  if (shape.kind == Kind::kMap) {
    if (!value) return;
    for (const Member& member : Reversed(value->members())) {
      const size_t before = out_.size();
      element(2, member.value, *shape.element);
      out_.bytes_field(1, member.key);
      out_.close(field.number, before);
    }
    return;
  }
  // Absent pointers, and slices that are nil, are not written; everything else always is.
  const bool nil_able =
      field.is(kPointer) || shape.kind == Kind::kBytes || shape.kind == Kind::kWrappedList;
  if (!value && nil_able) return;
  element(field.number, value ? *value : Value(), shape);
}

void MessageEncoder::element(uint32_t number, const Value& value, const Shape& shape) {
  switch (shape.kind) {
    case Kind::kBool:
      return out_.integer_field(number, value.as_bool() ? 1 : 0);
    case Kind::kInt32:
    case Kind::kInt64:
      return out_.integer_field(number, static_cast<uint64_t>(value.as_int()));
    case Kind::kFloat64:
      out_.fixed64(std::bit_cast<uint64_t>(value.as_double()));
      return out_.tag(number, WireType::kFixed64);
    case Kind::kString:
      return out_.bytes_field(number, value.as_string());
    case Kind::kBytes:
      return out_.bytes_field(number,
                              api::decode_base64(value.as_string()).value_or(std::string()));
    default: {
      const size_t before = out_.size();
      message(value, shape);
      out_.close(number, before);
    }
  }
}

void MessageEncoder::message(const Value& value, const Shape& shape) {
  switch (shape.kind) {
    case Kind::kStruct:
      return structure(value, *shape.type);
    case Kind::kUnion:
      return either(value, *shape.type);
    case Kind::kWrappedList:
      for (const Value& item : Reversed(value.items())) {
        element(1, item, *shape.element);
      }
      return;
    case Kind::kQuantity:
      return out_.bytes_field(1, value.is_string() ? value.as_string() : "0");
    case Kind::kIntOrString:
      out_.bytes_field(3, value.as_string());
      out_.integer_field(2, static_cast<uint64_t>(value.as_int()));
      return out_.integer_field(1, value.is_string() ? 1 : 0);
    case Kind::kTime:
    case Kind::kMicroTime: {
      const auto micros = api::parse_rfc3339_micros(value.as_string());
      if (!micros) return;
      const int64_t seconds = *api::parse_rfc3339_seconds(value.as_string());
      const int64_t rest = shape.kind == Kind::kMicroTime ? *micros - seconds * kMicros : 0;
      out_.integer_field(2, static_cast<uint64_t>(rest * 1000));
      return out_.integer_field(1, static_cast<uint64_t>(seconds));
    }
    case Kind::kDuration:
      return out_.integer_field(
          1, static_cast<uint64_t>(parse_duration(value.as_string()).value_or(0)));
    case Kind::kRaw:
    case Kind::kFieldsV1:
    case Kind::kJson:
      if (!value.is_null() || shape.kind == Kind::kJson) out_.bytes_field(1, to_json(value));
      return;
    default:
      return;
  }
}

void MessageEncoder::either(const Value& value, const Type& type) {
  for (const Field& field : Reversed(type.own_fields())) {
    switch (field.shape->kind) {
      case Kind::kBool:
        // Beside a schema the permission is granted.
        out_.integer_field(field.number, value.is_bool() ? value.as_bool() : 1);
        break;
      case Kind::kStruct:
        if (value.is_object()) element(field.number, value, *field.shape);
        break;
      default:
        for (const Value& item : Reversed(value.items())) {
          element(field.number, item, *field.shape->element);
        }
    }
  }
}

}  // namespace

std::string encode_protobuf(const Value& value, const Type& type) {
  MessageEncoder encoder;
  encoder.structure(value, type);
  return encoder.take();
}

std::string seal_envelope(std::string_view api_version, std::string_view kind,
                          std::string_view raw) {
  WireWriter out;
  out.bytes_field(4, "");
  out.bytes_field(3, "");
  out.bytes_field(2, raw);
  const size_t before = out.size();
  out.bytes_field(2, kind);
  out.bytes_field(1, api_version);
  out.close(1, before);
  out.bytes(std::string_view("k8s\0", 4));
  return out.take();
}

std::string watch_frame(std::string_view event_type, std::string_view object) {
  WireWriter out;
  const size_t before = out.size();
  out.bytes_field(1, object);
  out.close(2, before);
  out.bytes_field(1, event_type);
  const auto length = static_cast<uint32_t>(out.size());
  std::string prefix;
  for (const int shift : {24, 16, 8, 0}) prefix.push_back(static_cast<char>(length >> shift));
  out.bytes(prefix);
  return out.take();
}

}  // namespace fairlead::schema
