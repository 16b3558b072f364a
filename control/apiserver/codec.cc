#include "control/apiserver/codec.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "control/schema/conform.h"
#include "control/schema/json_text.h"

namespace fairlead::apiserver {

namespace {

using schema::Document;
using schema::Resource;
using schema::Value;

std::string stored_head(const Resource& storage) {
  return fmt::format(R"({{"apiVersion":"{}","kind":"{}","metadata":{{)", storage.api_version(),
                     storage.kind);
}

class StoredObject : public Object {
 public:
  StoredObject(store::EntryPtr entry, store::Revision revision, const Resource& resource)
      : entry_(std::move(entry)), revision_(revision), resource_(resource) {}

  const Resource* resource() const override { return &resource_; }
  const Value& value() const override {
    std::call_once(once_, [this] {
      const Resource& storage = storage_of(resource_);
      document_ = decode_stored(*entry_, revision_, storage);
      convert(document_, storage, resource_);
    });
    return document_.root;
  }
  void append_json(std::string* out) const override {
    const Resource& storage = storage_of(resource_);
    const std::string_view text = entry_->value;
    // Without a format that parses, for lists are long.
    const size_t head = text.find('{', 1);
    if (&storage != &resource_ || head == std::string_view::npos || head + 2 >= text.size() ||
        !text.substr(0, head).ends_with("\"metadata\":")) {
      return schema::append_json(value(), out);
    }
    out->append(text.substr(0, head + 1));
    out->append("\"resourceVersion\":\"");
    out->append(std::to_string(revision_));
    out->append(text[head + 1] == '}' ? "\"" : "\",");
    out->append(text.substr(head + 1));
  }
  size_t json_size() const override {
    constexpr size_t kResourceVersion = 48;
    return entry_->value.size() + kResourceVersion;
  }
  const schema::Type* type() const override { return resource_.type(); }
  store::Revision revision() const override { return revision_; }

 private:
  const store::EntryPtr entry_;
  const store::Revision revision_;
  const Resource& resource_;
  mutable std::once_flag once_;
  mutable Document document_;
};

}  // namespace

std::string resource_prefix(const Resource& resource) {
  const Resource& storage = storage_of(resource);
  std::string prefix = "/registry/";
  prefix += storage.group.empty() ? std::string_view("core") : storage.group;
  prefix += '/';
  prefix += storage.plural;
  prefix += '/';
  return prefix;
}

std::string space_prefix(const Resource& resource, std::string_view space) {
  std::string prefix = resource_prefix(resource);
  if (!space.empty() && resource.namespaced) prefix.append(space).append("/");
  return prefix;
}

std::string object_key(const Resource& resource, std::string_view space, std::string_view name) {
  return space_prefix(resource, space).append(name);
}

std::string encode_stored(const Value& object, const Resource& storage) {
  std::string text = stored_head(storage);
  bool first = true;
  for (const schema::Member& member : object.get("metadata").members()) {
    if (member.key == "resourceVersion" || member.key == "selfLink") continue;
    if (!first) text += ',';
    first = false;
    schema::append_json_string(member.key, &text);
    text += ':';
    schema::append_json(member.value, &text);
  }
  text += '}';
  for (const schema::Member& member : object.members()) {
    if (member.key == "apiVersion" || member.key == "kind" || member.key == "metadata") continue;
    text += ',';
    schema::append_json_string(member.key, &text);
    text += ':';
    schema::append_json(member.value, &text);
  }
  text += '}';
  return text;
}

Document decode_stored(const store::Entry& entry, store::Revision revision,
                       const Resource& storage) {
  Result<Document> parsed = schema::parse_json(entry.value, {store::kMaxValueBytes, 512});
  Document document;
  if (parsed && parsed->root.is_object()) {
    document = std::move(parsed).value();
  } else {
    document.root = Value::object();
    document.root.append(document.arena, "apiVersion",
                         Value::string(document.arena.copy(storage.api_version())));
    document.root.append(document.arena, "kind", Value::string(storage.kind));
    const size_t slash = entry.key.rfind('/');
    document.root.ensure(document.arena, "metadata")
        .set(document.arena, "name",
             Value::string(document.arena.copy(entry.key.substr(slash + 1))));
  }
  document.root.ensure(document.arena, "metadata")
      .set(document.arena, "resourceVersion",
           Value::string(document.arena.copy(std::to_string(revision))));
  schema::sort_deep(document.root);
  return document;
}

ObjectPtr stored_object(store::EntryPtr entry, store::Revision revision, const Resource& resource) {
  return std::make_shared<StoredObject>(std::move(entry), revision, resource);
}

ObjectPtr ObjectCache::get(const store::EntryPtr& entry, store::Revision revision,
                           const Resource& resource) {
  const size_t where =
      static_cast<size_t>(revision) * 2 + (entry->mod_revision == revision ? 0 : 1);
  std::vector<Slot> gone;  // destroyed without the lock
  const MutexLock lock(mutex_);
  const Slot& slot = slots_.at(where);
  if (slot.entry == entry.get() && slot.resource == &resource && slot.revision == revision) {
    return slot.object;
  }
  const ObjectPtr object = stored_object(entry, revision, resource);
  gone = slots_.put(where, {entry.get(), &resource, revision, object});
  return object;
}

}  // namespace fairlead::apiserver
