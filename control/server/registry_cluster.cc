#include "control/server/registry_cluster.h"

#include <mutex>
#include <optional>
#include <utility>

namespace fairlead::server {

namespace {

using apiserver::Outcome;
using apiserver::Target;
using controllers::Event;
using controllers::ObjectPtr;
using controllers::WatchHandler;

constexpr size_t kEventsAtATime = 256;
constexpr std::string_view kFieldManager = "fairlead-controllers";

// Shares what the registry holds.
ObjectPtr object_of(const apiserver::ObjectPtr& object) {
  return object ? ObjectPtr(object, &object->value()) : nullptr;
}

// The object, or nothing when the answer is a Status: it is gone.
ObjectPtr object_or_gone(const apiserver::ObjectPtr& object) {
  if (!object || object->value().get("kind").as_string() == "Status") return nullptr;
  return object_of(object);
}

Status no_subresource(const controllers::Reference& what, std::string_view subresource) {
  return Status::error(StatusCode::kUnsupported, "write",
                       std::string(what.resource->plural) + "/" + std::string(subresource),
                       "there is no such subresource");
}

// Nothing when the resource has no such subresource.
std::optional<Target> target_of(const controllers::Reference& what, const std::string& subresource,
                                bool named = true) {
  Target target;
  target.resource = what.resource;
  if (!subresource.empty()) {
    target.subresource = schema::find_subresource(*what.resource, subresource);
    if (!target.subresource) return std::nullopt;
  }
  target.space = what.space;
  if (named) target.name = what.name;
  return target;
}

apiserver::Registry::Done<apiserver::Written> answer_with_object(
    controllers::Cluster::Done<ObjectPtr> done) {
  return [done = std::move(done)](Outcome<apiserver::Written> outcome) {
    if (!outcome) return done(status_of(outcome.error()));
    done(object_or_gone(outcome->object));
  };
}

Result<schema::LabelSelector> selector_of(const controllers::Scope& scope) {
  return schema::LabelSelector::parse(scope.label_selector);
}

Event event_of(const apiserver::WatchEvent& event) {
  Event made;
  switch (event.type) {
    case apiserver::WatchEvent::Type::kAdded:
      made.type = Event::Type::kAdded;
      break;
    case apiserver::WatchEvent::Type::kModified:
      made.type = Event::Type::kModified;
      break;
    case apiserver::WatchEvent::Type::kDeleted:
      made.type = Event::Type::kDeleted;
      break;
    case apiserver::WatchEvent::Type::kBookmark:
      made.type = Event::Type::kBookmark;
      break;
  }
  made.object = object_of(event.object);
  made.revision = std::to_string(event.revision);
  return made;
}

// One watch, shared by its owner and by the reader's tasks that are on their way.
class Reading : public std::enable_shared_from_this<Reading> {
 public:
  explicit Reading(WatchHandler handler) : handler_(std::move(handler)) {}

  void opened(std::unique_ptr<apiserver::ObjectWatch> watch) {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    watch_ = std::move(watch);
    read();
  }

  void read() {
    const std::lock_guard lock(mutex_);
    while (!closed_ && watch_) {
      Outcome<std::vector<apiserver::WatchEvent>> taken = watch_->take(kEventsAtATime);
      if (!taken) {
        end(status_of(taken.error()));
        return;
      }
      const bool more = taken->size() == kEventsAtATime;
      std::vector<Event> events;
      events.reserve(taken->size());
      for (const apiserver::WatchEvent& event : *taken) events.push_back(event_of(event));
      if (!events.empty()) handler_.events(std::move(events));
      if (!more) return;
    }
  }

  void end(Status status) {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    watch_ = nullptr;
    handler_.end(std::move(status));
  }

  // Nothing is told after this returned.
  void close() {
    std::unique_ptr<apiserver::ObjectWatch> watch;
    const std::lock_guard lock(mutex_);
    closed_ = true;
    watch = std::move(watch_);
  }

 private:
  // Recursive: what is told may close the watch.
  std::recursive_mutex mutex_;
  const WatchHandler handler_;
  std::unique_ptr<apiserver::ObjectWatch> watch_;
  bool closed_ = false;
};

class RegistryWatch final : public controllers::Watch {
 public:
  explicit RegistryWatch(std::shared_ptr<Reading> reading) : reading_(std::move(reading)) {}
  ~RegistryWatch() override { reading_->close(); }

 private:
  std::shared_ptr<Reading> reading_;
};

StatusCode code_of(int http) {
  switch (http) {
    case 400:
    case 422:
      return StatusCode::kInvalid;
    case 401:
    case 403:
      return StatusCode::kPermission;
    case 404:
      return StatusCode::kNotFound;
    case 405:
      return StatusCode::kUnsupported;
    case 409:
      return StatusCode::kConflict;
    case 410:
      return StatusCode::kExpired;
    case 413:
    case 429:
    case 507:
      return StatusCode::kExhausted;
    default:
      return StatusCode::kUnavailable;
  }
}

}  // namespace

Status status_of(const apiserver::ApiError& error) {
  const std::string what = error.kind.empty() ? error.name : error.kind + " " + error.name;
  return Status::error(code_of(error.code), "ask API server for", what, error.message);
}

RegistryCluster::RegistryCluster(apiserver::Registry& registry, auth::User user)
    : registry_(registry),
      user_(std::move(user)),
      reader_(std::make_shared<controllers::ThreadLoop>()) {}

RegistryCluster::~RegistryCluster() {
  reader_->stop();
}

apiserver::WriteContext RegistryCluster::context() const {
  apiserver::WriteContext made;
  made.user = user_;
  made.field_manager = kFieldManager;
  return made;
}

void RegistryCluster::get(controllers::Reference what, Done<ObjectPtr> done) {
  registry_.get(*target_of(what, ""), "",
                [done = std::move(done)](Outcome<apiserver::ObjectPtr> outcome) {
                  if (!outcome) return done(status_of(outcome.error()));
                  done(object_of(*outcome));
                });
}

void RegistryCluster::list(controllers::Scope scope, Done<controllers::Listing> done) {
  apiserver::ListOptions options;
  Result<schema::LabelSelector> labels = selector_of(scope);
  if (!labels) return done(labels.status());
  options.labels = std::move(labels).value();
  registry_.list(*target_of({scope.resource, scope.space, ""}, ""), std::move(options),
                 [done = std::move(done)](Outcome<apiserver::ListAnswer> outcome) {
                   if (!outcome) return done(status_of(outcome.error()));
                   controllers::Listing listing;
                   listing.objects.reserve(outcome->objects.size());
                   for (const apiserver::ObjectPtr& object : outcome->objects) {
                     listing.objects.push_back(object_of(object));
                   }
                   listing.revision = std::to_string(outcome->revision);
                   done(std::move(listing));
                 });
}

std::unique_ptr<controllers::Watch> RegistryCluster::watch(controllers::Scope scope,
                                                           std::string from, WatchHandler handler) {
  auto reading = std::make_shared<Reading>(std::move(handler));
  auto watch = std::make_unique<RegistryWatch>(reading);
  const std::weak_ptr<Reading> weak = reading;
  const std::shared_ptr<controllers::ThreadLoop> reader = reader_;
  Result<schema::LabelSelector> labels = selector_of(scope);
  if (!labels) {
    reader->post([weak, status = labels.status()] {
      if (const std::shared_ptr<Reading> alive = weak.lock()) alive->end(status);
    });
    return watch;
  }
  apiserver::WatchOptions options;
  options.labels = std::move(labels).value();
  options.resource_version = std::move(from);
  const auto ready = [weak, reader] {
    reader->post([weak] {
      if (const std::shared_ptr<Reading> alive = weak.lock()) alive->read();
    });
  };
  registry_.watch(*target_of({scope.resource, scope.space, ""}, ""), std::move(options), ready,
                  [weak, reader](Outcome<std::unique_ptr<apiserver::ObjectWatch>> outcome) {
                    // Shared, for a task has to be copyable.
                    auto held = std::make_shared<Outcome<std::unique_ptr<apiserver::ObjectWatch>>>(
                        std::move(outcome));
                    reader->post([weak, held] {
                      const std::shared_ptr<Reading> alive = weak.lock();
                      if (!alive) return;
                      if (!*held) return alive->end(status_of(held->error()));
                      alive->opened(std::move(*held).value());
                    });
                  });
  return watch;
}

void RegistryCluster::create(controllers::Reference where, schema::Document body,
                             Done<ObjectPtr> done) {
  registry_.create(*target_of(where, "", false), std::move(body), context(),
                   answer_with_object(std::move(done)));
}

void RegistryCluster::update(controllers::Reference what, std::string subresource,
                             schema::Document body, Done<ObjectPtr> done) {
  std::optional<Target> target = target_of(what, subresource);
  if (!target) return done(no_subresource(what, subresource));
  registry_.update(std::move(*target), std::move(body), context(),
                   answer_with_object(std::move(done)));
}

void RegistryCluster::merge_patch(controllers::Reference what, std::string subresource,
                                  schema::Document patch, Done<ObjectPtr> done) {
  std::optional<Target> target = target_of(what, subresource);
  if (!target) return done(no_subresource(what, subresource));
  registry_.patch(std::move(*target), apiserver::PatchType::kMerge, std::move(patch), false,
                  context(), answer_with_object(std::move(done)));
}

void RegistryCluster::remove(controllers::Reference what, controllers::RemoveOptions options,
                             Done<ObjectPtr> done) {
  apiserver::DeleteOptions how;
  if (!options.uid.empty()) how.uid = std::move(options.uid);
  if (!options.revision.empty()) how.resource_version = std::move(options.revision);
  switch (options.propagation) {
    case controllers::Propagation::kDefault:
      break;
    case controllers::Propagation::kBackground:
      how.propagation = "Background";
      break;
    case controllers::Propagation::kForeground:
      how.propagation = "Foreground";
      break;
    case controllers::Propagation::kOrphan:
      how.propagation = "Orphan";
      break;
  }
  registry_.remove(*target_of(what, ""), std::move(how), context(),
                   answer_with_object(std::move(done)));
}

void RegistryCluster::remove_all(controllers::Scope scope, Done<bool> done) {
  apiserver::ListOptions which;
  Result<schema::LabelSelector> labels = selector_of(scope);
  if (!labels) return done(labels.status());
  which.labels = std::move(labels).value();
  apiserver::DeleteOptions how;
  how.propagation = "Background";
  registry_.remove_collection(*target_of({scope.resource, scope.space, ""}, ""), std::move(which),
                              std::move(how), context(),
                              [done = std::move(done)](Outcome<apiserver::ListAnswer> outcome) {
                                if (!outcome) return done(status_of(outcome.error()));
                                done(true);
                              });
}

}  // namespace fairlead::server
