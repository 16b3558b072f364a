#include "control/controllers/informer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

constexpr Duration kFirstDelay = std::chrono::milliseconds(100);
constexpr Duration kLongestDelay = std::chrono::seconds(30);
constexpr Duration kLasting = std::chrono::seconds(30);  // a watch that was worth it
const std::map<std::string, ObjectPtr, std::less<>> kNoObjects;

}  // namespace

Informer::Informer(Cluster& cluster, Loop& loop, Scope scope)
    : cluster_(cluster), loop_(loop), scope_(std::move(scope)) {}

size_t Informer::add_index(Indexer indexer) {
  indexes_.push_back({std::move(indexer), {}});
  return indexes_.size() - 1;
}

void Informer::add_handler(Handler handler) {
  for_each([&](const ObjectPtr& object) { handler(nullptr, object); });
  handlers_.push_back(std::move(handler));
}

void Informer::on_synced(std::function<void()> done) {
  if (synced_) {
    done();
  } else {
    waiting_.push_back(std::move(done));
  }
}

void Informer::start() {
  if (started_) return;
  started_ = true;
  list();
}

ObjectPtr Informer::get(std::string_view space, std::string_view name) const {
  const auto& named = in_space(space);
  const auto found = named.find(name);
  return found == named.end() ? nullptr : found->second;
}

const std::map<std::string, ObjectPtr, std::less<>>& Informer::in_space(
    std::string_view space) const {
  const auto found = objects_.find(space);
  return found == objects_.end() ? kNoObjects : found->second;
}

void Informer::for_each(const std::function<void(const ObjectPtr&)>& visit) const {
  for (const auto& [space, named] : objects_) {
    for (const auto& [name, object] : named) visit(object);
  }
}

std::vector<ObjectPtr> Informer::by_index(size_t index, const std::string& key) const {
  std::vector<ObjectPtr> found;
  const auto entry = indexes_[index].entries.find(key);
  if (entry == indexes_[index].entries.end()) return found;
  for (const std::string& object : entry->second) {
    const auto [space, name] = split_key(object);
    if (ObjectPtr held = get(space, name)) found.push_back(std::move(held));
  }
  return found;
}

size_t Informer::index_size(size_t index, const std::string& key) const {
  const auto entry = indexes_[index].entries.find(key);
  return entry == indexes_[index].entries.end() ? 0 : entry->second.size();
}

// What the watch has passed already is known, and may have changed again since.
void Informer::learn(const ObjectPtr& object) {
  if (!synced_ || !is_older(position_, revision_of(*object))) return;
  put(object);
}

void Informer::learn_gone(std::string_view space, std::string_view name, std::string_view uid) {
  const ObjectPtr held = get(space, name);
  if (!held || uid_of(*held) != uid) return;
  gone_.emplace(uid);
  take_out(space, name);
}

void Informer::list() {
  watch_ = nullptr;
  ++lists_;
  gone_.clear();  // the list will be newer than those; what goes from now on it may not know
  cluster_.list(scope_, token_.guard(std::function<void(Result<Listing>)>(
                            [this](Result<Listing> listing) { listed(std::move(listing)); })));
}

void Informer::later(std::function<void()> task) {
  loop_.after(back_off(kFirstDelay, failures_++, kLongestDelay), token_.guard(std::move(task)));
}

void Informer::listed(Result<Listing> listing) {
  if (!listing) {
    LOG_WARNING("controllers: list {}: {}", scope_.resource->plural, listing.status().message());
    later([this] { list(); });
    return;
  }
  replace(*listing);
  position_ = listing->revision;
  if (!synced_) {
    synced_ = true;
    std::vector<std::function<void()>> waiting;
    waiting.swap(waiting_);
    for (const auto& done : waiting) done();
  }
  watch();
}

void Informer::watch() {
  watching_since_ = loop_.now();
  WatchHandler handler;
  handler.events = token_.guard(std::function<void(std::vector<Event>)>(
      [this](std::vector<Event> events) { apply(std::move(events)); }));
  handler.end = token_.guard(
      std::function<void(Status)>([this](Status status) { ended(std::move(status)); }));
  watch_ = cluster_.watch(scope_, position_, std::move(handler));
}

void Informer::apply(std::vector<Event> events) {
  for (Event& event : events) {
    if (!event.revision.empty()) position_ = event.revision;
    if (!event.object) continue;
    const std::string_view space = space_of(*event.object);
    const std::string_view name = name_of(*event.object);
    if (event.type == Event::Type::kDeleted) {
      gone_.erase(std::string(uid_of(*event.object)));
      const ObjectPtr held = get(space, name);
      // A successor may have been learned of before.
      if (held && uid_of(*held) == uid_of(*event.object)) take_out(space, name);
      continue;
    }
    if (gone_.count(std::string(uid_of(*event.object))) == 0) put(event.object);
  }
}

void Informer::ended(Status status) {
  watch_ = nullptr;
  if (loop_.now() - watching_since_ >= kLasting) failures_ = 0;
  if (!status.ok()) {
    LOG_V(2, "controllers: watch {}: {}", scope_.resource->plural, status.message());
  }
  if (status.ok() || status.code() == StatusCode::kUnavailable) {
    later([this] { watch(); });
  } else {
    later([this] { list(); });
  }
}

// What was learned since the list was made is newer than it, and stays.
void Informer::replace(const Listing& listing) {
  std::set<std::string> present;
  for (const ObjectPtr& object : listing.objects) present.insert(key_of(*object));
  std::vector<std::string> gone;
  for_each([&](const ObjectPtr& object) {
    std::string key = key_of(*object);
    if (present.count(key) != 0 || is_older(listing.revision, revision_of(*object))) return;
    gone.push_back(std::move(key));
  });
  for (const std::string& key : gone) {
    const auto [space, name] = split_key(key);
    take_out(space, name);
  }
  for (const ObjectPtr& object : listing.objects) {
    if (gone_.count(std::string(uid_of(*object))) == 0) put(object);
  }
}

void Informer::put(const ObjectPtr& object) {
  ObjectPtr& held = objects_[std::string(space_of(*object))][std::string(name_of(*object))];
  const ObjectPtr before = held;
  if (before) {
    const std::string_view had = revision_of(*before);
    const std::string_view has = revision_of(*object);
    if (had == has && !has.empty()) return;
    if (is_older(has, had)) return;
  }
  // A successor under the same name: the one before it is gone.
  if (before && uid_of(*before) != uid_of(*object)) {
    take_out(space_of(*before), name_of(*before));
    put(object);
    return;
  }
  held = object;
  reindex(before.get(), object.get());
  notify(before, object);
}

void Informer::take_out(std::string_view space, std::string_view name) {
  const auto named = objects_.find(space);
  if (named == objects_.end()) return;
  const auto found = named->second.find(name);
  if (found == named->second.end()) return;
  const ObjectPtr before = found->second;
  named->second.erase(found);
  if (named->second.empty()) objects_.erase(named);
  if (!before) return;
  reindex(before.get(), nullptr);
  notify(before, nullptr);
}

void Informer::reindex(const schema::Value* before, const schema::Value* after) {
  const std::string key = key_of(after ? *after : *before);
  std::vector<std::string> old_keys;
  std::vector<std::string> new_keys;
  for (Index& index : indexes_) {
    old_keys.clear();
    new_keys.clear();
    if (before) index.indexer(*before, &old_keys);
    if (after) index.indexer(*after, &new_keys);
    if (old_keys == new_keys) continue;
    for (const std::string& old_key : old_keys) {
      const auto entry = index.entries.find(old_key);
      if (entry == index.entries.end()) continue;
      entry->second.erase(key);
      if (entry->second.empty()) index.entries.erase(entry);
    }
    for (const std::string& new_key : new_keys) index.entries[new_key].insert(key);
  }
}

void Informer::notify(const ObjectPtr& before, const ObjectPtr& after) {
  for (const Handler& handler : handlers_) handler(before, after);
}

Informer& Informers::of(const schema::Resource& resource) {
  std::unique_ptr<Informer>& held = informers_[&resource];
  if (!held) held = std::make_unique<Informer>(cluster_, loop_, Scope{&resource, "", ""});
  return *held;
}

void Informers::start() {
  for (const auto& [resource, informer] : informers_) informer->start();
}

void Informers::learn(const schema::Resource& resource, const ObjectPtr& object) {
  const auto found = informers_.find(&resource);
  if (found != informers_.end() && object) found->second->learn(object);
}

void Informers::learn_gone(const Reference& what, std::string_view uid) {
  const auto found = informers_.find(what.resource);
  if (found != informers_.end()) found->second->learn_gone(what.space, what.name, uid);
}

}  // namespace fairlead::controllers
