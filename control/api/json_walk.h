// Field-by-field reading of one JSON text with simdjson's on-demand front end: the layer between
// simdjson and the decoders of this folder.
//
// A value of the wrong type becomes a Problem and the walk goes on; broken JSON sets failed() and
// every later step does nothing. Values that nobody asks for are skipped by structure alone: their
// brackets are followed, their scalars are not looked at. Null counts as absent everywhere.
//
// Strings without escapes are views into the text; nothing is copied to read them.
//
// Threads: one owner. Include only from .cc files of control/api.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/types.h"

namespace fairlead::api::walk {

namespace ondemand = simdjson::ondemand;
using Value = ondemand::value;

// Where in the object we are; becomes text only when there is a problem to report.
struct Path {
  const Path* parent = nullptr;
  std::string_view key;  // empty: an array element
  size_t index = 0;

  std::string to_string() const;
};

// A copy of the text with simdjson's padding behind it, and the parser that indexes it.
class Buffer {
 public:
  // Indexes `json`; the document stays valid until the next call. `document` may be iterated once.
  simdjson::error_code open(std::string_view json, ondemand::document* document);
  const char* data() const { return text_.get(); }
  // Gives back memory that an unusually large text needed.
  void trim();

 private:
  std::unique_ptr<char[]> text_;
  size_t capacity_ = 0;
  ondemand::parser parser_;
};

class Walk {
 public:
  // `problems` null: wrong types are ignored silently.
  explicit Walk(std::vector<Problem>* problems) : problems_(problems) {}

  bool failed() const { return error_ != simdjson::SUCCESS; }
  simdjson::error_code error() const { return error_; }
  void fail(simdjson::error_code error) {
    if (!failed()) error_ = error;
  }
  void problem(const Path& path, std::string reason);

  // The root must be an object and the text must end with it.
  template <typename Field>
  void root(ondemand::document& document, Field&& field);

  // Calls field(key, value, path) for every field; false when the value is null or not an object.
  template <typename Field>
  bool object(Value value, const Path& path, Field&& field);
  // Calls element(value, path) for every element; false when the value is null or not an array.
  template <typename Element>
  bool array(Value value, const Path& path, Element&& element);

  // These return false, and leave `out` alone, when the value is null or of another type.
  bool view(Value value, const Path& path, std::string_view* out);  // valid while the text is
  bool string(Value value, const Path& path, std::string* out);
  bool integer(Value value, const Path& path, int64_t low, int64_t high, int64_t* out);
  bool boolean(Value value, const Path& path, bool* out);
  // Replaces `out` with the strings of an array; elements that are not strings are problems.
  bool strings(Value value, const Path& path, std::vector<std::string>* out);

 private:
  // True when the value is of the wanted type; else reports (null silently).
  bool expect(Value& value, const Path& path, ondemand::json_type wanted);
  template <typename Field>
  void fields(ondemand::object& object, const Path* parent, Field&& field);
  bool key_of(ondemand::field& field, std::string_view* key);

  std::vector<Problem>* problems_;
  simdjson::error_code error_ = simdjson::SUCCESS;
};

template <typename Field>
void Walk::fields(ondemand::object& object, const Path* parent, Field&& field) {
  for (auto item : object) {
    ondemand::field found;
    if (const auto error = std::move(item).get(found)) return fail(error);
    std::string_view key;
    if (!key_of(found, &key)) continue;
    field(key, found.value(), Path{parent, key, 0});
    if (failed()) return;
  }
}

template <typename Field>
void Walk::root(ondemand::document& document, Field&& field) {
  ondemand::object object;
  if (const auto error = document.get_object().get(object)) return fail(error);
  fields(object, nullptr, field);
  // Nothing may follow: the only location left is none.
  if (!failed() && document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
    fail(simdjson::TRAILING_CONTENT);
  }
}

template <typename Field>
bool Walk::object(Value value, const Path& path, Field&& field) {
  if (!expect(value, path, ondemand::json_type::object)) return false;
  ondemand::object found;
  if (const auto error = value.get_object().get(found)) {
    fail(error);
    return false;
  }
  fields(found, &path, field);
  return !failed();
}

template <typename Element>
bool Walk::array(Value value, const Path& path, Element&& element) {
  if (!expect(value, path, ondemand::json_type::array)) return false;
  ondemand::array found;
  if (const auto error = value.get_array().get(found)) {
    fail(error);
    return false;
  }
  size_t index = 0;
  for (auto item : found) {
    Value child;
    if (const auto error = std::move(item).get(child)) {
      fail(error);
      return false;
    }
    element(child, Path{&path, {}, index++});
    if (failed()) return false;
  }
  return true;
}

}  // namespace fairlead::api::walk
