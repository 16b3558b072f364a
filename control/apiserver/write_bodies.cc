// Bodies and patches: from what was sent to the object that shall be.
#include <fmt/format.h>

#include "control/apiserver/write_steps.h"
#include "control/schema/defaults.h"
#include "control/schema/managed_fields.h"
#include "control/schema/patch.h"

namespace fairlead::apiserver {

namespace {

using schema::Conform;
using schema::Document;
using schema::Resource;
using schema::Value;

Outcome<Done0> judge(std::vector<std::string> complaints, WriteRequest& request) {
  switch (request.context.field_validation) {
    case schema::FieldValidation::kStrict:
      if (!complaints.empty()) return bad_request(schema::strict_error(complaints));
      break;
    case schema::FieldValidation::kWarn:
      for (std::string& each : complaints) request.warnings.push_back(std::move(each));
      break;
    case schema::FieldValidation::kIgnore:
      break;
  }
  return Done0();
}

// conform() with the request's opinion of unknown fields, and defaults for whole objects.
Outcome<Done0> make_conform(Document& body, const schema::Type& type, Conform mode,
                            WriteRequest& request, bool complain) {
  std::vector<std::string> complaints;
  const bool asked =
      complain && request.context.field_validation != schema::FieldValidation::kIgnore;
  const Status status = schema::conform(body, *type.shape, mode, asked ? &complaints : nullptr);
  if (!status) return bad_request(status.detail().empty() ? status.message() : status.detail());
  Outcome<Done0> judged = judge(std::move(complaints), request);
  if (judged && mode == Conform::kObject) schema::apply_defaults(body, type);
  return judged;
}

Value name_value(Document& document, std::string_view text) {
  return Value::string(document.arena.copy(text));
}

Outcome<Document> applied(WriteRequest& request, const Document& config, bool force,
                          const Value* old, int64_t now) {
  const Resource& storage = *request.storage;
  Document live;
  if (old) {
    live.root = old->clone(live.arena);
  } else {
    live.root = Value::object();
    const Status status = schema::conform(live, *storage.type()->shape, Conform::kObject, nullptr);
    if (!status) return from_status(status);
    live.root.set(live.arena, "apiVersion", name_value(live, storage.api_version()));
    live.root.set(live.arena, "kind", Value::string(storage.kind));
    schema::sort_deep(live.root);
  }
  const std::string api_version = storage.api_version();
  schema::FieldManager manager;
  manager.name = request.context.field_manager;
  manager.api_version = api_version;
  manager.subresource = request.subresource;
  manager.now = now;
  if (request.subresource == "status") {
    manager.ignored = {"spec"};
  } else if (has_status(storage)) {
    manager.ignored = {"status"};
  }
  Result<std::vector<schema::ApplyConflict>> conflicts =
      schema::apply_configuration(live, config.root, *storage.type(), manager, force);
  if (!conflicts) return from_status(conflicts.status());
  if (!conflicts->empty()) {
    ApiError error = plain_error(409, "Conflict", schema::conflict_message(*conflicts));
    for (const schema::ApplyConflict& each : *conflicts) {
      for (const std::string& field : each.fields) {
        error.causes.push_back(
            {"FieldManagerConflict",
             fmt::format("conflict with \"{}\" using {}", each.manager, each.api_version), field});
      }
    }
    return error;
  }
  request.applied = true;
  Outcome<Done0> made = make_conform(live, *storage.type(), Conform::kObject, request, false);
  if (!made) return made.error();
  return live;
}

}  // namespace

Outcome<Done0> take_body(Document& body, const Resource& resource, const schema::Type& type,
                         std::string_view api_version, std::string_view kind, Conform mode,
                         WriteRequest& request) {
  if (!body.root.is_object()) return bad_request("the body is no object");
  const Value& sent_version = body.root.get("apiVersion");
  const Value& sent_kind = body.root.get("kind");
  if (!sent_kind.as_string().empty() && sent_kind.as_string() != kind) {
    return bad_request(
        fmt::format("{} in version \"{}\" cannot be handled as a {}: no kind of "
                    "{} is expected here",
                    sent_kind.as_string(), sent_version.as_string(), kind, resource.plural));
  }
  if (!sent_version.as_string().empty() && sent_version.as_string() != api_version) {
    return bad_request(
        fmt::format("the API version in the data ({}) does not match the expected API version ({})",
                    sent_version.as_string(), api_version));
  }
  Outcome<Done0> made = make_conform(body, type, mode, request, true);
  if (!made) return made;
  body.root.set(body.arena, "apiVersion", name_value(body, api_version));
  body.root.set(body.arena, "kind", name_value(body, kind));
  schema::sort_deep(body.root);
  return Done0();
}

Outcome<Done0> check_names(Document& body, const WriteRequest& request) {
  const Target& target = request.target;
  Value& metadata = body.root.ensure(body.arena, "metadata");
  const std::string_view space = metadata.get("namespace").as_string();
  if (target.resource->namespaced) {
    if (target.space.empty()) {
      return bad_request("an empty namespace may not be set during creation");
    }
    if (!space.empty() && space != target.space) {
      return bad_request(
          fmt::format("the namespace of the provided object does not match the namespace sent on "
                      "the request"));
    }
    metadata.set(body.arena, "namespace", name_value(body, target.space));
  } else if (!space.empty()) {
    metadata.erase("namespace");  // manifests have it out of habit; Kubernetes drops it, too
  }
  if (!target.name.empty()) {
    const std::string_view name = metadata.get("name").as_string();
    if (!name.empty() && name != target.name) {
      return bad_request(
          fmt::format("the name of the object ({}) does not match the name on the URL ({})", name,
                      target.name));
    }
    metadata.set(body.arena, "name", name_value(body, target.name));
  }
  schema::sort_deep(body.root);
  return Done0();
}

void fit_into(const WriteRequest& request, Document& next, const Value& old) {
  if (request.subresource.empty()) return;
  if (request.subresource == "scale") {
    Document made;
    made.root = old.clone(made.arena);
    scale_into(made, next.root);
    next = std::move(made);
    return;
  }
  restrict_to_subresource(next, old, request.subresource, *request.strategy);
}

Outcome<Done0> take_patch(WriteRequest& request, PatchType type, Document& patch) {
  if (type == PatchType::kJson) {
    if (!patch.root.is_array()) return bad_request("a JSON patch is an array of operations");
    return Done0();
  }
  if (!patch.root.is_object()) return bad_request("the patch is no object");
  if (type != PatchType::kApply) {
    schema::sort_deep(patch.root);
    return Done0();
  }
  if (request.context.field_manager.empty()) {
    return bad_request(
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is "
        "required for apply patch");
  }
  if (request.subresource == "scale") {
    return method_not_allowed(*request.target.resource, "apply of scale");
  }
  const Resource& resource = *request.target.resource;
  Outcome<Done0> taken = take_body(patch, resource, *resource.type(), resource.api_version(),
                                   resource.kind, Conform::kPartial, request);
  if (taken) taken = check_names(patch, request);
  if (taken) convert(patch, resource, *request.storage);
  return taken;
}

Outcome<Document> patched(WriteRequest& request, PatchType type, const Document& patch, bool force,
                          const Value* old, int64_t now) {
  if (type == PatchType::kApply) {
    Outcome<Document> next = applied(request, patch, force, old, now);
    if (next && old && !request.subresource.empty()) fit_into(request, *next, *old);
    return next;
  }
  const Resource& resource = *request.target.resource;
  const bool scale = request.subresource == "scale";
  const schema::Type& object_type =
      scale ? *schema::find_type("autoscaling.v1.Scale") : *resource.type();
  Document next = view_of(*old, request);
  Status status;
  if (type == PatchType::kJson) {
    status = schema::apply_json_patch(next, patch.root);
  } else {
    const Value copy = patch.root.clone(next.arena);  // what a patch adds shall not be shared
    status = type == PatchType::kMerge ? schema::apply_merge_patch(next, copy)
                                       : schema::apply_strategic_patch(next, copy, object_type);
  }
  if (!status) {
    ApiError error = bad_request(status.message());
    if (status.code() == StatusCode::kConflict) {
      error.code = 422;
      error.reason = "Invalid";
    }
    return error;
  }
  request.warnings.clear();  // of an earlier attempt
  Outcome<Done0> made =
      take_body(next, resource, object_type, scale ? "autoscaling/v1" : resource.api_version(),
                scale ? "Scale" : resource.kind, Conform::kObject, request);
  if (made) made = check_names(next, request);
  if (!made) return made.error();
  if (!scale) convert(next, resource, *request.storage);
  fit_into(request, next, *old);
  return next;
}

}  // namespace fairlead::apiserver
