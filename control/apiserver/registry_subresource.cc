#include <fmt/format.h>

#include "control/apiserver/registry_impl.h"
#include "control/apiserver/write_steps.h"
#include "control/schema/scalars.h"
#include "control/schema/selector.h"

namespace fairlead::apiserver {

namespace {

using schema::Document;
using schema::Value;

Outcome<Done0> check_target(const Value& binding, const WriteRequest& request) {
  const Value& node = binding.at("target");
  if (const std::string_view kind = node.get("kind").as_string(); !kind.empty() && kind != "Node") {
    return invalid(*request.storage, request.target.name,
                   {{schema::FieldError::Type::kNotSupported, "target.kind",
                     fmt::format("Unsupported value: \"{}\": supported values: \"<empty>\", "
                                 "\"Node\"",
                                 kind)}});
  }
  if (node.get("name").as_string().empty()) {
    return invalid(*request.storage, request.target.name,
                   {{schema::FieldError::Type::kRequired, "target.name", "Required value"}});
  }
  return Done0();
}

// Why a pod cannot be bound now; empty: it can.
std::string unbindable(const Value& pod, std::string_view name) {
  if (!pod.at("metadata.deletionTimestamp").is_null()) {
    return fmt::format("pod {} is being deleted, cannot be assigned to a host", name);
  }
  if (const std::string_view node = pod.at("spec.nodeName").as_string(); !node.empty()) {
    return fmt::format("pod {} is already assigned to node \"{}\"", name, node);
  }
  if (!pod.at("spec.schedulingGates").empty()) {
    return fmt::format("pod {} has non-empty .spec.schedulingGates", name);
  }
  return {};
}

}  // namespace

void set_condition(Document& object, const PodCondition& condition, int64_t now) {
  schema::Arena& arena = object.arena;
  std::string since = schema::format_time(now);
  Value conditions = Value::array();
  for (const Value& each : object.root.at("status.conditions").items()) {
    if (each.get("type").as_string() != condition.type) {
      conditions.push(arena, each);
    } else if (each.get("status").as_string() == "True") {
      since = each.get("lastTransitionTime").as_string();
    }
  }
  const auto text = [&arena](std::string_view of) { return Value::string(arena.copy(of)); };
  Value made = Value::object();
  made.append(arena, "lastProbeTime", Value());
  made.append(arena, "lastTransitionTime", text(since));
  if (!condition.message.empty()) made.append(arena, "message", text(condition.message));
  if (!condition.reason.empty()) made.append(arena, "reason", text(condition.reason));
  made.append(arena, "status", Value::string("True"));
  made.append(arena, "type", text(condition.type));
  conditions.push(arena, made);
  object.root.ensure(arena, "status").set(arena, "conditions", conditions);
}

Document scale_of(const Value& object, const schema::Resource& resource) {
  Document scale;
  schema::Arena& arena = scale.arena;
  scale.root = Value::object();
  scale.root.set(arena, "apiVersion", Value::string("autoscaling/v1"));
  scale.root.set(arena, "kind", Value::string("Scale"));
  for (const std::string_view field :
       {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}) {
    const Value& value = object.get("metadata").get(field);
    if (!value.is_null()) {
      scale.root.ensure(arena, "metadata").set(arena, field, value.clone(arena));
    }
  }
  const int64_t wanted = object.at("spec.replicas").as_int();
  Value& spec = scale.root.ensure(arena, "spec");
  if (wanted != 0) spec.set(arena, "replicas", Value::integer(wanted));
  Value& status = scale.root.ensure(arena, "status");
  status.set(arena, "replicas", Value::integer(object.at("status.replicas").as_int()));
  const Value& selector = object.at("spec.selector");
  std::string text;
  if (resource.type_name == "core.v1.ReplicationController") {
    text = schema::LabelSelector::from_map(selector).to_string();
  } else if (const auto parsed = schema::LabelSelector::from_object(selector)) {
    text = parsed->to_string();
  }
  if (!text.empty()) status.set(arena, "selector", Value::string(arena.copy(text)));
  schema::sort_deep(scale.root);
  return scale;
}

void scale_into(Document& object, const Value& scale) {
  object.root.ensure(object.arena, "spec")
      .set(object.arena, "replicas", Value::integer(scale.at("spec.replicas").as_int()));
  Value& metadata = object.root.ensure(object.arena, "metadata");
  for (const std::string_view field : {"resourceVersion", "uid"}) {
    const std::string_view text = scale.get("metadata").get(field).as_string();
    if (!text.empty()) {
      metadata.set(object.arena, field, Value::string(object.arena.copy(text)));
    }
  }
  schema::sort_deep(object.root);
}

Document view_of(const Value& object, const WriteRequest& request) {
  if (request.subresource == "scale") return scale_of(object, *request.storage);
  Document view;
  view.root = object.clone(view.arena);
  convert(view, *request.storage, *request.target.resource);
  return view;
}

// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/binding-v1/
RegistryImpl::Answer<Written> RegistryImpl::bind(WriteRequest& request, Document body) {
  const schema::Resource& pods = *schema::find_resource("", "v1", "pods");
  request.target.resource = &pods;
  Outcome<Done0> taken = take_body(body, pods, *schema::find_type("core.v1.Binding"), "v1",
                                   "Binding", schema::Conform::kObject, request);
  if (taken) taken = check_names(body, request);
  if (!taken) co_return taken.error();
  request.target.name = body.root.at("metadata.name").as_string();
  request.target.subresource = schema::find_subresource(pods, "binding");
  request.subresource = "binding";
  request.storage = &pods;
  request.strategy = &strategy_of(pods);
  request.key = object_key(pods, request.target.space, request.target.name);
  taken = check_target(body.root, request);
  if (!taken) co_return taken.error();
  const std::string node(body.root.at("target.name").as_string());
  DeleteOptions preconditions;  // a binding has the same
  if (const auto uid = body.root.at("metadata.uid").as_string(); !uid.empty()) {
    preconditions.uid = std::string(uid);
  }
  if (const auto version = body.root.at("metadata.resourceVersion").as_string(); !version.empty()) {
    preconditions.resource_version = std::string(version);
  }
  Outcome<store::EntryPtr> loaded = co_await load(request.key);
  if (!loaded) co_return loaded.error();
  store::EntryPtr current = *loaded;
  while (current != nullptr) {
    const Document old = decode_stored(*current, current->mod_revision, pods);
    Outcome<Done0> met = check_preconditions(request, preconditions, old.root);
    if (!met) co_return met.error();
    if (const std::string why = unbindable(old.root, request.target.name); !why.empty()) {
      co_return conflict(pods, request.target.name, why);
    }
    Document next = old.clone();
    next.root.ensure(next.arena, "spec")
        .set(next.arena, "nodeName", Value::string(next.arena.copy(node)));
    for (const schema::Member& each : body.root.at("metadata.annotations").members()) {
      next.root.ensure(next.arena, "metadata.annotations")
          .set(next.arena, next.arena.copy(each.key), each.value.clone(next.arena));
    }
    PodCondition scheduled;
    scheduled.type = "PodScheduled";
    set_condition(next, scheduled, clock_());
    const Status status =
        schema::conform(next, *pods.type()->shape, schema::Conform::kObject, nullptr);
    if (!status) co_return from_status(status);
    Write write;
    write.operation = Operation::kUpdate;
    write.resource = &pods;
    write.subresource = "binding";
    write.space = request.target.space;
    write.name = request.target.name;
    write.user = &request.context.user;
    write.dry_run = request.context.dry_run;
    write.next = &next;
    write.previous = &old.root;
    write.warnings = &request.warnings;
    Outcome<Done0> admitted = co_await admit(write);
    if (!admitted) co_return admitted.error();
    Written written;
    written.object = success_status(pods, "", "", 201);
    written.created = true;
    if (request.context.dry_run) co_return written;
    Result<store::WriteOutcome> outcome =
        co_await put(request.key, encode_stored(next.root, pods),
                     store::Expect::at(current->mod_revision), current->lease);
    if (!outcome) co_return from_status(outcome.status());
    if (outcome->applied) co_return written;
    current = outcome->previous;
  }
  co_return request.not_found();
}

}  // namespace fairlead::apiserver
