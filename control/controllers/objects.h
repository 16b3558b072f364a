// Reading and building the objects that controllers handle.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/controllers/cluster.h"

namespace fairlead::controllers {

using schema::Arena;
using schema::Document;
using schema::Value;

std::string_view name_of(const Value& object);
std::string_view space_of(const Value& object);
std::string_view uid_of(const Value& object);
std::string_view revision_of(const Value& object);
bool is_terminating(const Value& object);  // has a deletionTimestamp
bool has_finalizer(const Value& object, std::string_view name);

// "space/name"; "/name" for what has no namespace.
std::string key_of(std::string_view space, std::string_view name);
std::string key_of(const Value& object);
// The two halves of a key; views into it.
std::pair<std::string_view, std::string_view> split_key(std::string_view key);

// The element of a list whose `field` is `value`: conditions by type, taints by key. Null when
// there is none.
const Value* find_by(const Value& list, std::string_view field, std::string_view value);
// status.conditions' status of a type: "True", "False", "Unknown", or empty when it has none.
std::string_view condition_status(const Value& object, std::string_view type);
// The controller among the owners has this uid.
bool is_controlled_by(const Value& object, std::string_view uid);

// A string that lives as long as the document.
Value text(Arena& arena, std::string_view value);
// A new member, unless `value` is empty: what is stored has no empty ones.
void set_text(Arena& arena, Value& object, std::string_view key, std::string_view value);
// {"apiVersion", "kind", "metadata": {}} with a name and a namespace where they are not empty.
Document new_object(const schema::Resource& resource, std::string_view space,
                    std::string_view name);
// A copy that may be changed.
Document copy_of(const Value& object);
// An ownerReference to `owner` with controller and blockOwnerDeletion set.
Value controller_reference(Arena& arena, const schema::Resource& resource, const Value& owner);
ObjectPtr share(Document document);

// RFC 3339 in UTC: seconds as "2006-01-02T15:04:05Z", microseconds as "…05.000000Z".
std::string rfc3339(int64_t unix_microseconds);
std::string rfc3339_micro(int64_t unix_microseconds);

// Decimal revisions in order; nothing for what is no number.
std::optional<uint64_t> revision_number(std::string_view revision);
// Where both are numbers; texts that are none have no order.
bool is_older(std::string_view revision, std::string_view than);

// The rows that controllers name. They exist in every build.
const schema::Resource& resource(std::string_view group, std::string_view version,
                                 std::string_view plural);
// One row for each stored kind: a kind that is served in several groups or versions appears once.
std::vector<const schema::Resource*> stored_resources();

}  // namespace fairlead::controllers
