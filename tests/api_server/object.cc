#include "tests/api_server/object.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <chrono>
#include <random>

#include "control/api/decode.h"
#include "control/api/json_writer.h"

namespace fairlead::api_server {
namespace {

namespace ondemand = simdjson::ondemand;
using simdjson::simdjson_error;

Status bad_json(std::string_view reason) {
  return Status::error(StatusCode::kInvalid, "parse", "object", reason);
}

// The value's own text.
std::string_view raw_text(ondemand::value value) {
  switch (value.type()) {
    case ondemand::json_type::object: {
      ondemand::object object = value.get_object();
      return object.raw_json();
    }
    case ondemand::json_type::array: {
      ondemand::array array = value.get_array();
      return array.raw_json();
    }
    default: {
      const std::string_view token = value.raw_json_token();
      return token.substr(0, token.find_last_not_of(" \t\r\n") + 1);
    }
  }
}

std::string new_uid() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  const uint64_t high = random();
  const uint64_t low = random();
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xfff, 0x8000 | ((low >> 48) & 0x3fff), low & 0xffffffffffff);
}

std::string now_rfc3339() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  std::string text = api::format_rfc3339_micros(
      std::chrono::duration_cast<std::chrono::seconds>(since).count() * 1000000);
  return text.substr(0, text.find('.')) + "Z";
}

struct Metadata {
  std::string name;
  std::string name_space;
  std::string uid;
  std::string creation_timestamp;
  std::string others;  // the fields that are passed on as they came, each after a comma
  std::vector<std::pair<std::string, std::string>> labels;
};

void append_field(std::string& to, std::string_view key, std::string_view raw) {
  api::JsonWriter writer;
  writer.string(key);
  fmt::format_to(std::back_inserter(to), ",{}:{}", writer.text(), raw);
}

Metadata read_metadata(ondemand::object object) {
  Metadata metadata;
  for (auto field : object) {
    const std::string key(std::string_view(field.unescaped_key()));
    ondemand::value value = field.value();
    if (key == "resourceVersion") continue;
    if (key == "name") {
      metadata.name = std::string_view(value.get_string());
    } else if (key == "namespace") {
      metadata.name_space = std::string_view(value.get_string());
    } else if (key == "uid") {
      metadata.uid = std::string_view(value.get_string());
    } else if (key == "creationTimestamp") {
      if (!value.is_null()) metadata.creation_timestamp = std::string_view(value.get_string());
    } else {
      const std::string_view raw = raw_text(value);
      append_field(metadata.others, key, raw);
      if (key != "labels" || raw == "null") continue;
      ondemand::parser parser;
      const simdjson::padded_string padded(raw);
      auto document = parser.iterate(padded);
      for (auto label : document.get_object()) {
        const std::string name(std::string_view(label.unescaped_key()));
        metadata.labels.emplace_back(name, std::string_view(label.value().get_string()));
      }
    }
  }
  return metadata;
}

void write_metadata(const Metadata& metadata, StoredObject& object) {
  api::JsonWriter writer;
  writer.begin_object().key("name").string(object.name);
  if (!object.name_space.empty()) writer.key("namespace").string(object.name_space);
  writer.key("uid").string(object.uid);
  object.json += R"("metadata":)";
  object.json += writer.text();
  object.json += R"(,"resourceVersion":")";
  const std::string digits = std::to_string(object.resource_version);
  object.version_offset = object.json.size();
  object.version_size = digits.size();
  object.json += digits;
  object.json += fmt::format(R"(","creationTimestamp":"{}")", object.creation_timestamp);
  object.json += metadata.others;
  object.json += '}';
}

Result<ObjectPointer> build(std::string_view json, const ObjectOrigin& origin,
                            std::string_view name) {
  ondemand::parser parser;
  const simdjson::padded_string padded(json);
  auto document = parser.iterate(padded);
  Metadata metadata;
  std::string rest;
  bool has_metadata = false;
  for (auto field : document.get_object()) {
    const std::string key(std::string_view(field.unescaped_key()));
    ondemand::value value = field.value();
    if (key == "metadata") {
      metadata = read_metadata(value.get_object());
      has_metadata = true;
    } else if (key != "kind" && key != "apiVersion") {
      append_field(rest, key, raw_text(value));
    }
  }
  if (!has_metadata) return bad_json("no metadata");
  auto object = std::make_shared<StoredObject>();
  object->name = name.empty() ? metadata.name : std::string(name);
  if (object->name.empty()) return bad_json("metadata.name is missing");
  object->name_space = origin.name_space.value_or(metadata.name_space);
  object->resource_version = origin.resource_version;
  object->labels = std::move(metadata.labels);
  if (origin.previous) {
    object->uid = origin.previous->uid;
  } else {
    object->uid = metadata.uid.empty() ? new_uid() : metadata.uid;
  }
  object->creation_timestamp = metadata.creation_timestamp;
  if (object->creation_timestamp.empty()) {
    object->creation_timestamp =
        origin.previous ? origin.previous->creation_timestamp : now_rfc3339();
  }
  object->json.reserve(json.size() + 256);
  object->json =
      fmt::format(R"({{"kind":"{}","apiVersion":"{}",)", origin.kind, origin.api_version);
  object->item_offset = object->json.size();
  write_metadata(metadata, *object);
  object->json += rest;
  object->json += '}';
  return ObjectPointer(std::move(object));
}

}  // namespace

Result<ObjectEnvelope> read_envelope(std::string_view json) {
  ObjectEnvelope envelope;
  try {
    ondemand::parser parser;
    const simdjson::padded_string padded(json);
    auto document = parser.iterate(padded);
    for (auto field : document.get_object()) {
      const std::string key(std::string_view(field.unescaped_key()));
      if (key == "kind") {
        envelope.kind = std::string_view(field.value().get_string());
      } else if (key == "apiVersion") {
        envelope.api_version = std::string_view(field.value().get_string());
      } else if (key == "metadata") {
        for (auto inner : field.value().get_object()) {
          const std::string name(std::string_view(inner.unescaped_key()));
          std::string* target = name == "name"              ? &envelope.name
                                : name == "namespace"       ? &envelope.name_space
                                : name == "generateName"    ? &envelope.generate_name
                                : name == "resourceVersion" ? &envelope.resource_version
                                                            : nullptr;
          if (target != nullptr) *target = std::string_view(inner.value().get_string());
        }
      }
    }
  } catch (const simdjson_error& error) {
    return bad_json(error.what());
  }
  return envelope;
}

Result<ObjectPointer> make_object(std::string_view json, const ObjectOrigin& origin,
                                  std::string_view name) {
  try {
    return build(json, origin, name);
  } catch (const simdjson_error& error) {
    return bad_json(error.what());
  }
}

ObjectPointer with_version(const StoredObject& object, uint64_t resource_version) {
  auto copy = std::make_shared<StoredObject>(object);
  const std::string digits = std::to_string(resource_version);
  copy->json.replace(copy->version_offset, copy->version_size, digits);
  copy->version_size = digits.size();
  copy->resource_version = resource_version;
  return copy;
}

}  // namespace fairlead::api_server
