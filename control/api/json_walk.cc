#include "control/api/json_walk.h"

#include <fmt/format.h>

#include <algorithm>

namespace fairlead::api::walk {

namespace {

// A hostile object must not cost more memory as problems than it did as JSON.
constexpr size_t kMaxProblems = 32;
constexpr size_t kMaxQuoted = 40;
constexpr size_t kKeepCapacity = size_t{1} << 20;

std::string_view name_of(ondemand::json_type type) {
  switch (type) {
    case ondemand::json_type::array:
      return "an array";
    case ondemand::json_type::object:
      return "an object";
    case ondemand::json_type::number:
      return "a number";
    case ondemand::json_type::string:
      return "a string";
    case ondemand::json_type::boolean:
      return "a boolean";
    case ondemand::json_type::null:
      return "null";
  }
  return "something else";
}

// The scalar's own text: a token reaches up to the next one.
std::string_view token_of(Value& value) {
  std::string_view token = value.raw_json_token();
  while (!token.empty() && std::memchr(" \t\r\n", token.back(), 4)) token.remove_suffix(1);
  return token;
}

}  // namespace

std::string Path::to_string() const {
  std::string text = parent ? parent->to_string() : std::string();
  if (key.empty() && parent) return text + fmt::format("[{}]", index);
  if (!text.empty()) text += '.';
  if (key.size() <= kMaxQuoted) return text.append(key);
  // Not in the middle of a UTF-8 sequence.
  size_t length = kMaxQuoted;
  while (length > 0 && (static_cast<unsigned char>(key[length]) & 0xC0) == 0x80) --length;
  return text.append(key.substr(0, length)).append("...");
}

simdjson::error_code Buffer::open(std::string_view json, ondemand::document* document) {
  const size_t needed = json.size() + simdjson::SIMDJSON_PADDING;
  if (needed > capacity_) {
    capacity_ = std::max(needed, std::min(needed * 2, kKeepCapacity));
    text_.reset(new char[capacity_]);
    if (const auto error = parser_.allocate(capacity_)) return error;
  }
  // An empty view may have a null pointer, which memcpy must not see.
  if (!json.empty()) std::memcpy(text_.get(), json.data(), json.size());
  std::memset(text_.get() + json.size(), ' ', simdjson::SIMDJSON_PADDING);
  return parser_.iterate(simdjson::padded_string_view(text_.get(), json.size(), needed))
      .get(*document);
}

void Buffer::trim() {
  if (capacity_ <= kKeepCapacity) return;
  text_.reset();
  capacity_ = 0;
  parser_ = ondemand::parser();
}

void Walk::problem(const Path& path, std::string reason) {
  if (!problems_ || problems_->size() > kMaxProblems) return;
  if (problems_->size() == kMaxProblems) {
    problems_->push_back({"", "more problems than are listed here"});
    return;
  }
  problems_->push_back({path.to_string(), std::move(reason)});
}

bool Walk::key_of(ondemand::field& field, std::string_view* key) {
  const char* begin = field.key().raw();
  // The quote that ends the key is there: the text was indexed, and a key is a whole string.
  const char* end = begin;
  while (*end != '"' && *end != '\\') ++end;
  if (*end == '"') {
    *key = std::string_view(begin, static_cast<size_t>(end - begin));
    return true;
  }
  return field.unescaped_key().get(*key) == simdjson::SUCCESS;
}

bool Walk::expect(Value& value, const Path& path, ondemand::json_type wanted) {
  if (failed()) return false;
  ondemand::json_type type;
  if (const auto error = value.type().get(type)) {
    fail(error);
    return false;
  }
  if (type == wanted) return true;
  if (type == ondemand::json_type::null && token_of(value) == "null") return false;
  problem(path, fmt::format("is {}, not {}", name_of(type), name_of(wanted)));
  return false;
}

bool Walk::view(Value value, const Path& path, std::string_view* out) {
  if (!expect(value, path, ondemand::json_type::string)) return false;
  const std::string_view token = token_of(value);
  if (token.size() >= 2 && token.back() == '"' && !std::memchr(token.data(), '\\', token.size())) {
    *out = token.substr(1, token.size() - 2);
    return true;
  }
  if (value.get_string().get(*out) == simdjson::SUCCESS) return true;
  problem(path, "has an escape that stands for no character");
  return false;
}

bool Walk::string(Value value, const Path& path, std::string* out) {
  std::string_view text;
  if (!view(value, path, &text)) return false;
  out->assign(text);
  return true;
}

bool Walk::integer(Value value, const Path& path, int64_t low, int64_t high, int64_t* out) {
  if (!expect(value, path, ondemand::json_type::number)) return false;
  int64_t number = 0;
  if (value.get_int64().get(number) != simdjson::SUCCESS) {
    const std::string_view token = token_of(value);
    problem(path, fmt::format("{}{} is not an integer that fits here", token.substr(0, kMaxQuoted),
                              token.size() > kMaxQuoted ? "..." : ""));
    return false;
  }
  if (number < low || number > high) {
    problem(path, fmt::format("{} is not between {} and {}", number, low, high));
    return false;
  }
  *out = number;
  return true;
}

bool Walk::boolean(Value value, const Path& path, bool* out) {
  if (!expect(value, path, ondemand::json_type::boolean)) return false;
  const std::string_view token = token_of(value);
  if (token != "true" && token != "false") {
    fail(simdjson::T_ATOM_ERROR);
    return false;
  }
  *out = token == "true";
  return true;
}

bool Walk::strings(Value value, const Path& path, std::vector<std::string>* out) {
  bool cleared = false;
  const bool read = array(value, path, [&](Value element, const Path& at) {
    // Only now, so that null does not empty what an earlier duplicate of the key said.
    if (!cleared) out->clear();
    cleared = true;
    std::string_view text;
    if (view(element, at, &text)) out->emplace_back(text);
  });
  if (read && !cleared) out->clear();
  return read;
}

}  // namespace fairlead::api::walk
