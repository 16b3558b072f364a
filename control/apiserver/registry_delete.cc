#include <fmt/format.h>

#include <algorithm>

#include "control/apiserver/registry_impl.h"
#include "control/schema/json_text.h"
#include "control/schema/scalars.h"

namespace fairlead::apiserver {

namespace {

using schema::Document;
using schema::Value;

constexpr std::string_view kOrphan = "orphan";
constexpr std::string_view kForeground = "foregroundDeletion";

// The grace that a deletion gives: only pods that a node may run have any.
int64_t grace_of(const WriteRequest& request, const DeleteOptions& options, const Value& old) {
  if (!request.strategy->is(kGraceful)) return 0;
  const std::string_view phase = old.at("status.phase").as_string();
  if (old.at("spec.nodeName").as_string().empty() || phase == "Failed" || phase == "Succeeded") {
    return 0;
  }
  int64_t grace = 30;
  const Value& own = old.at("spec.terminationGracePeriodSeconds");
  if (own.is_int()) grace = own.as_int();
  if (options.grace_seconds) grace = *options.grace_seconds;
  return grace < 0 ? 1 : grace;
}

// The finalizers with which propagation is asked for.
// https://kubernetes.io/docs/concepts/architecture/garbage-collection/
void set_propagation(Document& next, std::string_view propagation, const Strategy& strategy) {
  if (propagation.empty()) {
    // Those finalizers were somebody's decision; else the kind's default holds.
    for (const Value& each : next.root.at("metadata.finalizers").items()) {
      if (each.as_string() == kOrphan || each.as_string() == kForeground) return;
    }
    if (!strategy.is(kOrphansByDefault)) return;
    propagation = "Orphan";
  }
  Value kept = Value::array();
  for (const Value& each : next.root.at("metadata.finalizers").items()) {
    if (each.as_string() != kOrphan && each.as_string() != kForeground) {
      kept.push(next.arena, each);
    }
  }
  if (propagation == "Orphan") kept.push(next.arena, Value::string(kOrphan));
  if (propagation == "Foreground") kept.push(next.arena, Value::string(kForeground));
  Value& metadata = next.root.ensure(next.arena, "metadata");
  metadata.erase("finalizers");
  if (!kept.empty()) metadata.set(next.arena, "finalizers", kept);
}

bool is_namespace(const WriteRequest& request) {
  return request.storage->type_name == "core.v1.Namespace";
}

}  // namespace

Outcome<Done0> check_preconditions(const WriteRequest& request, const DeleteOptions& options,
                                   const Value& old) {
  const auto differs = [&](std::string_view what, const std::string& wanted,
                           std::string_view found) {
    return conflict(*request.target.resource, request.target.name,
                    fmt::format("Precondition failed: {} in precondition: {}, {} in object meta: "
                                "{}",
                                what, wanted, what, found));
  };
  const std::string_view uid = old.at("metadata.uid").as_string();
  if (options.uid && *options.uid != uid) return differs("UID", *options.uid, uid);
  const std::string_view version = old.at("metadata.resourceVersion").as_string();
  if (options.resource_version && *options.resource_version != version) {
    return differs("ResourceVersion", *options.resource_version, version);
  }
  return Done0();
}

Outcome<Done0> check_propagation(const DeleteOptions& options) {
  const std::string& how = options.propagation;
  if (how.empty() || how == "Orphan" || how == "Background" || how == "Foreground") return Done0();
  return bad_request(
      fmt::format("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported "
                  "value: \"{}\": supported values: \"Background\", \"Foreground\", \"Orphan\"",
                  how));
}

ObjectPtr success_status(const schema::Resource& resource, std::string_view name,
                         std::string_view uid, int code) {
  Document status;
  schema::Arena& arena = status.arena;
  status.root = Value::object();
  const auto text = [&arena](std::string_view of) { return Value::string(arena.copy(of)); };
  status.root.set(arena, "apiVersion", Value::string("v1"));
  if (code != 200) status.root.set(arena, "code", Value::integer(code));
  if (!name.empty()) {
    Value& details = status.root.ensure(arena, "details");
    if (!resource.group.empty()) details.set(arena, "group", text(resource.group));
    details.set(arena, "kind", text(resource.plural));
    details.set(arena, "name", text(name));
    if (!uid.empty()) details.set(arena, "uid", text(uid));
  }
  status.root.set(arena, "kind", Value::string("Status"));
  status.root.set(arena, "metadata", Value::object());
  status.root.set(arena, "status", Value::string("Success"));
  schema::sort_deep(status.root);
  return object_of(std::move(status), nullptr, schema::find_type("meta.v1.Status"));
}

StoreCall<Result<store::WriteOutcome>> RegistryImpl::erase(std::string key, store::Expect expect) {
  return StoreCall<Result<store::WriteOutcome>>(
      pool_, [this, key = std::move(key), expect](auto done) { store_.remove(key, expect, done); });
}

Task<Attempt> RegistryImpl::erase_object(WriteRequest& request, const Value& old,
                                         store::EntryPtr current) {
  Attempt attempt;
  Write write;
  write.operation = Operation::kDelete;
  write.resource = request.storage;
  write.space = request.target.space;
  write.name = request.target.name;
  write.user = &request.context.user;
  write.dry_run = request.context.dry_run;
  write.previous = &old;
  write.warnings = &request.warnings;
  auto reserved = co_await reserve(write);
  if (!reserved) {
    attempt.answer = reserved.error();
    co_return attempt;
  }
  bool happened = request.context.dry_run;
  if (!request.context.dry_run) {
    Result<store::WriteOutcome> outcome =
        co_await erase(request.key, store::Expect::at(current->mod_revision));
    if (!outcome) {
      // Where it may have been removed all the same, what it holds is left to the repair.
      attempt.answer = from_status(outcome.status());
      if (!store::may_have_happened(outcome.status())) co_await settle(*reserved, false);
      co_return attempt;
    }
    happened = outcome->applied;
    attempt.current = outcome->previous;
  }
  co_await settle(*reserved, happened && !request.context.dry_run);
  if (!happened) co_return attempt;
  Written written;
  written.object = success_status(*request.target.resource, request.target.name,
                                  old.at("metadata.uid").as_string(), 200);
  written.warnings = request.warnings;
  attempt.answer = std::move(written);
  co_return attempt;
}

Task<Attempt> RegistryImpl::remove_once(WriteRequest& request, const DeleteOptions& options,
                                        store::EntryPtr current) {
  const Document old = decode_stored(*current, current->mod_revision, *request.storage);
  Attempt attempt;
  Outcome<Done0> allowed = check_preconditions(request, options, old.root);
  if (allowed) {
    Write write;
    write.operation = Operation::kDelete;
    write.resource = request.storage;
    write.space = request.target.space;
    write.name = request.target.name;
    write.user = &request.context.user;
    write.dry_run = request.context.dry_run;
    write.previous = &old.root;
    write.warnings = &request.warnings;
    allowed = co_await admit(write);
  }
  if (!allowed) {
    attempt.answer = allowed.error();
    co_return attempt;
  }

  Document next = old.clone();
  set_propagation(next, options.propagation, *request.strategy);
  const bool marked = !old.root.at("metadata.deletionTimestamp").is_null();
  const Value& old_grace = old.root.at("metadata.deletionGracePeriodSeconds");
  int64_t grace = grace_of(request, options, old.root);
  // Another deletion can only make it shorter.
  const bool shortens = marked && old_grace.as_int() > 0 && options.grace_seconds.has_value() &&
                        grace < old_grace.as_int();
  if (marked && !shortens && request.strategy->is(kGraceful)) grace = old_grace.as_int();
  const bool held = !next.root.at("metadata.finalizers").empty() ||
                    (is_namespace(request) && !next.root.at("spec.finalizers").empty());
  if (grace == 0 && !held) co_return co_await erase_object(request, old.root, current);

  Value& metadata = next.root.ensure(next.arena, "metadata");
  if (!marked || shortens) {
    const std::string when = schema::format_time(clock_() + grace);
    metadata.set(next.arena, "deletionTimestamp", Value::string(next.arena.copy(when)));
    metadata.set(next.arena, "deletionGracePeriodSeconds", Value::integer(grace));
    if (metadata.get("generation").as_int() > 0) {
      metadata.set(next.arena, "generation",
                   Value::integer(metadata.get("generation").as_int() + 1));
    }
  }
  if (is_namespace(request)) {
    next.root.ensure(next.arena, "status").set(next.arena, "phase", Value::string("Terminating"));
  }
  schema::sort_deep(next.root);
  Written written;
  written.accepted = options.cascades;
  std::string text = encode_stored(next.root, *request.storage);
  if (request.context.dry_run || text == current->value) {
    convert(next, *request.storage, *request.target.resource);
    written.object = object_of(std::move(next), request.target.resource,
                               request.target.resource->type(), current->mod_revision);
    attempt.answer = std::move(written);
    co_return attempt;
  }
  Result<store::WriteOutcome> outcome = co_await put(
      request.key, std::move(text), store::Expect::at(current->mod_revision), current->lease);
  if (!outcome) {
    attempt.answer = from_status(outcome.status());
  } else if (!outcome->applied) {
    attempt.current = outcome->previous;
  } else {
    written.object = stored_object(outcome->entry, outcome->revision, *request.target.resource);
    attempt.answer = std::move(written);
  }
  co_return attempt;
}

RegistryImpl::Answer<Written> RegistryImpl::do_remove(Target target, DeleteOptions options,
                                                      WriteContext context) {
  if (std::optional<ApiError> error = unserved(target)) co_return std::move(*error);
  WriteRequest request(std::move(target), std::move(context));
  if ((request.target.resource->verbs & schema::kDelete) == 0 || !request.subresource.empty()) {
    co_return method_not_allowed(*request.target.resource, "delete");
  }
  Outcome<Done0> sound = check_propagation(options);
  if (!sound) co_return sound.error();
  Outcome<store::EntryPtr> loaded = co_await load(request.key);
  if (!loaded) co_return loaded.error();
  store::EntryPtr current = *loaded;
  constexpr int kMostRemovals = 100;
  for (int attempt = 1; attempt <= kMostRemovals; ++attempt) {
    if (current == nullptr) co_return request.not_found();
    Attempt tried = co_await remove_once(request, options, current);
    if (tried.answer) co_return std::move(*tried.answer);
    current = std::move(tried.current);
  }
  co_return request.modified();
}

RegistryImpl::Answer<ListAnswer> RegistryImpl::do_remove_collection(Target target,
                                                                    ListOptions which,
                                                                    DeleteOptions options,
                                                                    WriteContext context) {
  const Target all = target;
  Outcome<ListAnswer> found = co_await do_list(all, std::move(which));
  if (!found) co_return found.error();
  DeleteOptions each = options;
  for (const ObjectPtr& object : found->objects) {
    Target one = target;
    one.space = object->value().at("metadata.namespace").as_string();
    one.name = object->value().at("metadata.name").as_string();
    // A successor under the same name is not what was listed.
    const bool ours = !options.uid;
    if (ours) each.uid = std::string(object->value().at("metadata.uid").as_string());
    Outcome<Written> removed = co_await do_remove(std::move(one), each, context);
    if (removed || removed.error().code == 404) continue;
    if (removed.error().code == 409 && ours && !options.resource_version) continue;
    co_return removed.error();
  }
  co_return std::move(*found);
}

}  // namespace fairlead::apiserver
