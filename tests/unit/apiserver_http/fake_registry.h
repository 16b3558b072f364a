// A registry in memory: objects of any kind by namespace and name, watches with a history that a
// test can expire. What the front end does with answers and errors is tested against it.
//
// Threads: any.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "control/apiserver/registry.h"

namespace fairlead::apiserver {

class FakeRegistry : public Registry {
 public:
  void get(Target target, std::string version, Done<ObjectPtr> done) override;
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

  // Appends a change that every watch sees.
  void emit(WatchEvent event);
  void expire_watches();
  void refuse_watches(ApiError error);
  size_t watches() const;
  // Completions wait until released.
  void hold(bool hold);

  struct Seen {
    WriteContext context;
    DeleteOptions deletion;
    std::optional<PatchType> patch;
    bool force = false;
  };
  Seen seen() const;

 private:
  class FakeWatch;
  void complete(std::function<void()> work);

  mutable std::mutex mutex_;
  std::map<std::string, ObjectPtr> objects_;
  std::vector<WatchEvent> history_;
  std::vector<FakeWatch*> watches_;
  std::vector<std::function<void()>> held_;
  bool hold_ = false;
  bool expired_ = false;
  std::optional<ApiError> refusal_;  // of watches
  Seen seen_;
};

// An object of a kind, from its JSON.
ObjectPtr object_from(const schema::Resource& resource, std::string_view json,
                      store::Revision revision = 1);

}  // namespace fairlead::apiserver
