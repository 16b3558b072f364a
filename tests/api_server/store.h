// Objects by type, in versions: lists see one moment even when they come in pages, watches resume
// from a bounded history. One counter numbers every change of every type.
//
// Threads: one owner; the objects themselves may be read anywhere.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tests/api_server/object.h"
#include "tests/api_server/selector.h"

namespace fairlead::api_server {

struct ResourceType {
  std::string group = {};    // empty: the core group
  std::string version = {};  // "v1"
  std::string plural = {};   // "services"
  std::string kind = {};     // "Service"
  bool namespaced = true;

  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  std::string prefix() const {  // "/api/v1", "/apis/discovery.k8s.io/v1"
    return (group.empty() ? "/api/" : "/apis/" + group + "/") + version;
  }
  std::string path() const { return prefix() + "/" + plural; }
};

enum class ChangeType { kAdded, kModified, kDeleted };

struct Change {
  ChangeType type;
  uint64_t version;
  ObjectPointer object;    // as of this change: for kDeleted the last state with a new version
  ObjectPointer previous;  // null for kAdded
};

struct ListOptions {
  std::string name_space = {};  // empty: all
  Selector selector = {};
  size_t limit = 0;        // 0: everything
  uint64_t version = 0;    // the moment to look at
  std::string start = {};  // the first key to look at
};

struct ListPage {
  std::vector<ObjectPointer> objects;
  std::string next;      // the first key of the next page; empty: this was the last
  size_t remaining = 0;  // objects after this page
};

class Resource {
 public:
  explicit Resource(ResourceType type) : type_(std::move(type)) {}

  const ResourceType& type() const { return type_; }
  ObjectPointer find(const std::string& key) const;  // null when it does not exist now
  size_t size() const { return live_; }

  // Precondition: options.version >= compacted(). `count_rest`: fill `remaining`.
  ListPage list(const ListOptions& options, bool count_rest) const;

  // What happened after `version`, oldest first. Precondition: version >= compacted().
  std::deque<Change>::const_iterator changes_after(uint64_t version) const;
  const std::deque<Change>& history() const { return history_; }
  // Moments before this one are forgotten.
  uint64_t compacted() const { return compacted_; }

  void record(Change change, size_t history_limit);
  void compact(uint64_t version);

 private:
  struct Version {
    uint64_t version;
    ObjectPointer object;  // null: deleted
  };
  using Versions = std::vector<Version>;

  static const ObjectPointer* at(const Versions& versions, uint64_t moment);
  void forget_oldest();

  const ResourceType type_;
  std::map<std::string, Versions, std::less<>> objects_;
  std::deque<Change> history_;
  uint64_t compacted_ = 0;
  size_t live_ = 0;
};

class Store {
 public:
  explicit Store(size_t history_limit) : history_limit_(history_limit) {}

  Resource& add_type(ResourceType type);
  Resource* find(std::string_view path);  // of the type: "/api/v1/services"
  Resource* find_kind(std::string_view api_version, std::string_view kind);
  uint64_t version() const { return version_; }
  void each(const std::function<void(Resource&)>& visit);

  enum class Mode { kCreate, kUpdate, kUpsert };
  // kConflict when it exists (kCreate), kNotFound when not (kUpdate). `name_space` nullopt: the
  // text's.
  Result<ObjectPointer> put(Resource& resource, std::string_view json, Mode mode,
                            const std::optional<std::string>& name_space,
                            std::string_view name = {});
  Result<ObjectPointer> remove(Resource& resource, const std::string& key);
  void compact();  // forgets every moment but the present

 private:
  std::map<std::string, std::unique_ptr<Resource>, std::less<>> resources_;
  const size_t history_limit_;
  uint64_t version_ = 1;
};

}  // namespace fairlead::api_server
