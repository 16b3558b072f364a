// One stored object: immutable JSON, with what lists, selectors and watches ask of it read out
// once.
//
// The text always begins with kind and apiVersion, so that a list item (which carries neither) is a
// suffix of it, and the digits of its resourceVersion are at a known place, so that a new version
// is a copy and not a parse.
//
// Threads: immutable once made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace fairlead::api_server {

struct StoredObject {
  std::string name_space;
  std::string name;
  std::string uid;
  std::string creation_timestamp;
  uint64_t resource_version = 0;
  std::vector<std::pair<std::string, std::string>> labels;

  std::string json;
  size_t item_offset = 0;     // where the text after kind and apiVersion begins
  size_t version_offset = 0;  // of the digits of metadata.resourceVersion
  size_t version_size = 0;

  std::string key() const { return name_space + "/" + name; }
  // The object as a list holds it: "{" and this.
  std::string_view item_tail() const { return std::string_view(json).substr(item_offset); }
};

using ObjectPointer = std::shared_ptr<const StoredObject>;

// What decides over what the text says of itself.
struct ObjectOrigin {
  std::string api_version = {};
  std::string kind = {};
  std::optional<std::string> name_space =
      {};  // empty for cluster-scoped types; nullopt: as in the text
  uint64_t resource_version = 0;
  ObjectPointer previous = {};  // its uid and creation time stay
};

// Only the envelope, without making an object of it.
struct ObjectEnvelope {
  std::string api_version;
  std::string kind;
  std::string name_space;
  std::string name;
  std::string generate_name;
  std::string resource_version;
};
Result<ObjectEnvelope> read_envelope(std::string_view json);

// `name` replaces the text's (for generateName); empty: as in the text, which then needs one.
Result<ObjectPointer> make_object(std::string_view json, const ObjectOrigin& origin,
                                  std::string_view name = {});
ObjectPointer with_version(const StoredObject& object, uint64_t resource_version);

}  // namespace fairlead::api_server
