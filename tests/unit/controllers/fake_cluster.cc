#include "fake_cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "control/controllers/objects.h"
#include "control/schema/conform.h"
#include "control/schema/defaults.h"
#include "control/schema/json_text.h"
#include "control/schema/patch.h"
#include "control/schema/validate.h"

namespace fairlead::controllers {

namespace {

Status refuse(StatusCode code, const Reference& what, std::string_view why) {
  return Status::error(code, "write", std::string(what.resource->plural) + " " + what.name, why);
}

Document parsed(std::string_view yaml) {
  Result<Document> document = schema::parse_yaml(yaml);
  EXPECT_TRUE(document.ok()) << yaml << ": " << document.status().message();
  return document.ok() ? std::move(document).value() : Document();
}

// What controllers write, as the server stores it: every field known, defaults set, in canonical
// form. The tests' own objects are too small to pass.
void accept(const schema::Resource& row, Document& body, const Value* before) {
  constexpr std::string_view kChecked[] = {"endpoints", "endpointslices",  "events",
                                           "leases",    "serviceaccounts", "configmaps"};
  if (std::find(std::begin(kChecked), std::end(kChecked), row.plural) == std::end(kChecked)) return;
  std::vector<std::string> complaints;
  const Status status =
      schema::conform(body, *row.type()->shape, schema::Conform::kObject, &complaints);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(complaints.empty()) << schema::strict_error(complaints);
  schema::apply_defaults(body, *row.type());
  const std::vector<schema::FieldError> errors =
      before ? schema::validate_update(body.root, *before, row)
             : schema::validate_create(body.root, row);
  for (const schema::FieldError& error : errors) {
    ADD_FAILURE() << row.plural << ": " << error.to_string() << " in "
                  << schema::to_json(body.root);
  }
}

bool lacks_finalizers(const Value& object) {
  if (!object.get("metadata").get("finalizers").empty()) return false;
  return object.get("kind").as_string() != "Namespace" ||
         object.get("spec").get("finalizers").empty();
}

}  // namespace

class FakeCluster::FakeWatch final : public Watch {
 public:
  FakeWatch(FakeCluster& cluster, Scope which, WatchHandler told)
      : scope(std::move(which)), handler(std::move(told)), cluster_(cluster) {
    cluster_.watches_.insert(this);
  }
  ~FakeWatch() override { cluster_.watches_.erase(this); }

  Scope scope;
  WatchHandler handler;

 private:
  FakeCluster& cluster_;
};

ObjectPtr FakeCluster::put(std::string_view yaml) {
  Document body = parsed(yaml);
  const schema::Resource* row =
      schema::find_kind(body.root.get("apiVersion").as_string(), body.root.get("kind").as_string());
  EXPECT_NE(row, nullptr) << yaml;
  if (!row) return nullptr;
  const Reference what{row, std::string(space_of(body.root)), std::string(name_of(body.root))};
  const ObjectPtr before = find(row->plural, what.space, what.name);
  Value& metadata = body.root.ensure(body.arena, "metadata");
  if (before && metadata.get("uid").is_null()) {
    metadata.set(body.arena, "uid", text(body.arena, uid_of(*before)));
  }
  return store(what, std::move(body), before == nullptr);
}

void FakeCluster::erase(std::string_view plural, std::string_view space, std::string_view name) {
  drop({std::string(plural), key_of(space, name)});
}

ObjectPtr FakeCluster::find(std::string_view plural, std::string_view space,
                            std::string_view name) const {
  const auto found = objects_.find({std::string(plural), key_of(space, name)});
  return found == objects_.end() ? nullptr : found->second;
}

std::vector<ObjectPtr> FakeCluster::all(std::string_view plural, std::string_view space) const {
  std::vector<ObjectPtr> found;
  for (const auto& [key, object] : objects_) {
    if (key.first == plural && (space.empty() || space_of(*object) == space)) {
      found.push_back(object);
    }
  }
  return found;
}

void FakeCluster::change(std::string_view plural, std::string_view space, std::string_view name,
                         std::string_view patch) {
  const ObjectPtr before = find(plural, space, name);
  ASSERT_NE(before, nullptr) << plural << " " << name;
  Document body = copy_of(*before);
  Document change = parsed(patch);
  schema::sort_deep(change.root);
  ASSERT_TRUE(schema::apply_merge_patch(body, change.root).ok());
  const schema::Resource* row =
      schema::find_kind(body.root.get("apiVersion").as_string(), body.root.get("kind").as_string());
  store({row, std::string(space), std::string(name)}, std::move(body), false);
}

void FakeCluster::lose_watches(Status why) {
  held_.clear();
  paused_.clear();
  const std::set<FakeWatch*> open = watches_;
  watches_.clear();
  for (FakeWatch* watch : open) watch->handler.end(why);
}

void FakeCluster::resume() {
  paused_.clear();
  std::vector<std::pair<Key, Event>> held;
  held.swap(held_);
  for (auto& [key, event] : held) deliver(key, event);
}

void FakeCluster::let_lists_go() {
  holds_lists_ = false;
  std::vector<std::function<void()>> held;
  held.swap(held_lists_);
  for (const auto& answer : held) answer();
}

std::vector<std::string> FakeCluster::take_writes() {
  std::vector<std::string> taken;
  taken.swap(writes_);
  return taken;
}

Status FakeCluster::ask(std::string_view verb, const Reference& what) {
  const std::string request = std::string(verb) + " " + std::string(what.resource->plural) + " " +
                              key_of(what.space, what.name);
  return fault ? fault(request) : Status();
}

ObjectPtr FakeCluster::store(const Reference& what, Document body, bool fresh) {
  Arena& arena = body.arena;
  Value& metadata = body.root.ensure(arena, "metadata");
  if (metadata.get("uid").is_null()) {
    metadata.set(arena, "uid", text(arena, "uid-" + std::to_string(++uids_)));
  }
  metadata.set(arena, "resourceVersion", text(arena, next_revision()));
  const Key key{std::string(what.resource->plural), key_of(what.space, what.name)};
  ObjectPtr object = share(std::move(body));
  objects_[key] = object;
  if (is_terminating(*object) && lacks_finalizers(*object)) {
    drop(key);
    return object;
  }
  tell(fresh ? Event::Type::kAdded : Event::Type::kModified, key, object);
  return object;
}

void FakeCluster::drop(const Key& key) {
  const auto found = objects_.find(key);
  if (found == objects_.end()) return;
  Document last = copy_of(*found->second);
  last.root.find("metadata")->set(last.arena, "resourceVersion", text(last.arena, next_revision()));
  objects_.erase(found);
  tell(Event::Type::kDeleted, key, share(std::move(last)));
}

void FakeCluster::tell(Event::Type type, const Key& key, const ObjectPtr& object) {
  Event event{type, object, std::string(revision_of(*object))};
  log_.emplace_back(key, event);
  deliver(key, event);
}

void FakeCluster::deliver(const Key& key, const Event& event) {
  if (paused_.count(key.first) != 0) {
    held_.emplace_back(key, event);
    return;
  }
  for (FakeWatch* watch : watches_) {
    if (watch->scope.resource->plural == key.first) watch->handler.events({event});
  }
}

void FakeCluster::get(Reference what, Done<ObjectPtr> done) {
  if (const Status status = ask("get", what); !status) return done(status);
  if (ObjectPtr found = find(what.resource->plural, what.space, what.name)) return done(found);
  done(refuse(StatusCode::kNotFound, what, "not found"));
}

void FakeCluster::list(Scope scope, Done<Listing> done) {
  if (const Status status = ask("list", {scope.resource, scope.space, ""}); !status) {
    return done(status);
  }
  Listing listing{all(scope.resource->plural, scope.space), std::to_string(revision_)};
  if (!holds_lists_) return done(std::move(listing));
  held_lists_.push_back(
      [done = std::move(done), listing = std::move(listing)] { done(Listing(listing)); });
}

std::unique_ptr<Watch> FakeCluster::watch(Scope scope, std::string from, WatchHandler handler) {
  // What happened between a list and its watch.
  std::vector<Event> missed;
  for (const auto& [key, event] : log_) {
    if (key.first == scope.resource->plural && is_older(from, event.revision)) {
      missed.push_back(event);
    }
  }
  if (!missed.empty()) handler.events(std::move(missed));
  return std::make_unique<FakeWatch>(*this, std::move(scope), std::move(handler));
}

void FakeCluster::create(Reference where, Document body, Done<ObjectPtr> done) {
  if (where.name.empty()) {
    const Value& prefix = body.root.get("metadata").get("generateName");
    where.name = std::string(prefix.as_string()) + std::to_string(++names_);
    body.root.ensure(body.arena, "metadata").set(body.arena, "name", text(body.arena, where.name));
  }
  if (const Status status = ask("create", where); !status) return done(status);
  if (find(where.resource->plural, where.space, where.name)) {
    return done(refuse(StatusCode::kConflict, where, "already exists"));
  }
  const ObjectPtr space = find("namespaces", "", where.space);
  if (space && is_terminating(*space)) {
    return done(refuse(StatusCode::kPermission, where, "the namespace is being terminated"));
  }
  accept(*where.resource, body, nullptr);
  const std::string request =
      "create " + std::string(where.resource->plural) + " " + key_of(where.space, where.name);
  writes_.push_back(request);
  ObjectPtr made = store(where, std::move(body), true);
  if (wrote) wrote(request);
  done(made);
}

void FakeCluster::update(Reference what, std::string subresource, Document body,
                         Done<ObjectPtr> done) {
  const std::string verb = subresource.empty() ? "update" : "update-" + subresource;
  if (const Status status = ask(verb, what); !status) return done(status);
  const ObjectPtr before = find(what.resource->plural, what.space, what.name);
  if (!before) return done(refuse(StatusCode::kNotFound, what, "not found"));
  const std::string_view revision = revision_of(body.root);
  if (!revision.empty() && revision != revision_of(*before)) {
    return done(refuse(StatusCode::kConflict, what, "the object has been modified"));
  }
  Document next;
  if (subresource == "status") {
    next = copy_of(*before);
    next.root.set(next.arena, "status", body.root.get("status").clone(next.arena));
  } else {
    next = std::move(body);
    next.root.set(next.arena, "status", before->get("status").clone(next.arena));
    if (next.root.get("status").is_null()) next.root.erase("status");
    // What the server never lets a client change.
    Value& metadata = *next.root.find("metadata");
    for (const char* kept : {"uid", "deletionTimestamp", "creationTimestamp"}) {
      const Value& value = before->get("metadata").get(kept);
      if (!value.is_null()) metadata.set(next.arena, kept, value.clone(next.arena));
    }
    if (what.resource->plural == "namespaces" && subresource != "finalize") {
      const Value& finalizers = before->get("spec").get("finalizers");
      next.root.ensure(next.arena, "spec")
          .set(next.arena, "finalizers", finalizers.clone(next.arena));
    }
  }
  accept(*what.resource, next, before.get());
  const std::string request =
      verb + " " + std::string(what.resource->plural) + " " + key_of(what.space, what.name);
  writes_.push_back(request);
  ObjectPtr made = store(what, std::move(next), false);
  if (wrote) wrote(request);
  done(made);
}

void FakeCluster::merge_patch(Reference what, std::string subresource, Document patch,
                              Done<ObjectPtr> done) {
  const ObjectPtr before = find(what.resource->plural, what.space, what.name);
  if (!before) return done(refuse(StatusCode::kNotFound, what, "not found"));
  Document next = copy_of(*before);
  schema::sort_deep(patch.root);
  if (const Status status = schema::apply_merge_patch(next, patch.root); !status) {
    return done(status);
  }
  update(std::move(what), std::move(subresource), std::move(next), std::move(done));
}

Result<ObjectPtr> FakeCluster::removed(const Reference& what, const RemoveOptions& options) {
  const ObjectPtr before = find(what.resource->plural, what.space, what.name);
  if (!before) return refuse(StatusCode::kNotFound, what, "not found");
  if ((!options.uid.empty() && options.uid != uid_of(*before)) ||
      (!options.revision.empty() && options.revision != revision_of(*before))) {
    return refuse(StatusCode::kConflict, what, "a precondition does not hold");
  }
  Document next = copy_of(*before);
  Arena& arena = next.arena;
  Value& metadata = *next.root.find("metadata");
  std::string_view finalizer;
  if (options.propagation == Propagation::kForeground) finalizer = "foregroundDeletion";
  if (options.propagation == Propagation::kOrphan) finalizer = "orphan";
  if (!finalizer.empty() && !has_finalizer(next.root, finalizer)) {
    if (!metadata.find("finalizers")) metadata.set(arena, "finalizers", Value::array());
    metadata.find("finalizers")->push(arena, Value::string(finalizer));
  }
  if (lacks_finalizers(next.root)) {
    drop({std::string(what.resource->plural), key_of(what.space, what.name)});
    return ObjectPtr();
  }
  if (is_terminating(next.root)) return before;
  metadata.set(arena, "deletionTimestamp", Value::string("2023-11-14T22:13:20Z"));
  return store(what, std::move(next), false);
}

void FakeCluster::remove(Reference what, RemoveOptions options, Done<ObjectPtr> done) {
  if (const Status status = ask("remove", what); !status) return done(status);
  Result<ObjectPtr> answer = removed(what, options);
  const std::string request =
      "remove " + std::string(what.resource->plural) + " " + key_of(what.space, what.name);
  if (answer) writes_.push_back(request);
  if (answer && wrote) wrote(request);
  done(std::move(answer));
}

void FakeCluster::remove_all(Scope scope, Done<bool> done) {
  if (const Status status = ask("remove-all", {scope.resource, scope.space, ""}); !status) {
    return done(status);
  }
  for (const ObjectPtr& object : all(scope.resource->plural, scope.space)) {
    const Reference what{scope.resource, scope.space, std::string(name_of(*object))};
    const Result<ObjectPtr> answer = removed(what, {});
    EXPECT_TRUE(answer.ok());
  }
  writes_.push_back("remove-all " + std::string(scope.resource->plural) + " " + scope.space);
  done(true);
}

}  // namespace fairlead::controllers
