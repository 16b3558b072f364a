// One resource's objects, kept equal to the server's by list and watch, with indexes; shared by all
// controllers that need them.
//
// What a controller wrote itself is in the cache as soon as the answer has come (learn()), so that
// the next plan for the same key does not write it again. An older event does not undo it.
//
// Threads: the loop's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/controllers/cluster.h"
#include "control/controllers/loop.h"

namespace fairlead::controllers {

class Informer {
 public:
  // Null `before`: is new. Null `after`: is gone. The cache is as after the change.
  using Handler = std::function<void(const ObjectPtr& before, const ObjectPtr& after)>;
  // Appends the keys under which an object is found.
  using Indexer = std::function<void(const schema::Value& object, std::vector<std::string>* keys)>;

  Informer(Cluster& cluster, Loop& loop, Scope scope);

  // Before start().
  size_t add_index(Indexer indexer);
  // Handlers hear of what is there already as new.
  void add_handler(Handler handler);
  // Called once the first list is complete; at once when it is.
  void on_synced(std::function<void()> done);

  void start();
  bool synced() const { return synced_; }

  // Null when there is none.
  ObjectPtr get(std::string_view space, std::string_view name) const;
  const std::map<std::string, ObjectPtr, std::less<>>& in_space(std::string_view space) const;
  void for_each(const std::function<void(const ObjectPtr&)>& visit) const;
  // By namespace and name.
  std::vector<ObjectPtr> by_index(size_t index, const std::string& key) const;
  size_t index_size(size_t index, const std::string& key) const;

  // What a write was answered with.
  void learn(const ObjectPtr& object);
  // A removal that was answered as complete.
  void learn_gone(std::string_view space, std::string_view name, std::string_view uid);

  const schema::Resource& resource() const { return *scope_.resource; }
  // How often the list was made.
  uint64_t lists() const { return lists_; }

 private:
  struct Index {
    Indexer indexer;
    // Key to the keys of objects.
    std::unordered_map<std::string, std::set<std::string>> entries;
  };

  void list();
  // `task` after a delay that grows while watches do not last.
  void later(std::function<void()> task);
  void listed(Result<Listing> listing);
  void watch();
  void apply(std::vector<Event> events);
  void ended(Status status);
  void replace(const Listing& listing);
  void put(const ObjectPtr& object);
  void take_out(std::string_view space, std::string_view name);
  void reindex(const schema::Value* before, const schema::Value* after);
  void notify(const ObjectPtr& before, const ObjectPtr& after);

  Cluster& cluster_;
  Loop& loop_;
  const Scope scope_;
  std::map<std::string, std::map<std::string, ObjectPtr, std::less<>>, std::less<>> objects_;
  std::vector<Index> indexes_;
  std::vector<Handler> handlers_;
  std::vector<std::function<void()>> waiting_;
  std::unique_ptr<Watch> watch_;
  std::string position_;        // the revision of the last event or list
  std::set<std::string> gone_;  // uids that learn_gone() took out and the watch still speaks of
  bool started_ = false;
  bool synced_ = false;
  int failures_ = 0;  // of lists and watches, since one lasted
  TimePoint watching_since_{};
  uint64_t lists_ = 0;
  Token token_;
};

// The informers of one run of the controllers, made as they are asked for.
class Informers {
 public:
  Informers(Cluster& cluster, Loop& loop) : cluster_(cluster), loop_(loop) {}

  Informer& of(const schema::Resource& resource);
  void start();
  // As Informer::learn(), for whoever watches this resource; otherwise nothing.
  void learn(const schema::Resource& resource, const ObjectPtr& object);
  void learn_gone(const Reference& what, std::string_view uid);

 private:
  Cluster& cluster_;
  Loop& loop_;
  std::map<const schema::Resource*, std::unique_ptr<Informer>> informers_;
};

}  // namespace fairlead::controllers
