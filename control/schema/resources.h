// The resources that the API serves: group, version, kind, names, scope, verbs, subresources and
// selectable fields. A new kind is a row in resources.cc (and its types in facts/types.txt).
//
// Threads: constants.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/schema/types.h"

namespace fairlead::schema {

enum Verbs : uint16_t {
  kCreate = 1,
  kDelete = 2,
  kDeleteCollection = 4,
  kGet = 8,
  kList = 16,
  kPatch = 32,
  kUpdate = 64,
  kWatch = 128,
  kAllVerbs = 255,
};

struct Resource {
  std::string_view group;  // empty: core
  std::string_view version;
  std::string_view kind;
  std::string_view plural;
  std::string_view type_name;     // "core.v1.Pod"
  std::string_view short_names;   // words
  std::string_view categories;    // words
  std::string_view subresources;  // words: rows of subresource()
  std::string_view fields;        // what field selectors may name beside metadata.name, .namespace
  bool namespaced;
  uint16_t verbs;

  const Type* type() const { return find_type(type_name); }
  const Type* list_type() const;  // null for kinds that are never listed
  std::string api_version() const;
  std::string singular() const;  // lower-case kind
  std::string list_kind() const { return std::string(kind) + "List"; }
};

struct Subresource {
  std::string_view name;
  std::string_view kind;       // empty: that of the resource
  std::string_view group;      // with `version`, where the kind lives when that is elsewhere
  std::string_view version;    // empty: as the resource
  std::string_view type_name;  // empty: as the resource
  uint16_t verbs;
  bool served = true;  // false: discovery tells of it, every request is 405
};

// One served version of a group; versions of one group stand in order of preference.
struct GroupVersion {
  std::string_view group;
  std::string_view version;

  std::string api_version() const;
};

std::span<const Resource> all_resources();
std::span<const GroupVersion> all_group_versions();

// Null when it is not served.
const Resource* find_resource(std::string_view group, std::string_view version,
                              std::string_view plural);
const Resource* find_kind(std::string_view api_version, std::string_view kind);
const Subresource* find_subresource(const Resource& resource, std::string_view name);

// "apps/v1" to ("apps", "v1"), "v1" to ("", "v1").
GroupVersion parse_api_version(std::string_view api_version);

// The names of the verbs, in alphabetical order.
std::vector<std::string_view> verb_names(uint16_t verbs);

// Splits at blanks.
std::vector<std::string_view> words(std::string_view text);

}  // namespace fairlead::schema
