#include "tests/api_server/store.h"

#include <algorithm>

namespace fairlead::api_server {

const ObjectPointer* Resource::at(const Versions& versions, uint64_t moment) {
  const auto after = std::upper_bound(
      versions.begin(), versions.end(), moment,
      [](uint64_t value, const Version& version) { return value < version.version; });
  if (after == versions.begin()) return nullptr;
  const ObjectPointer& object = std::prev(after)->object;
  return object ? &object : nullptr;
}

ObjectPointer Resource::find(const std::string& key) const {
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second.back().object;
}

ListPage Resource::list(const ListOptions& options, bool count_rest) const {
  ListPage page;
  const std::string prefix = !type_.namespaced            ? "/"
                             : options.name_space.empty() ? ""
                                                          : options.name_space + "/";
  auto at_key = objects_.lower_bound(std::max(prefix, options.start));
  for (; at_key != objects_.end() && at_key->first.starts_with(prefix); ++at_key) {
    const ObjectPointer* object = at(at_key->second, options.version);
    if (object == nullptr || !options.selector.matches(**object)) continue;
    if (options.limit != 0 && page.objects.size() == options.limit) {
      if (page.next.empty()) page.next = at_key->first;
      if (!count_rest) break;
      ++page.remaining;
      continue;
    }
    page.objects.push_back(*object);
  }
  return page;
}

std::deque<Change>::const_iterator Resource::changes_after(uint64_t version) const {
  return std::upper_bound(
      history_.begin(), history_.end(), version,
      [](uint64_t value, const Change& change) { return value < change.version; });
}

void Resource::record(Change change, size_t history_limit) {
  const bool deleted = change.type == ChangeType::kDeleted;
  live_ += change.type == ChangeType::kAdded ? 1 : 0;
  live_ -= deleted ? 1 : 0;
  objects_[change.object->key()].push_back({change.version, deleted ? nullptr : change.object});
  history_.push_back(std::move(change));
  while (history_.size() > history_limit) forget_oldest();
}

// The moment before the oldest change can no longer be seen, nor the version it replaced.
void Resource::forget_oldest() {
  const Change& oldest = history_.front();
  compacted_ = oldest.version;
  const auto found = objects_.find(oldest.object->key());
  if (found != objects_.end()) {
    Versions& versions = found->second;
    const auto keep = std::find_if(versions.begin(), versions.end(), [this](const Version& each) {
      return each.version >= compacted_;
    });
    versions.erase(versions.begin(), keep);
    if (!versions.empty() && !versions.front().object && versions.front().version <= compacted_) {
      versions.erase(versions.begin());
    }
    if (versions.empty()) objects_.erase(found);
  }
  history_.pop_front();
}

void Resource::compact(uint64_t version) {
  while (!history_.empty()) forget_oldest();
  compacted_ = version;
}

Resource& Store::add_type(ResourceType type) {
  const std::string path = type.path();
  auto& slot = resources_[path];
  if (!slot) slot = std::make_unique<Resource>(std::move(type));
  return *slot;
}

Resource* Store::find(std::string_view path) {
  const auto found = resources_.find(path);
  return found == resources_.end() ? nullptr : found->second.get();
}

Resource* Store::find_kind(std::string_view api_version, std::string_view kind) {
  for (const auto& [path, resource] : resources_) {
    const ResourceType& type = resource->type();
    if (type.kind == kind && type.api_version() == api_version) return resource.get();
  }
  return nullptr;
}

void Store::each(const std::function<void(Resource&)>& visit) {
  for (const auto& [path, resource] : resources_) visit(*resource);
}

Result<ObjectPointer> Store::put(Resource& resource, std::string_view json, Mode mode,
                                 const std::optional<std::string>& name_space,
                                 std::string_view name) {
  const ResourceType& type = resource.type();
  ObjectOrigin origin;
  origin.api_version = type.api_version();
  origin.kind = type.kind;
  origin.name_space = type.namespaced ? name_space : std::string();
  origin.resource_version = version_ + 1;
  ObjectPointer object;
  ASSIGN_OR_RETURN(object, make_object(json, origin, name));
  const std::string object_name = type.plural + " " + object->key();
  if (type.namespaced && object->name_space.empty()) {
    return Status::error(StatusCode::kInvalid, "put", object_name, "it needs a namespace");
  }
  const ObjectPointer previous = resource.find(object->key());
  if (previous && mode == Mode::kCreate) {
    return Status::error(StatusCode::kConflict, "create", object_name, "it exists already");
  }
  if (!previous && mode == Mode::kUpdate) {
    return Status::error(StatusCode::kNotFound, "update", object_name, "it does not exist");
  }
  if (previous) {
    origin.previous = previous;
    ASSIGN_OR_RETURN(object, make_object(json, origin, name));
  }
  ++version_;
  resource.record(
      {previous ? ChangeType::kModified : ChangeType::kAdded, version_, object, previous},
      history_limit_);
  return object;
}

Result<ObjectPointer> Store::remove(Resource& resource, const std::string& key) {
  const ObjectPointer previous = resource.find(key);
  if (!previous) {
    return Status::error(StatusCode::kNotFound, "delete", resource.type().plural + " " + key,
                         "it does not exist");
  }
  ++version_;
  const ObjectPointer last = with_version(*previous, version_);
  resource.record({ChangeType::kDeleted, version_, last, previous}, history_limit_);
  return last;
}

void Store::compact() {
  each([this](Resource& resource) { resource.compact(version_); });
}

}  // namespace fairlead::api_server
