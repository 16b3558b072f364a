// The registry's parts, which the registry_*.cc files implement: one file for reads, watches,
// writes, removals and each family of subresources.
//
// Threads: as registry.h. Each request is a coroutine that has its state in its frame.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/apiserver/codec.h"
#include "control/apiserver/registry_open.h"
#include "control/apiserver/snapshots.h"
#include "control/apiserver/strategies.h"
#include "control/apiserver/task.h"

namespace fairlead::apiserver {

// One write on its way, as long as its coroutine.
struct WriteRequest {
  Target target;
  WriteContext context;
  const schema::Resource* storage = nullptr;  // all work is done in this version
  const Strategy* strategy = nullptr;
  std::string key;
  std::string subresource;
  std::vector<std::string> warnings;
  bool applied = false;      // managed fields are written already
  bool conditional = false;  // a PUT: an unset resourceVersion is judged

  WriteRequest(Target target, WriteContext context);
  ApiError not_found() const { return apiserver::not_found(*target.resource, target.name); }
  ApiError modified() const;
};

// The error of a target that nobody answers here, if it is one.
inline std::optional<ApiError> unserved(const Target& target) {
  if (target.subresource == nullptr || target.subresource->served) return std::nullopt;
  return not_served(*target.resource, *target.subresource);
}

// What became of an attempt to write.
struct Attempt {
  // Empty: somebody was faster, and `current` is what is there now (null: nothing).
  std::optional<Outcome<Written>> answer;
  store::EntryPtr current;
};

class RegistryImpl : public Registry {
 public:
  RegistryImpl(store::Store& store, WorkerPool& pool, Hooks hooks, SecondsClock clock)
      : store_(store), pool_(pool), hooks_(std::move(hooks)), clock_(std::move(clock)) {}
  ~RegistryImpl() override;

  void get(Target target, std::string resource_version, Done<ObjectPtr> done) override;
  void list(Target target, ListOptions options, Done<ListAnswer> done) override;
  void watch(Target target, WatchOptions options, std::function<void()> ready,
             Done<std::unique_ptr<ObjectWatch>> done) override;
  void create(Target target, schema::Document body, WriteContext context,
              Done<Written> done) override;
  void update(Target target, schema::Document body, WriteContext context,
              Done<Written> done) override;
  void patch(Target target, PatchType type, schema::Document body, bool force, WriteContext context,
             Done<Written> done) override;
  void remove(Target target, DeleteOptions options, WriteContext context,
              Done<Written> done) override;
  void remove_collection(Target target, ListOptions which, DeleteOptions options,
                         WriteContext context, Done<ListAnswer> done) override;

 private:
  template <typename T>
  using Answer = Task<Outcome<T>>;

  // registry_read.cc
  Answer<ObjectPtr> do_get(Target target, std::string resource_version);
  Answer<ListAnswer> do_list(Target target, ListOptions options);
  Answer<std::unique_ptr<ObjectWatch>> do_watch(Target target, WatchOptions options,
                                                std::function<void()> ready);
  StoreCall<Result<store::RangeResult>> range(store::RangeRequest request);
  Answer<store::EntryPtr> load(std::string key);  // null when there is none

  // registry_write.cc
  StoreCall<Result<store::WriteOutcome>> put(std::string key, std::string value,
                                             store::Expect expect, store::LeaseId lease);
  Answer<Written> do_create(Target target, schema::Document body, WriteContext context);
  Answer<Written> do_update(Target target, schema::Document body, WriteContext context);
  Answer<Written> do_patch(Target target, PatchType type, schema::Document body, bool force,
                           WriteContext context);
  Answer<Written> create_object(WriteRequest& request, schema::Document body);
  // Puts `next` where `current` is; `old` is what that holds, null for a creation.
  Task<Attempt> commit(WriteRequest& request, schema::Document& next, const schema::Value* old,
                       store::EntryPtr current);
  Answer<Done0> admit(Write& write);
  Answer<std::vector<std::unique_ptr<Reservation>>> reserve(Write& write);
  Task<Done0> settle(std::vector<std::unique_ptr<Reservation>>& made, bool happened);
  Task<Result<store::LeaseId>> lease_for(const WriteRequest& request);
  void forget_lease(store::LeaseId lease);

  // registry_delete.cc
  StoreCall<Result<store::WriteOutcome>> erase(std::string key, store::Expect expect);
  Answer<Written> do_remove(Target target, DeleteOptions options, WriteContext context);
  Answer<ListAnswer> do_remove_collection(Target target, ListOptions which, DeleteOptions options,
                                          WriteContext context);
  // Takes the object out of the store, with what was reserved for it.
  Task<Attempt> erase_object(WriteRequest& request, const schema::Value& old,
                             store::EntryPtr current);
  Task<Attempt> remove_once(WriteRequest& request, const DeleteOptions& options,
                            store::EntryPtr current);

  // registry_subresource.cc
  Answer<Written> bind(WriteRequest& request, schema::Document body);
  // registry_evict.cc
  Answer<Written> evict(WriteRequest& request, schema::Document body);
  // With *changed: the pod is not what the decision was about any more.
  Answer<Written> evict_once(WriteRequest& request, const DeleteOptions& wanted, bool* changed);
  // kNone: a budget covers the pod, but its going as it is now takes nothing from it.
  enum class Disruption { kNone, kPaid };
  Answer<Disruption> take_disruption(const schema::Value& pod, const WriteRequest& request);
  Answer<Done0> mark_disrupted(WriteRequest& request, DeleteOptions& options);

  template <typename T>
  void launch(Answer<T> task, Done<T> done) {
    begin();
    auto shared = std::make_shared<Answer<T>>(std::move(task));
    pool_.dispatch([this, shared, done = std::move(done)] {
      start<Outcome<T>>(std::move(*shared), [this, done](Outcome<T> outcome) {
        done(std::move(outcome));
        end();
      });
    });
  }
  void begin();
  void end();

  store::Store& store_;
  WorkerPool& pool_;
  Hooks hooks_;
  SecondsClock clock_;
  ObjectCache cache_;
  Snapshots snapshots_;

  std::mutex mutex_;
  std::condition_variable idle_;
  size_t running_ = 0;
  store::LeaseId event_lease_ = 0;
  // No new events take it from then on. The wall clock may be put back.
  std::chrono::steady_clock::time_point event_lease_until_;
};

// Checks that a body is what the URL says and makes it an object of `resource` (Conform::kObject
// with defaults) or a part of one.
Outcome<Done0> take_body(schema::Document& body, const schema::Resource& resource,
                         const schema::Type& type, std::string_view api_version,
                         std::string_view kind, schema::Conform mode, WriteRequest& request);
// Names in a body against those of the request; sets the namespace where the body has none.
Outcome<Done0> check_names(schema::Document& body, const WriteRequest& request);
// uid and resourceVersion against what is there.
Outcome<Done0> check_preconditions(const WriteRequest& request, const DeleteOptions& options,
                                   const schema::Value& old);
Outcome<Done0> check_propagation(const DeleteOptions& options);

struct PodCondition {
  std::string_view type;
  std::string_view reason = {};
  std::string_view message = {};
};
// Sets a condition of a pod to True, with its time.
void set_condition(schema::Document& object, const PodCondition& condition, int64_t now);

// A number, or the error in the words of the API.
Outcome<store::Revision> parse_revision(std::string_view text);
std::string new_uid();
std::string name_suffix();
// A Status of success about an object.
ObjectPtr success_status(const schema::Resource& resource, std::string_view name,
                         std::string_view uid, int code);

// The Scale of an object that has the subresource, and a Scale written back into it.
schema::Document scale_of(const schema::Value& object, const schema::Resource& resource);
void scale_into(schema::Document& object, const schema::Value& scale);
// What clients see of `object` through the target's subresource.
schema::Document view_of(const schema::Value& object, const WriteRequest& request);

}  // namespace fairlead::apiserver
