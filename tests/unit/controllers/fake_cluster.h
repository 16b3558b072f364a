// A cluster in memory, with the server's rules that controllers depend on (revisions, finalizers,
// propagation, namespaces that terminate), and faults on demand.
//
// Threads: the test's. Answers come inside the call.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/controllers/cluster.h"

namespace fairlead::controllers {

class FakeCluster final : public Cluster {
 public:
  // Asked before each request ("create pods a/b"); an error is its answer.
  std::function<Status(const std::string& request)> fault;
  // Called after each write was done, with the same text.
  std::function<void(const std::string& request)> wrote;

  // Objects as people write them: YAML, kind by kind. Fails the test when it does not parse.
  ObjectPtr put(std::string_view yaml);  // creates or replaces, status and all
  void erase(std::string_view plural, std::string_view space, std::string_view name);
  ObjectPtr find(std::string_view plural, std::string_view space, std::string_view name) const;
  std::vector<ObjectPtr> all(std::string_view plural, std::string_view space = "") const;
  // Changes by a merge patch in YAML.
  void change(std::string_view plural, std::string_view space, std::string_view name,
              std::string_view patch);

  // Ends all watches: with kExpired, or ok as a server does that closes. What they had not heard
  // yet they never will.
  void lose_watches(Status why);
  // Watches hear nothing of this resource until resume().
  void pause(std::string_view plural) { paused_.emplace(plural); }
  void resume();
  // Lists are made when they are asked for, and answered when they are let go.
  void hold_lists() { holds_lists_ = true; }
  void let_lists_go();
  // "verb plural space/name" of every write since the last call.
  std::vector<std::string> take_writes();

  void get(Reference what, Done<ObjectPtr> done) override;
  void list(Scope scope, Done<Listing> done) override;
  std::unique_ptr<Watch> watch(Scope scope, std::string from, WatchHandler handler) override;
  void create(Reference where, schema::Document body, Done<ObjectPtr> done) override;
  void update(Reference what, std::string subresource, schema::Document body,
              Done<ObjectPtr> done) override;
  void merge_patch(Reference what, std::string subresource, schema::Document patch,
                   Done<ObjectPtr> done) override;
  void remove(Reference what, RemoveOptions options, Done<ObjectPtr> done) override;
  void remove_all(Scope scope, Done<bool> done) override;

 private:
  class FakeWatch;
  using Key = std::pair<std::string, std::string>;  // plural, "space/name"

  Status ask(std::string_view verb, const Reference& what);
  ObjectPtr store(const Reference& what, schema::Document body, bool fresh);
  Result<ObjectPtr> removed(const Reference& what, const RemoveOptions& options);
  void drop(const Key& key);
  void tell(Event::Type type, const Key& key, const ObjectPtr& object);
  void deliver(const Key& key, const Event& event);
  std::string next_revision() { return std::to_string(++revision_); }

  std::map<Key, ObjectPtr> objects_;
  std::set<FakeWatch*> watches_;
  std::vector<std::pair<Key, Event>> held_;
  std::vector<std::pair<Key, Event>> log_;  // all there ever was, for watches from a revision
  bool holds_lists_ = false;
  std::vector<std::function<void()>> held_lists_;
  std::vector<std::string> writes_;
  uint64_t revision_ = 100;
  uint64_t uids_ = 0;
  uint64_t names_ = 0;
  std::set<std::string> paused_;
};

}  // namespace fairlead::controllers
