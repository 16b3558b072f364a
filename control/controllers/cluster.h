// What controllers know of the API server: list and watch, and writes with preconditions. The
// in-process registry and a client over HTTP are both behind it.
//
// Objects are immutable and shared, so an implementation may hand out what it holds itself (an
// aliasing pointer). Written bodies are whole objects with apiVersion and kind.
//
// Errors, as StatusCode:
//   kNotFound      404: the object, the namespace or the resource does not exist
//   kConflict      409: exists already (create), was changed since, a precondition is not met
//   kInvalid       400, 422: this body will never be accepted
//   kPermission    401, 403: all creations in a namespace that terminates are among them
//   kUnsupported   405: the resource has no such verb
//   kExhausted     413, 429
//   kExpired       410: the revision is too old; list anew
//   kUnavailable   5xx and transport: try again later
//
// Threads: all functions from any thread. Completions, watch events and ends come on any thread,
// possibly before the call returned, and may call the cluster again. Destruction waits for
// completions that run; those that did not run yet are dropped.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/schema/resources.h"
#include "control/schema/value.h"

namespace fairlead::controllers {

using ObjectPtr = std::shared_ptr<const schema::Value>;

// One object's place.
struct Reference {
  const schema::Resource* resource = nullptr;
  std::string space;  // the namespace; empty for what has none
  std::string name;
};

// Which objects to list or watch.
struct Scope {
  const schema::Resource* resource = nullptr;
  std::string space;           // empty: all namespaces
  std::string label_selector;  // query syntax; empty: all
};

struct Listing {
  std::vector<ObjectPtr> objects;
  std::string revision;  // to watch from
};

struct Event {
  enum class Type : uint8_t { kAdded, kModified, kDeleted, kBookmark };

  Type type = Type::kAdded;
  ObjectPtr object;      // as it was last, when deleted; null for bookmarks
  std::string revision;  // metadata.resourceVersion, of a bookmark what it says
};

// Destruction ends the watch; no event comes after it returned.
class Watch {
 public:
  virtual ~Watch() = default;
};

struct WatchHandler {
  std::function<void(std::vector<Event>)> events;  // never empty, in order
  // The last call: kExpired when the revision is gone, ok when the server closed the connection.
  std::function<void(Status)> end;
};

enum class Propagation : uint8_t { kDefault, kBackground, kForeground, kOrphan };

struct RemoveOptions {
  // Preconditions; empty: none.
  std::string uid;
  std::string revision;
  Propagation propagation = Propagation::kDefault;
};

class Cluster {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  virtual ~Cluster() = default;

  virtual void get(Reference what, Done<ObjectPtr> done) = 0;
  // The newest, however many pages that takes.
  virtual void list(Scope scope, Done<Listing> done) = 0;
  virtual std::unique_ptr<Watch> watch(Scope scope, std::string from, WatchHandler handler) = 0;

  // The name may be empty when the body has metadata.generateName.
  virtual void create(Reference where, schema::Document body, Done<ObjectPtr> done) = 0;
  // `subresource`: empty, "status" or "finalize". Conditional on metadata.resourceVersion when the
  // body has one.
  virtual void update(Reference what, std::string subresource, schema::Document body,
                      Done<ObjectPtr> done) = 0;
  // RFC 7396.
  virtual void merge_patch(Reference what, std::string subresource, schema::Document patch,
                           Done<ObjectPtr> done) = 0;
  // The object as it is now, or null when it is gone.
  virtual void remove(Reference what, RemoveOptions options, Done<ObjectPtr> done) = 0;
  // Everything of a resource in a namespace, in the background.
  virtual void remove_all(Scope scope, Done<bool> done) = 0;
};

}  // namespace fairlead::controllers
