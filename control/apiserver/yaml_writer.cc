#include "control/apiserver/yaml_writer.h"

#include "control/schema/json_text.h"

namespace fairlead::apiserver {
namespace {

using schema::Value;

// Strings that need no quotes under any YAML: words of letters that are no keyword. Everything
// else goes out as JSON, which YAML reads.
bool is_plain(std::string_view text) {
  if (text.size() < 4) return false;  // "y", "no", "on", "1e3"
  for (const char* keyword : {"true", "false", "null"}) {
    if (text.size() <= 5 && (text[0] | 0x20) == keyword[0]) return false;
  }
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!letter(text.front())) return false;
  for (const char c : text) {
    if (!letter(c) && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '/') return false;
  }
  return true;
}

void append_scalar(const Value& value, std::string* out) {
  if (value.is_string() && is_plain(value.as_string())) {
    *out += value.as_string();
  } else {
    schema::append_json(value, out);
  }
}

void append_block(const Value& value, size_t indent, std::string* out);

void append_child(const Value& value, size_t indent, bool in_list, std::string* out) {
  if (value.empty()) {  // scalars, [] and {}
    *out += in_list ? "" : " ";
    append_scalar(value, out);
    *out += '\n';
    return;
  }
  if (!in_list) {
    *out += '\n';
    out->append(indent, ' ');
  }
  append_block(value, indent, out);
}

// The first line is indented already.
void append_block(const Value& value, size_t indent, std::string* out) {
  bool first = true;
  const auto next_line = [&] {
    if (!first) out->append(indent, ' ');
    first = false;
  };
  for (const Value& item : value.items()) {
    next_line();
    *out += "- ";
    append_child(item, indent + 2, true, out);
  }
  for (const schema::Member& member : value.members()) {
    next_line();
    append_scalar(Value::string(member.key), out);
    *out += ':';
    append_child(member.value, indent + 2, false, out);
  }
}

}  // namespace

std::string to_yaml(const Value& value) {
  std::string out;
  if (value.empty()) {
    append_scalar(value, &out);
    return out += '\n';
  }
  append_block(value, 0, &out);
  return out;
}

}  // namespace fairlead::apiserver
