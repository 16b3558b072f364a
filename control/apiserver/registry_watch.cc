#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/apiserver/registry_impl.h"

namespace fairlead::apiserver {

namespace {

// The store's watch, with selectors: an object that begins or ceases to match is added or deleted.
class SelectingWatch : public ObjectWatch {
 public:
  // `from`: what the client has seen already.
  SelectingWatch(ObjectCache& cache, const schema::Resource& resource, WatchOptions options,
                 std::unique_ptr<store::Watch> watch, store::Revision from)
      : cache_(cache),
        resource_(resource),
        options_(std::move(options)),
        watch_(std::move(watch)),
        filtered_(!options_.labels.empty() || !options_.fields.empty()),
        position_(from) {}

  // The state that the watch begins with, and whether a bookmark says where it ends.
  void begin_with(Snapshots::Shared entries, store::Revision revision, bool bookmark) {
    initial_ = std::move(entries);
    initial_revision_ = revision;
    end_bookmark_ = bookmark;
  }

  Outcome<std::vector<WatchEvent>> take(size_t limit) override {
    std::vector<WatchEvent> events;
    take_initial(limit, events);
    while (events.size() < limit) {
      Result<store::WatchBatch> batch = watch_->take(limit - events.size());
      if (!batch) {
        if (batch.status().code() == StatusCode::kExpired) {
          return expired("too old resource version: the history of this watch is gone");
        }
        return from_status(batch.status());
      }
      for (const store::Event& event : batch->events) add(event, events);
      position_ = std::max(position_, batch->revision);
      if (!batch->more) break;
    }
    return events;
  }
  store::Revision position() const override { return position_; }

 private:
  void take_initial(size_t limit, std::vector<WatchEvent>& events) {
    if (initial_revision_ == 0) return;
    while (next_ < initial_->size() && events.size() < limit) {
      const store::EntryPtr& entry = (*initial_)[next_++];
      WatchEvent event;
      event.object = stored_object(entry, entry->mod_revision, resource_);
      event.revision = entry->mod_revision;
      if (matches(*event.object)) events.push_back(std::move(event));
    }
    if (next_ < initial_->size() || events.size() == limit) return;
    position_ = std::max(position_, initial_revision_);
    if (end_bookmark_) {
      WatchEvent bookmark;
      bookmark.type = WatchEvent::Type::kBookmark;
      bookmark.revision = initial_revision_;
      bookmark.initial_events_end = true;
      events.push_back(std::move(bookmark));
    }
    initial_ = nullptr;
    initial_revision_ = 0;
  }

  bool matches(const Object& object) const {
    if (!filtered_) return true;
    if (!options_.labels.empty() &&
        !options_.labels.matches(object.value().at("metadata.labels"))) {
      return false;
    }
    return options_.fields.empty() || options_.fields.matches(object.value());
  }

  void add(const store::Event& event, std::vector<WatchEvent>& events) const {
    WatchEvent made;
    made.revision = event.revision();
    const bool removed = event.type == store::Event::Type::kDelete;
    if (removed && event.previous == nullptr) return;
    ObjectPtr now = removed ? nullptr : cache_.get(event.entry, event.revision(), resource_);
    const bool is = now != nullptr && matches(*now);
    bool was = event.previous != nullptr;
    if (was && filtered_) {
      was = matches(*cache_.get(event.previous, event.previous->mod_revision, resource_));
    }
    if (!is && !was) return;
    made.type = !is    ? WatchEvent::Type::kDeleted
                : !was ? WatchEvent::Type::kAdded
                       : WatchEvent::Type::kModified;
    // What leaves is shown as it was when it still belonged, with the revision of its leaving.
    made.object = is ? std::move(now) : cache_.get(event.previous, event.revision(), resource_);
    events.push_back(std::move(made));
  }

  ObjectCache& cache_;
  const schema::Resource& resource_;
  const WatchOptions options_;
  const std::unique_ptr<store::Watch> watch_;
  const bool filtered_;
  Snapshots::Shared initial_;
  size_t next_ = 0;
  store::Revision initial_revision_ = 0;  // 0: the initial state is through
  bool end_bookmark_ = false;
  store::Revision position_;  // never goes back: this server may be behind the one asked before
};

ApiError bad_watch_option(std::string_view detail) {
  return bad_request(fmt::format("sendInitialEvents: Forbidden: {}", detail));
}

}  // namespace

RegistryImpl::Answer<std::unique_ptr<ObjectWatch>> RegistryImpl::do_watch(
    Target target, WatchOptions options, std::function<void()> ready) {
  store::Revision from = 0;
  if (!options.resource_version.empty()) {
    Outcome<store::Revision> revision = parse_revision(options.resource_version);
    if (!revision) co_return revision.error();
    from = *revision;
  }
  if (options.send_initial_events.has_value()) {
    if (options.match != "NotOlderThan") {
      co_return bad_watch_option(
          "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
  } else if (!options.match.empty()) {
    co_return bad_request(
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless "
        "sendInitialEvents is provided");
  }
  const bool initial = options.send_initial_events.value_or(from == 0);

  store::WatchRequest request;
  request.key = space_prefix(*target.resource, target.space);
  std::string_view name = options.fields.name();
  if (!target.name.empty()) name = target.name;
  if (!name.empty() && (!target.resource->namespaced || !target.space.empty())) {
    request.key += name;
    request.prefix = false;
  }
  Snapshots::Shared entries;
  store::Revision revision = 0;
  if (initial) {
    store::RangeRequest state;
    state.key = request.key;
    if (request.prefix) state.end = store::prefix_end(request.key);
    state.allow_cached = options.resource_version == "0";
    Result<store::RangeResult> found = co_await range(std::move(state));
    if (!found) co_return from_status(found.status());
    if (found->revision < from) co_return too_large_resource_version(from, found->revision);
    entries = snapshots_.share(request.key, std::move(found->entries));
    revision = found->revision;
    request.start = revision + 1;
  } else if (from != 0) {
    request.start = from + 1;
  }
  Result<std::unique_ptr<store::Watch>> opened = store_.watch(request, std::move(ready));
  if (!opened) {
    if (opened.status().code() == StatusCode::kExpired) {
      co_return expired(fmt::format("too old resource version: {} ({})", from, store_.revision()));
    }
    co_return from_status(opened.status());
  }
  const bool bookmark = options.send_initial_events.value_or(false) && options.bookmarks;
  auto watch = std::make_unique<SelectingWatch>(cache_, *target.resource, std::move(options),
                                                std::move(opened).value(), initial ? 0 : from);
  if (initial) watch->begin_with(std::move(entries), revision, bookmark);
  std::unique_ptr<ObjectWatch> made = std::move(watch);
  co_return made;
}

}  // namespace fairlead::apiserver
