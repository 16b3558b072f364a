#include "proxy/config/render.h"

#include <algorithm>
#include <map>
#include <vector>

#include "control/api/json_writer.h"
#include "proxy/config/file.h"
#include "proxy/config/options.h"
#include "proxy/config/text.h"

namespace fairlead::proxy {
namespace {

using api::JsonWriter;

// By field; fields of one block are neighbours.
std::map<std::string_view, Value> fields_of(const Settings& settings) {
  std::map<std::string_view, Value> fields;
  for (const Option& option : options()) {
    if (!option.field.empty() && option.has_effect()) fields[option.field] = read(option, settings);
  }
  return fields;
}

std::vector<std::string_view> split(std::string_view field) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t dot = field.find('.');
    parts.push_back(field.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    field.remove_prefix(dot + 1);
  }
}

// Calls `open` and `close` for blocks and `leaf` for fields, in the order of a nested text.
template <typename Open, typename Close, typename Leaf>
void walk(const std::map<std::string_view, Value>& fields, Open open, Close close, Leaf leaf) {
  std::vector<std::string_view> blocks;
  for (const auto& [field, value] : fields) {
    const std::vector<std::string_view> parts = split(field);
    size_t common = 0;
    while (common < blocks.size() && common + 1 < parts.size() && blocks[common] == parts[common]) {
      ++common;
    }
    for (; blocks.size() > common; blocks.pop_back()) close();
    while (blocks.size() + 1 < parts.size()) {
      open(parts[blocks.size()], blocks.size());
      blocks.push_back(parts[blocks.size()]);
    }
    leaf(parts.back(), value, blocks.size());
  }
  for (; !blocks.empty(); blocks.pop_back()) close();
}

std::string json_quoted(std::string_view text) {
  return JsonWriter().string(text).take();
}

// Every string in quotes: what YAML takes for a number or a boolean is nobody's favourite subject.
std::string yaml_scalar(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return json_quoted(*text);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    std::string items;
    for (const std::string& item : *list) items += (items.empty() ? "" : ", ") + json_quoted(item);
    return "[" + items + "]";
  }
  return to_text(value);
}

void write_json(JsonWriter& json, const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) {
    json.boolean(*flag);
  } else if (const auto* number = std::get_if<int32_t>(&value)) {
    json.number(int64_t{*number});
  } else if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    json.begin_array();
    for (const std::string& item : *list) json.string(item);
    json.end_array();
  } else {
    json.string(to_text(value));
  }
}

}  // namespace

std::string to_yaml(const Settings& settings) {
  std::string text = "apiVersion: " + std::string(kConfigApiVersion) +
                     "\nkind: " + std::string(kConfigKind) + "\n";
  const auto line = [&](std::string_view key, size_t depth) {
    text.append(2 * depth, ' ').append(key).append(":");
  };
  walk(
      fields_of(settings),
      [&](std::string_view block, size_t depth) {
        line(block, depth);
        text += '\n';
      },
      [] {},
      [&](std::string_view key, const Value& value, size_t depth) {
        line(key, depth);
        text += ' ' + yaml_scalar(value) + '\n';
      });
  return text;
}

std::string to_configz(const Settings& settings) {
  JsonWriter json;
  json.begin_object().key("kubeproxy.config.k8s.io").begin_object();
  json.key("apiVersion").string(kConfigApiVersion).key("kind").string(kConfigKind);
  walk(
      fields_of(settings), [&](std::string_view block, size_t) { json.key(block).begin_object(); },
      [&] { json.end_object(); },
      [&](std::string_view key, const Value& value, size_t) {
        json.key(key);
        write_json(json, value);
      });
  json.end_object().end_object();
  return json.take();
}

}  // namespace fairlead::proxy
