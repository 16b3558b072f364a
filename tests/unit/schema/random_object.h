// Random objects of any type, from a seed.
#pragma once

#include <fmt/format.h>

#include <random>
#include <string>

#include "control/api/base64.h"
#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

class RandomObject {
 public:
  RandomObject(uint32_t seed, Arena& arena) : random_(seed), arena_(arena) {}

  Value of(const Type& type) { return structure(type, 5); }

 private:
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_()) % limit; }
  Value text(const std::string& text) { return Value::string(arena_.copy(text)); }

  Value structure(const Type& type, int depth) {
    Value value = Value::object();
    for (const FieldEntry& entry : type.by_name()) {
      const Kind kind = entry.field->shape->kind;
      const bool nests = kind == Kind::kStruct || kind == Kind::kUnion || kind == Kind::kList ||
                         kind == Kind::kMap;
      // Kinds and versions are not in messages, only around them.
      const bool meta = entry.field == &type_meta_[0] || entry.field == &type_meta_[1];
      if (below(3) == 0 || (nests && depth == 0) || meta) continue;
      value.append(arena_, entry.name, of(*entry.field->shape, depth - 1));
    }
    return value;
  }

  Value of(const Shape& shape, int depth) {
    switch (shape.kind) {
      case Kind::kBool:
        return Value::boolean(below(2) == 0);
      case Kind::kInt32:
        return Value::integer(static_cast<int32_t>(random_()) >> below(32));
      case Kind::kInt64:
        return Value::integer(static_cast<int64_t>(uint64_t{random_()} << 32 | random_()) >>
                              below(64));
      case Kind::kFloat64:
        return Value::number(arena_.copy(fmt::format("{}.5", below(1000))));
      case Kind::kString:
        return text(std::string(below(20), static_cast<char>('a' + below(26))) +
                    (below(4) == 0 ? "é\n\"" : ""));
      case Kind::kBytes:
        return text(api::encode_base64(std::string(below(9), static_cast<char>(below(256)))));
      case Kind::kStruct:
        return structure(*shape.type, depth);
      case Kind::kUnion: {
        const auto fields = shape.type->own_fields();
        return of(*fields[below(static_cast<uint32_t>(fields.size()))].shape, depth);
      }
      case Kind::kList:
      case Kind::kWrappedList: {
        Value list = Value::array();
        for (uint32_t i = below(3) + 1; i > 0 && depth > 0; --i) {
          list.push(arena_, of(*shape.element, depth - 1));
        }
        return list;
      }
      case Kind::kMap: {
        Value map = Value::object();
        for (uint32_t i = below(3) + 1; i > 0 && depth > 0; --i) {
          map.append(arena_, arena_.copy("key" + std::to_string(i)), of(*shape.element, depth - 1));
        }
        return map;
      }
      case Kind::kQuantity:
        return text(std::to_string(below(100000)) + (below(2) ? "m" : "Mi"));
      case Kind::kIntOrString:
        return below(2) ? Value::integer(below(65536)) : text("http");
      case Kind::kTime:
        return text(fmt::format("20{:02}-03-0{}T04:05:06Z", below(100), below(9) + 1));
      case Kind::kMicroTime:
        return text(fmt::format("20{:02}-03-04T04:05:06.{:06}Z", below(100), below(1000000)));
      case Kind::kDuration:
        return text(fmt::format("{}h{}m0s", below(5) + 1, below(60)));
      case Kind::kRaw:
      case Kind::kFieldsV1:
      case Kind::kJson:
      case Kind::kAny: {
        Value any = Value::object();
        any.append(arena_, "any", Value::integer(below(10)));
        return any;
      }
    }
    return {};
  }

  const std::span<const Field> type_meta_ = find_type("meta.v1.TypeMeta")->own_fields();
  std::mt19937 random_;
  Arena& arena_;
};

}  // namespace fairlead::schema
