// pods/eviction: a deletion that a PodDisruptionBudget may refuse.
// https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
#include <fmt/format.h>

#include "control/apiserver/registry_impl.h"
#include "control/schema/scalars.h"
#include "control/schema/selector.h"

namespace fairlead::apiserver {

namespace {

using schema::Document;
using schema::Value;

constexpr int kConflict = 409;
constexpr int kMostEvictions = 20;  // of a pod that keeps changing
// That many unconfirmed evictions mean that the budget's controller is away.
constexpr size_t kMostDisruptedPods = 2000;

// Of the eviction's options, as in a body of DELETE.
DeleteOptions options_of(const Value& eviction) {
  DeleteOptions options;
  const Value& given = eviction.get("deleteOptions");
  if (given.get("gracePeriodSeconds").is_int()) {
    options.grace_seconds = given.get("gracePeriodSeconds").as_int();
  }
  if (given.at("preconditions.uid").is_string()) {
    options.uid = given.at("preconditions.uid").as_string();
  }
  if (given.at("preconditions.resourceVersion").is_string()) {
    options.resource_version = given.at("preconditions.resourceVersion").as_string();
  }
  options.propagation = given.get("propagationPolicy").as_string();
  return options;
}

// A pod that will not run again disturbs nobody when it goes.
bool is_over(const Value& pod) {
  const std::string_view phase = pod.at("status.phase").as_string();
  return phase == "Succeeded" || phase == "Failed" ||
         !pod.at("metadata.deletionTimestamp").is_null();
}

bool is_pending(const Value& pod) {
  return pod.at("status.phase").as_string() == "Pending" &&
         pod.at("metadata.deletionTimestamp").is_null();
}

bool is_ready(const Value& pod) {
  for (const Value& each : pod.at("status.conditions").items()) {
    if (each.get("type").as_string() == "Ready") return each.get("status").as_string() == "True";
  }
  return false;
}

ApiError refused(std::string why, int retry_after) {
  ApiError error = too_many_requests(
      "Cannot evict pod as it would violate the pod's disruption budget.", retry_after);
  error.causes.push_back({"DisruptionBudget", std::move(why), ""});
  return error;
}

}  // namespace

RegistryImpl::Answer<RegistryImpl::Disruption> RegistryImpl::take_disruption(
    const Value& pod, const WriteRequest& request) {
  const schema::Resource& budgets = *schema::find_resource("policy", "v1", "poddisruptionbudgets");
  store::RangeRequest all;
  all.key = space_prefix(budgets, request.target.space);
  all.end = store::prefix_end(all.key);
  while (true) {
    Result<store::RangeResult> found = co_await range(all);
    if (!found) co_return from_status(found.status());
    store::EntryPtr chosen;
    Document budget;
    for (const store::EntryPtr& entry : found->entries) {
      Document each = decode_stored(*entry, entry->mod_revision, budgets);
      const auto selector = schema::LabelSelector::from_object(each.root.at("spec.selector"));
      if (!selector || !selector->matches(pod.at("metadata.labels"))) continue;
      if (chosen) {
        co_return internal_error(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
            "not support.");
      }
      chosen = entry;
      budget = std::move(each);
    }
    if (!chosen) co_return Disruption::kPaid;  // nobody minds
    const std::string name(budget.root.at("metadata.name").as_string());
    const Value& status = budget.root.get("status");
    const int64_t healthy = status.get("currentHealthy").as_int();
    const int64_t desired = status.get("desiredHealthy").as_int();
    const std::string_view policy = budget.root.at("spec.unhealthyPodEvictionPolicy").as_string();
    if (!is_ready(pod)) {
      // What is not healthy anyway may go, unless the application needs what is left.
      if (policy == "AlwaysAllow") co_return Disruption::kNone;
      if (healthy >= desired && desired > 0) co_return Disruption::kNone;
    }
    if (status.get("observedGeneration").as_int() <
        budget.root.at("metadata.generation").as_int()) {
      co_return refused(
          fmt::format("The disruption budget {} is still being processed by the server.", name),
          10);
    }
    const int64_t allowed = status.get("disruptionsAllowed").as_int();
    if (allowed <= 0) {
      co_return refused(fmt::format("The disruption budget {} needs {} healthy pods and has {} "
                                    "currently",
                                    name, desired, healthy),
                        0);
    }
    if (status.get("disruptedPods").size() > kMostDisruptedPods) {
      co_return forbidden(budgets, name,
                          "DisruptedPods map too big - too many evictions not confirmed by PDB "
                          "controller");
    }
    if (request.context.dry_run) co_return Disruption::kPaid;
    Value& changed = budget.root.ensure(budget.arena, "status");
    changed.set(budget.arena, "disruptionsAllowed", Value::integer(allowed - 1));
    changed.ensure(budget.arena, "disruptedPods")
        .set(budget.arena, budget.arena.copy(request.target.name),
             Value::string(budget.arena.copy(schema::format_time(clock_()))));
    schema::sort_deep(budget.root);
    Result<store::WriteOutcome> outcome =
        co_await put(chosen->key, encode_stored(budget.root, budgets),
                     store::Expect::at(chosen->mod_revision), chosen->lease);
    if (!outcome) co_return from_status(outcome.status());
    if (outcome->applied) co_return Disruption::kPaid;
  }
}

// Says on the pod why it goes, for whoever owns it.
// https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
RegistryImpl::Answer<Done0> RegistryImpl::mark_disrupted(WriteRequest& request,
                                                         DeleteOptions& options) {
  PodCondition evicted;
  evicted.type = "DisruptionTarget";
  evicted.reason = "EvictionByEvictionAPI";
  evicted.message = "Eviction API: evicting";
  Outcome<store::EntryPtr> loaded = co_await load(request.key);
  if (!loaded) co_return loaded.error();
  store::EntryPtr current = *loaded;
  while (current != nullptr) {
    Document pod = decode_stored(*current, current->mod_revision, *request.storage);
    Outcome<Done0> met = check_preconditions(request, options, pod.root);
    if (!met) co_return met.error();
    set_condition(pod, evicted, clock_());
    schema::sort_deep(pod.root);
    Result<store::WriteOutcome> outcome =
        co_await put(request.key, encode_stored(pod.root, *request.storage),
                     store::Expect::at(current->mod_revision), current->lease);
    if (!outcome) co_return from_status(outcome.status());
    if (outcome->applied) {
      if (options.resource_version) options.resource_version = std::to_string(outcome->revision);
      co_return Done0();
    }
    current = outcome->previous;
  }
  co_return request.not_found();
}

RegistryImpl::Answer<Written> RegistryImpl::evict_once(WriteRequest& request,
                                                       const DeleteOptions& wanted, bool* changed) {
  *changed = false;
  Outcome<store::EntryPtr> loaded = co_await load(request.key);
  if (!loaded) co_return loaded.error();
  if (*loaded == nullptr) co_return request.not_found();
  const Document pod = decode_stored(**loaded, (*loaded)->mod_revision, *request.storage);
  // Before a disruption is spent: they would fail the removal.
  Outcome<Done0> allowed = check_preconditions(request, wanted, pod.root);
  if (!allowed) co_return allowed.error();
  DeleteOptions options = wanted;
  if (!options.uid) options.uid = std::string(pod.root.at("metadata.uid").as_string());
  bool pinned = is_pending(pod.root);
  if (!pinned && !is_over(pod.root)) {
    Outcome<Disruption> taken = co_await take_disruption(pod.root, request);
    if (!taken) co_return taken.error();
    pinned = *taken == Disruption::kNone;
  }
  // What nothing was spent for must go as it was judged: ready a moment later, it would count.
  pinned = pinned && !options.resource_version;
  if (pinned) {
    options.resource_version = std::string(pod.root.at("metadata.resourceVersion").as_string());
  }
  if (!request.context.dry_run) {
    Outcome<Done0> marked = co_await mark_disrupted(request, options);
    if (!marked) {
      *changed = pinned && marked.error().code == kConflict;
      co_return marked.error();
    }
  }
  Target target = request.target;
  target.subresource = nullptr;
  Outcome<Written> removed =
      co_await do_remove(std::move(target), std::move(options), request.context);
  *changed = pinned && !removed && removed.error().code == kConflict;
  co_return removed;
}

RegistryImpl::Answer<Written> RegistryImpl::evict(WriteRequest& request, Document body) {
  const std::string_view sent = body.root.get("apiVersion").as_string();
  const std::string version(sent == "policy/v1beta1" ? sent : "policy/v1");
  Outcome<Done0> taken =
      take_body(body, *request.target.resource, *schema::find_type("policy.v1.Eviction"), version,
                "Eviction", schema::Conform::kObject, request);
  if (taken) taken = check_names(body, request);
  if (!taken) co_return taken.error();
  // kubectl drain --dry-run=server says it here, not in the query.
  for (const Value& each : body.root.at("deleteOptions.dryRun").items()) {
    if (each.as_string() != "All") {
      co_return bad_request(
          fmt::format("deleteOptions.dryRun: Unsupported value: \"{}\": supported values: \"All\"",
                      each.as_string()));
    }
    request.context.dry_run = true;
  }
  const DeleteOptions options = options_of(body.root);
  taken = check_propagation(options);
  if (!taken) co_return taken.error();
  for (int attempt = 1;; ++attempt) {
    bool changed = false;
    Outcome<Written> removed = co_await evict_once(request, options, &changed);
    if (changed && attempt < kMostEvictions) continue;
    if (!removed) co_return removed.error();
    removed->object = success_status(*request.target.resource, "", "", 201);
    removed->created = true;
    removed->accepted = false;
    co_return std::move(*removed);
  }
}

}  // namespace fairlead::apiserver
