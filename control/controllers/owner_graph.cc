#include "control/controllers/owner_graph.h"

#include <algorithm>
#include <utility>

#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

const std::set<std::string> kNoDependents;

bool blocks(const OwnedObject& dependent, std::string_view owner) {
  return std::any_of(
      dependent.owners.begin(), dependent.owners.end(),
      [&](const OwnerReference& reference) { return reference.uid == owner && reference.blocks; });
}

}  // namespace

OwnedObject owned_object(const schema::Resource& resource, const Value& object) {
  OwnedObject made;
  made.what = {&resource, std::string(space_of(object)), std::string(name_of(object))};
  made.uid = uid_of(object);
  made.revision = revision_of(object);
  for (const Value& owner : object.get("metadata").get("ownerReferences").items()) {
    made.owners.push_back(
        {std::string(owner.get("apiVersion").as_string()),
         std::string(owner.get("kind").as_string()), std::string(owner.get("name").as_string()),
         std::string(owner.get("uid").as_string()), owner.get("blockOwnerDeletion").as_bool()});
  }
  made.terminating = is_terminating(object);
  made.foreground = has_finalizer(object, kForegroundFinalizer);
  made.orphan = has_finalizer(object, kOrphanFinalizer);
  return made;
}

std::set<std::string> OwnerGraph::put(OwnedObject object) {
  std::set<std::string> touched;
  const std::string uid = object.uid;
  const auto before = objects_.find(uid);
  const bool fresh = before == objects_.end();
  const bool was_waiting = !fresh && before->second.waits_for_dependents();
  const bool differs = fresh ? !object.owners.empty() || object.terminating
                             : before->second.owners != object.owners ||
                                   before->second.terminating != object.terminating ||
                                   before->second.foreground != object.foreground ||
                                   before->second.orphan != object.orphan;
  if (fresh || before->second.owners != object.owners) {
    if (!fresh) {
      for (const OwnerReference& owner : before->second.owners) {
        const auto found = dependents_.find(owner.uid);
        if (found == dependents_.end()) continue;
        found->second.erase(uid);
        if (found->second.empty()) dependents_.erase(found);
        touched.insert(owner.uid);  // it may have waited for this one
      }
    }
    for (const OwnerReference& owner : object.owners) dependents_[owner.uid].insert(uid);
  }
  // Owners let go of what they wait for.
  if (object.waits_for_dependents() && !was_waiting) {
    for (const std::string& dependent : dependents(uid)) touched.insert(dependent);
  }
  if (differs) touched.insert(uid);
  objects_[uid] = std::move(object);
  return touched;
}

std::set<std::string> OwnerGraph::erase(std::string_view uid) {
  std::set<std::string> touched = dependents(uid);
  const auto found = objects_.find(std::string(uid));
  if (found == objects_.end()) return touched;
  for (const OwnerReference& owner : found->second.owners) {
    touched.insert(owner.uid);
    const auto siblings = dependents_.find(owner.uid);
    if (siblings == dependents_.end()) continue;
    siblings->second.erase(found->second.uid);
    if (siblings->second.empty()) dependents_.erase(siblings);
  }
  objects_.erase(found);
  return touched;
}

const OwnedObject* OwnerGraph::find(std::string_view uid) const {
  const auto found = objects_.find(std::string(uid));
  return found == objects_.end() ? nullptr : &found->second;
}

const std::set<std::string>& OwnerGraph::dependents(std::string_view uid) const {
  const auto found = dependents_.find(std::string(uid));
  return found == dependents_.end() ? kNoDependents : found->second;
}

OwnerState OwnerGraph::owner_state(const OwnedObject& object, const OwnerReference& owner,
                                   const std::function<bool(std::string_view uid)>& absent) const {
  const schema::Resource* kind = schema::find_kind(owner.api_version, owner.kind);
  // An owner in a namespace cannot be named from outside of it, and no kind that is not served.
  if (!kind || (kind->namespaced && !object.what.resource->namespaced)) {
    return OwnerState::kUnresolvable;
  }
  const OwnedObject* found = find(owner.uid);
  // The uid is of an object elsewhere: what the reference names is not there.
  const bool elsewhere =
      found && (found->what.name != owner.name || found->what.resource->kind != kind->kind ||
                (kind->namespaced && found->what.space != object.what.space));
  if (!found || elsewhere) return absent(owner.uid) ? OwnerState::kAbsent : OwnerState::kUnknown;
  return found->waits_for_dependents() ? OwnerState::kWaiting : OwnerState::kPresent;
}

Decision OwnerGraph::decide_waiting(const OwnedObject& object) const {
  Decision decision;
  bool blocked = false;
  for (const std::string& uid : dependents(object.uid)) {
    const OwnedObject* dependent = find(uid);
    if (uid == object.uid || !dependent || !blocks(*dependent, object.uid)) continue;
    if (waits_in_turn_for(*dependent, object)) continue;
    blocked = true;
    // One that terminates has nothing left to decide: its end is what brings this one back.
    if (!dependent->terminating) decision.look_at.insert(uid);
  }
  if (!blocked) decision.act = Decision::Act::kDropForeground;
  return decision;
}

// Whether what `from` waits for waits, by however many steps, for `object`: a circle, in which each
// would wait for ever.
bool OwnerGraph::waits_in_turn_for(const OwnedObject& from, const OwnedObject& object) const {
  std::set<std::string_view> seen{from.uid};
  std::vector<const OwnedObject*> left{&from};
  while (!left.empty()) {
    const OwnedObject& at = *left.back();
    left.pop_back();
    if (!at.waits_for_dependents()) continue;
    for (const std::string& uid : dependents(at.uid)) {
      const OwnedObject* dependent = find(uid);
      if (!dependent || !blocks(*dependent, at.uid)) continue;
      if (uid == object.uid) return true;
      if (seen.insert(dependent->uid).second) left.push_back(dependent);
    }
  }
  return false;
}

Decision OwnerGraph::decide(const OwnedObject& object,
                            const std::function<bool(std::string_view uid)>& absent) const {
  Decision decision;
  if (object.terminating) {
    if (object.orphan) {
      decision.act = Decision::Act::kReleaseDependents;
      return decision;
    }
    return object.foreground ? decide_waiting(object) : decision;
  }
  std::vector<OwnerReference> unknown;
  std::vector<OwnerReference> waiting;
  std::vector<OwnerReference> gone;
  size_t held = 0;  // owners that keep it
  for (const OwnerReference& owner : object.owners) {
    switch (owner_state(object, owner, absent)) {
      case OwnerState::kPresent:
      case OwnerState::kUnresolvable:
        ++held;
        break;
      case OwnerState::kWaiting:
        waiting.push_back(owner);
        break;
      case OwnerState::kAbsent:
        gone.push_back(owner);
        break;
      case OwnerState::kUnknown:
        unknown.push_back(owner);
        break;
    }
  }
  if (!unknown.empty()) {
    decision.act = Decision::Act::kAsk;
    decision.owners = std::move(unknown);
    return decision;
  }
  if (waiting.empty() && gone.empty()) return decision;
  if (held > 0) {
    // Another owner keeps it: those that go let it go.
    decision.act = Decision::Act::kDropOwners;
    decision.owners = std::move(gone);
    decision.owners.insert(decision.owners.end(), waiting.begin(), waiting.end());
    return decision;
  }
  if (!waiting.empty() && !dependents(object.uid).empty()) {
    // Its own dependents go before it, unless one of them waits for others in turn: that may be a
    // circle, and need not be.
    const std::set<std::string>& own = dependents(object.uid);
    const bool circle = std::any_of(own.begin(), own.end(), [&](const std::string& uid) {
      const OwnedObject* dependent = find(uid);
      return dependent && dependent->waits_for_dependents();
    });
    decision.act = Decision::Act::kRemove;
    decision.propagation = circle ? Propagation::kBackground : Propagation::kForeground;
    return decision;
  }
  decision.act = Decision::Act::kRemove;
  if (object.orphan) decision.propagation = Propagation::kOrphan;
  if (object.foreground) decision.propagation = Propagation::kForeground;
  return decision;
}

}  // namespace fairlead::controllers
