// An append-only JSON writer: commas and escapes are its business, nesting is the caller's.
//
//   JsonWriter json;
//   json.begin_object().key("kind").string("Event").key("count").number(3).end_object();
//
// Threads: one owner.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace fairlead::api {

class JsonWriter {
 public:
  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& key(std::string_view name);
  JsonWriter& string(std::string_view value);  // invalid UTF-8 becomes U+FFFD
  template <std::integral T>
  JsonWriter& number(T value) {
    if constexpr (std::is_signed_v<T>) return signed_number(value);
    return unsigned_number(static_cast<uint64_t>(value));
  }
  JsonWriter& number(double value);  // shortest form that reads back the same; not finite: null
  JsonWriter& boolean(bool value);
  JsonWriter& null();
  JsonWriter& raw(std::string_view json);  // already JSON

  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  void separate();
  JsonWriter& signed_number(int64_t value);
  JsonWriter& unsigned_number(uint64_t value);

  std::string text_;
  bool need_comma_ = false;
};

}  // namespace fairlead::api
