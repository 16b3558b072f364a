#include "control/controllers/garbage_collector.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

constexpr size_t kMostRemembered = 10'000;
// Until an owner that the server has is looked for again in the cache; twice as long each time.
constexpr Duration kUntilHeard = std::chrono::seconds(1);
constexpr Duration kLongestWait = std::chrono::minutes(5);

// Events own nothing, are owned by nothing as a rule, and are many.
bool is_watched(const schema::Resource& resource) {
  return resource.kind != "Event";
}

void remember(std::set<std::string>& set, std::string uid) {
  if (set.size() >= kMostRemembered) set.clear();  // asking again is only slower
  set.insert(std::move(uid));
}

// A patch that only applies to the revision that was decided about.
Write patch_of(const OwnedObject& object) {
  Write write;
  write.verb = Write::Verb::kMergePatch;
  write.what = object.what;
  write.body.root = Value::object();
  Arena& arena = write.body.arena;
  Value& metadata = write.body.root.append(arena, "metadata", Value::object());
  metadata.append(arena, "resourceVersion", text(arena, object.revision));
  metadata.append(arena, "uid", text(arena, object.uid));
  return write;
}

Document warning_about(const OwnedObject& object, const std::string& message, int64_t now) {
  const std::string space = object.what.space.empty() ? "default" : object.what.space;
  const std::string name = fmt::format("{}.{:016x}", object.what.name, now);
  Document event = new_object(resource("", "v1", "events"), space, name);
  Arena& arena = event.arena;
  Value& about = event.root.append(arena, "involvedObject", Value::object());
  about.append(arena, "apiVersion", text(arena, object.what.resource->api_version()));
  about.append(arena, "kind", Value::string(object.what.resource->kind));
  about.append(arena, "name", text(arena, object.what.name));
  if (!object.what.space.empty()) {
    about.append(arena, "namespace", text(arena, object.what.space));
  }
  about.append(arena, "uid", text(arena, object.uid));
  event.root.append(arena, "reason", Value::string("OwnerRefInvalidNamespace"));
  event.root.append(arena, "message", text(arena, message));
  event.root.append(arena, "type", Value::string("Warning"));
  event.root.append(arena, "count", Value::integer(1));
  event.root.append(arena, "firstTimestamp", text(arena, rfc3339(now)));
  event.root.append(arena, "lastTimestamp", text(arena, rfc3339(now)));
  event.root.append(arena, "source", Value::object())
      .append(arena, "component", Value::string("garbage-collector-controller"));
  return event;
}

}  // namespace

GarbageCollector::GarbageCollector(Context context)
    : Controller(context, "garbage-collector", {.in_flight = 20}) {
  for (const schema::Resource* row : stored_resources()) {
    if (!is_watched(*row)) continue;
    Informer& informer = needs(*row);
    informers_.push_back(&informer);
    informer.add_handler([this, row](const ObjectPtr& before, const ObjectPtr& after) {
      changed(*row, before, after);
    });
  }
}

void GarbageCollector::changed(const schema::Resource& resource, const ObjectPtr& before,
                               const ObjectPtr& after) {
  std::set<std::string> touched;
  looks_.erase(std::string(uid_of(after ? *after : *before)));
  if (after) {
    absent_.erase(std::string(uid_of(*after)));
    touched = graph_.put(owned_object(resource, *after));
  } else {
    std::string uid(uid_of(*before));
    touched = graph_.erase(uid);
    remember(absent_, std::move(uid));
  }
  for (const std::string& uid : touched) enqueue(uid);
}

void GarbageCollector::enqueue_all() {
  for (Informer* informer : informers_) {
    informer->for_each([this](const ObjectPtr& object) {
      const Value& metadata = object->get("metadata");
      if (!metadata.get("ownerReferences").empty() || is_terminating(*object)) {
        enqueue(std::string(uid_of(*object)));
      }
    });
  }
}

Decision GarbageCollector::decide(const OwnedObject& object) {
  return graph_.decide(
      object, [this](std::string_view uid) { return absent_.count(std::string(uid)) != 0; });
}

Plan GarbageCollector::plan(const std::string& uid) {
  const OwnedObject* object = graph_.find(uid);
  return object ? plan_of(*object, decide(*object)) : Plan();
}

void GarbageCollector::work(const std::string& uid, DoneWorking done) {
  const OwnedObject* object = graph_.find(uid);
  if (!object) {
    done({});
    return;
  }
  report_places(*object);
  Decision decision = decide(*object);
  for (const std::string& other : decision.look_at) enqueue(other);
  if (decision.act == Decision::Act::kAsk) {
    ask(uid, std::move(decision.owners), Duration::zero(), std::move(done));
    return;
  }
  perform(plan_of(*object, decision), std::move(done));
}

Plan GarbageCollector::plan_of(const OwnedObject& object, const Decision& decision) {
  Plan plan;
  switch (decision.act) {
    case Decision::Act::kNothing:
    case Decision::Act::kAsk:
      break;
    case Decision::Act::kRemove: {
      Write write;
      write.verb = Write::Verb::kRemove;
      write.what = object.what;
      write.options = {object.uid, object.revision, decision.propagation};
      plan.writes.push_back(std::move(write));
      break;
    }
    case Decision::Act::kDropOwners:
      plan.writes.push_back(without_owners(object, decision.owners));
      break;
    case Decision::Act::kDropForeground:
      plan.writes.push_back(without_finalizer(object, kForegroundFinalizer));
      break;
    case Decision::Act::kReleaseDependents:
      for (const std::string& uid : graph_.dependents(object.uid)) {
        const OwnedObject* dependent = graph_.find(uid);
        if (!dependent) continue;
        std::vector<OwnerReference> owner;
        for (const OwnerReference& reference : dependent->owners) {
          if (reference.uid == object.uid) owner.push_back(reference);
        }
        plan.writes.push_back(without_owners(*dependent, owner));
      }
      plan.writes.push_back(without_finalizer(object, kOrphanFinalizer));
      break;
  }
  return plan;
}

// It is there, and the cache hears of it soon; or never, if it goes while a watch is lost.
Duration GarbageCollector::until_heard(const std::string& uid, const schema::Resource& kind) {
  if (!is_watched(kind)) return kLongestWait;
  return back_off(kUntilHeard, looks_[uid], kLongestWait);
}

// One after another; what is absent is known afterwards. `again`: zero while none was there.
void GarbageCollector::ask(std::string uid, std::vector<OwnerReference> owners, Duration again,
                           DoneWorking done) {
  const OwnedObject* object = graph_.find(uid);
  if (!object) {
    done({});
    return;
  }
  if (owners.empty()) {
    if (again > Duration::zero()) {
      ++looks_[uid];
    } else {
      enqueue(uid);
    }
    done({Status(), again});
    return;
  }
  const OwnerReference owner = std::move(owners.back());
  owners.pop_back();
  const schema::Resource* kind = schema::find_kind(owner.api_version, owner.kind);
  Reference what{kind, kind->namespaced ? object->what.space : std::string(), owner.name};
  auto answered = [this, uid = std::move(uid), owners = std::move(owners), owner, kind, again,
                   done = std::move(done)](Result<ObjectPtr> answer) mutable {
    if (!answer && answer.status().code() != StatusCode::kNotFound) {
      done({answer.status()});
      return;
    }
    if (answer && *answer && uid_of(**answer) == owner.uid) {
      const Duration wait = until_heard(uid, *kind);
      again = again > Duration::zero() ? std::min(again, wait) : wait;
    } else {
      remember(absent_, owner.uid);
    }
    ask(std::move(uid), std::move(owners), again, std::move(done));
  };
  context_.cluster.get(std::move(what),
                       token_.guard(std::function<void(Result<ObjectPtr>)>(std::move(answered))));
}

// Owners have to be in the namespace of what they own, or in none.
void GarbageCollector::report_places(const OwnedObject& object) {
  for (const OwnerReference& owner : object.owners) {
    const schema::Resource* kind = schema::find_kind(owner.api_version, owner.kind);
    if (!kind || !kind->namespaced) continue;
    const OwnedObject* found = graph_.find(owner.uid);
    const bool nowhere = !object.what.resource->namespaced;
    if (!nowhere && (!found || found->what.space == object.what.space)) continue;
    if (reported_.count(object.uid + " " + owner.uid) != 0) continue;
    remember(reported_, object.uid + " " + owner.uid);
    const std::string message = fmt::format(
        "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace \"{}\"",
        owner.api_version, owner.kind, object.what.space, owner.name, owner.uid, object.what.space);
    const schema::Resource& events = resource("", "v1", "events");
    const std::string space = object.what.space.empty() ? "default" : object.what.space;
    context_.cluster.create(
        {&events, space, ""}, warning_about(object, message, context_.loop.unix_microseconds()),
        [](Result<ObjectPtr> answer) {
          if (!answer) LOG_WARNING("garbage-collector: event: {}", answer.status().message());
        });
  }
}

ObjectPtr GarbageCollector::cached(const OwnedObject& object) const {
  return context_.informers.of(*object.what.resource).get(object.what.space, object.what.name);
}

Write GarbageCollector::without_owners(const OwnedObject& object,
                                       const std::vector<OwnerReference>& owners) {
  Write write = patch_of(object);
  Arena& arena = write.body.arena;
  Value rest = Value::array();
  if (const ObjectPtr held = cached(object)) {
    for (const Value& owner : held->get("metadata").get("ownerReferences").items()) {
      const std::string_view uid = owner.get("uid").as_string();
      if (std::none_of(owners.begin(), owners.end(),
                       [&](const OwnerReference& dropped) { return dropped.uid == uid; })) {
        rest.push(arena, owner.clone(arena));
      }
    }
  }
  write.body.root.find("metadata")->set(arena, "ownerReferences", rest.empty() ? Value() : rest);
  return write;
}

Write GarbageCollector::without_finalizer(const OwnedObject& object, std::string_view finalizer) {
  Write write = patch_of(object);
  Arena& arena = write.body.arena;
  Value rest = Value::array();
  if (const ObjectPtr held = cached(object)) {
    for (const Value& has : held->get("metadata").get("finalizers").items()) {
      if (has.as_string() != finalizer) rest.push(arena, has.clone(arena));
    }
  }
  write.body.root.find("metadata")->set(arena, "finalizers", rest.empty() ? Value() : rest);
  return write;
}

}  // namespace fairlead::controllers
