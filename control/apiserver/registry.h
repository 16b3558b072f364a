// The verbs of the API over the store and the schema, free of HTTP: what is asked for comes in
// decoded, what is answered goes out as objects.
//
// A write reads what is there, makes the object that shall be there (schema: conform, defaults,
// patches, managed fields), asks admission, checks it, reserves what it needs (hooks.h) and puts it
// under the condition that nobody has changed what was read; it begins anew when somebody did and
// the request does not name a resourceVersion.
//
// Threads: all functions from any thread. Completions run on a thread of the worker pool and may
// block neither it nor the store. Destruction waits for what is outstanding; watches must be gone
// before it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/api_error.h"
#include "control/apiserver/object.h"
#include "control/auth/user.h"
#include "control/schema/conform.h"
#include "control/schema/resources.h"
#include "control/schema/selector.h"
#include "control/schema/value.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

// What a request is about. The resource's row is that of the version in the request.
struct Target {
  const schema::Resource* resource = nullptr;
  const schema::Subresource* subresource = nullptr;  // null: the object itself
  std::string space;                                 // the namespace; empty: all, or none
  std::string name;                                  // empty for list, watch and create
};

// What all writes have in common.
struct WriteContext {
  auth::User user;
  std::string field_manager;  // empty: derived from user_agent by the caller
  schema::FieldValidation field_validation = schema::FieldValidation::kWarn;
  bool dry_run = false;
};

struct ListOptions {
  schema::LabelSelector labels;
  schema::FieldSelector fields;
  // As in the query: "" (the newest), "0" (any), or a number, whose meaning `match` tells:
  // "", "NotOlderThan" or "Exact".
  std::string resource_version;
  std::string match;
  int64_t limit = 0;         // 0: all
  std::string continuation;  // "continue"
};

struct ListAnswer {
  std::vector<ObjectPtr> objects;  // by namespace and name
  store::Revision revision = 0;
  std::string continuation;  // empty: this was all
  std::optional<int64_t> remaining;
};

struct WatchOptions {
  schema::LabelSelector labels;
  schema::FieldSelector fields;
  std::string resource_version;
  std::string match;
  bool bookmarks = false;
  std::optional<bool> send_initial_events;
};

struct WatchEvent {
  enum class Type : uint8_t { kAdded, kModified, kDeleted, kBookmark };

  Type type = Type::kAdded;
  ObjectPtr object;                 // kBookmark: null
  store::Revision revision = 0;     // of the event; of a bookmark, what it says
  bool initial_events_end = false;  // of a bookmark: carries k8s.io/initial-events-end
};

// One client's watch. Costs no memory while the client is slow (store::Watch).
class ObjectWatch {
 public:
  virtual ~ObjectWatch() = default;
  // The next events, none when there are none. An error (410, 500) is the last thing that it gives.
  // After a take() that gave less than the limit, `ready` is called once when there is more.
  virtual Outcome<std::vector<WatchEvent>> take(size_t limit) = 0;
  // All events up to this one have been taken: what a bookmark may say now. 0: none yet.
  virtual store::Revision position() const = 0;
};

struct Written {
  ObjectPtr object;
  bool created = false;               // 201
  bool accepted = false;              // 202: see DeleteOptions::cascades
  std::vector<std::string> warnings;  // for Warning headers, without their code
};

enum class PatchType { kJson, kMerge, kStrategic, kApply };

struct DeleteOptions {
  std::optional<int64_t> grace_seconds;
  std::optional<std::string> uid;  // preconditions
  std::optional<std::string> resource_version;
  std::string propagation;  // "", "Orphan", "Background", "Foreground"
  // Asked for by "orphanDependents=false", the older word: only those who use it are told by 202
  // that finalizers or grace hold a removal up. kube-apiserver found that others take it for a
  // failure.
  bool cascades = false;
};

class Registry {
 public:
  template <typename T>
  using Done = std::function<void(Outcome<T>)>;

  virtual ~Registry() = default;

  // `resource_version` as in ListOptions.
  virtual void get(Target target, std::string resource_version, Done<ObjectPtr> done) = 0;
  virtual void list(Target target, ListOptions options, Done<ListAnswer> done) = 0;
  // `ready` as in ObjectWatch::take(): on any thread, must not block.
  virtual void watch(Target target, WatchOptions options, std::function<void()> ready,
                     Done<std::unique_ptr<ObjectWatch>> done) = 0;

  // Bodies are as decoded from text or protobuf, before conform(). Subresources that take a POST
  // (binding, eviction) are created, too.
  virtual void create(Target target, schema::Document body, WriteContext context,
                      Done<Written> done) = 0;
  virtual void update(Target target, schema::Document body, WriteContext context,
                      Done<Written> done) = 0;
  virtual void patch(Target target, PatchType type, schema::Document body, bool force,
                     WriteContext context, Done<Written> done) = 0;
  // The answer is the object, or a Status of success when it is gone at once.
  virtual void remove(Target target, DeleteOptions options, WriteContext context,
                      Done<Written> done) = 0;
  // What was removed, as a list.
  virtual void remove_collection(Target target, ListOptions which, DeleteOptions options,
                                 WriteContext context, Done<ListAnswer> done) = 0;
};

}  // namespace fairlead::apiserver
