#include "control/apiserver/write_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "control/schema/defaults.h"
#include "control/schema/managed_fields.h"
#include "control/schema/scalars.h"
#include "control/schema/validate.h"

namespace fairlead::apiserver {

namespace {

using schema::Document;
using schema::Resource;
using schema::Value;

std::mt19937_64& random_source() {
  thread_local std::mt19937_64 source = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return source;
}

Value text_of(Document& document, std::string_view text) {
  return Value::string(document.arena.copy(text));
}

// What counts for metadata.generation: everything but metadata and status, and what the kind says.
bool same_desire(const Value& a, const Value& b, const Strategy& strategy) {
  const auto same_metadata = [&](std::string_view field) {
    return a.get("metadata").get(field) == b.get("metadata").get(field);
  };
  if (strategy.is(kAnnotationsAreDesire) && !same_metadata("annotations")) return false;
  if (strategy.is(kLabelsAreDesire) && !same_metadata("labels")) return false;
  const auto covers = [](const Value& one, const Value& other) {
    return std::all_of(one.members().begin(), one.members().end(), [&](const schema::Member& each) {
      return each.key == "metadata" || each.key == "status" || each.value == other.get(each.key);
    });
  };
  return covers(a, b) && covers(b, a);
}

void keep(Document& next, const Value& old, std::string_view field) {
  Value& metadata = next.root.ensure(next.arena, "metadata");
  const Value& kept = old.get("metadata").get(field);
  if (kept.is_null()) {
    metadata.erase(field);
  } else {
    metadata.set(next.arena, field, kept.clone(next.arena));
  }
}

std::vector<std::string_view> ignored_fields(const WriteRequest& request) {
  if (request.subresource == "status") return {"spec"};
  if (request.subresource.empty() && has_status(*request.storage)) return {"status"};
  return {};
}

schema::FieldManager manager_of(const WriteRequest& request, int64_t now) {
  schema::FieldManager manager;
  manager.name = request.context.field_manager;
  if (manager.name.empty()) manager.name = "unknown";
  manager.subresource = request.subresource;
  manager.now = now;
  manager.ignored = ignored_fields(request);
  return manager;
}

// Each type's empty object, to compare creations with.
Document empty_object(const Resource& resource) {
  Document empty;
  empty.root = Value::object();
  const Status status =
      schema::conform(empty, *resource.type()->shape, schema::Conform::kObject, nullptr);
  (void)status.ok();  // an empty object has no wrong types
  return empty;
}

}  // namespace

std::string new_uid() {
  const uint64_t high = (random_source()() & 0xffffffffffff0fffu) | 0x4000;
  const uint64_t low = (random_source()() & 0x3fffffffffffffffu) | 0x8000000000000000u;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffffffffffffu);
}

std::string name_suffix() {
  constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  std::string suffix;
  for (int i = 0; i < 5; ++i) suffix += kLetters[random_source()() % kLetters.size()];
  return suffix;
}

Outcome<Done0> prepare_create(WriteRequest& request, Document& next, int64_t now) {
  Value& metadata = next.root.ensure(next.arena, "metadata");
  for (const std::string_view field : {"resourceVersion", "selfLink", "deletionTimestamp",
                                       "deletionGracePeriodSeconds", "generation"}) {
    metadata.erase(field);
  }
  if (request.target.resource->namespaced) {
    metadata.set(next.arena, "namespace", text_of(next, request.target.space));
  }
  metadata.set(next.arena, "uid", text_of(next, new_uid()));
  metadata.set(next.arena, "creationTimestamp", text_of(next, schema::format_time(now)));
  if (request.strategy->is(kGeneration)) {
    metadata.set(next.arena, "generation", Value::integer(1));
  }
  if (has_status(*request.storage) && !request.strategy->is(kKeepsStatus)) {
    next.root.erase("status");
  }
  if (request.strategy->create) request.strategy->create(next, request.context.user);
  // Whatever Go's structs have even when they are empty.
  const Status status =
      schema::conform(next, *request.storage->type()->shape, schema::Conform::kObject, nullptr);
  if (!status) return bad_request(status.detail());
  schema::sort_deep(next.root);
  return Done0();
}

Outcome<Done0> prepare_update(WriteRequest& request, Document& next, const Value& old) {
  const Value& metadata = next.root.get("metadata");
  std::string_view version = metadata.get("resourceVersion").as_string();
  if (version == "0") version = {};  // an unset one in older clients' words
  if (version.empty() && request.conditional && request.strategy->is(kConditionalOnly)) {
    return invalid(*request.target.resource, request.target.name,
                   {{schema::FieldError::Type::kInvalid, "metadata.resourceVersion",
                     "Invalid value: 0x0: must be specified for an update"}});
  }
  if (!version.empty() && version != old.at("metadata.resourceVersion").as_string()) {
    return request.modified();
  }
  const std::string_view uid = metadata.get("uid").as_string();
  if (!uid.empty() && uid != old.at("metadata.uid").as_string()) {
    return conflict(*request.target.resource, request.target.name,
                    fmt::format("Precondition failed: UID in precondition: {}, UID in object "
                                "meta: {}",
                                uid, old.at("metadata.uid").as_string()));
  }
  if (!old.at("metadata.deletionTimestamp").is_null()) {
    for (const Value& finalizer : metadata.get("finalizers").items()) {
      const auto before = old.at("metadata.finalizers").items();
      if (std::find(before.begin(), before.end(), finalizer) == before.end()) {
        return invalid(*request.target.resource, request.target.name,
                       {{schema::FieldError::Type::kForbidden, "metadata.finalizers",
                         fmt::format("Forbidden: no new finalizers can be added if the object is "
                                     "being deleted, found new finalizers []string{{\"{}\"}}",
                                     finalizer.as_string())}});
      }
    }
  }
  for (const std::string_view field :
       {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
        "resourceVersion", "namespace"}) {
    keep(next, old, field);
  }
  next.root.ensure(next.arena, "metadata").erase("selfLink");
  if (request.subresource.empty()) {
    if (has_status(*request.storage)) {
      const Value* status = old.find("status");
      if (status == nullptr) {
        next.root.erase("status");
      } else {
        next.root.set(next.arena, "status", status->clone(next.arena));
      }
    }
    if (request.strategy->update) request.strategy->update(next, old);
  }
  const Status status =
      schema::conform(next, *request.storage->type()->shape, schema::Conform::kObject, nullptr);
  if (!status) return bad_request(status.detail());
  schema::sort_deep(next.root);
  if (request.strategy->is(kGeneration) && !same_desire(next.root, old, *request.strategy)) {
    next.root.ensure(next.arena, "metadata")
        .set(next.arena, "generation", Value::integer(old.at("metadata.generation").as_int() + 1));
    schema::sort_deep(next.root);
  }
  return Done0();
}

Outcome<Done0> track_and_check(WriteRequest& request, Document& next, const Value* old,
                               int64_t now) {
  const Resource& storage = *request.storage;
  if (!request.applied) {
    const std::string api_version = storage.api_version();
    schema::FieldManager manager = manager_of(request, now);
    manager.api_version = api_version;
    Document empty;
    if (old == nullptr) empty = empty_object(storage);
    schema::track_update(next, old ? *old : empty.root, *storage.type(), manager);
  }
  const std::vector<schema::FieldError> errors =
      old ? schema::validate_update(next.root, *old, storage, request.subresource)
          : schema::validate_create(next.root, storage);
  if (!errors.empty()) return invalid(*request.target.resource, request.target.name, errors);
  return Done0();
}

bool is_finished(const Value& next, const Value& old) {
  if (old.at("metadata.deletionTimestamp").is_null()) return false;
  if (!next.at("metadata.finalizers").empty()) return false;
  if (next.at("metadata.deletionGracePeriodSeconds").as_int() > 0) return false;
  if (next.get("kind").as_string() == "Namespace" && next.get("apiVersion").as_string() == "v1") {
    return next.at("spec.finalizers").empty();
  }
  return !old.at("metadata.finalizers").empty();
}

ObjectPtr presented(const WriteRequest& request, const Document& next, store::Revision revision) {
  Document shown = next.clone();
  Value& metadata = shown.root.ensure(shown.arena, "metadata");
  if (revision != 0) {
    metadata.set(shown.arena, "resourceVersion", text_of(shown, std::to_string(revision)));
  } else if (request.context.dry_run) {
    metadata.erase("resourceVersion");
  }
  schema::sort_deep(shown.root);
  if (request.subresource == "scale") {
    return object_of(scale_of(shown.root, *request.storage), nullptr,
                     schema::find_type("autoscaling.v1.Scale"), revision);
  }
  convert(shown, *request.storage, *request.target.resource);
  return object_of(std::move(shown), request.target.resource, request.target.resource->type(),
                   revision);
}

}  // namespace fairlead::apiserver
