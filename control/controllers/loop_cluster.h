// A cluster whose completions and events come on the controllers' loop, and no more once it is
// gone: what the controllers use.
//
// Threads: made, used and destroyed on the loop.
#pragma once

#include <memory>
#include <string>

#include "control/controllers/cluster.h"
#include "control/controllers/loop.h"

namespace fairlead::controllers {

class LoopCluster final : public Cluster {
 public:
  // `cluster` outlives this.
  LoopCluster(Cluster& cluster, std::shared_ptr<Loop> loop)
      : cluster_(cluster), loop_(std::move(loop)) {}

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
  template <typename T>
  Done<T> on_loop(Done<T> done);

  Cluster& cluster_;
  std::shared_ptr<Loop> loop_;
  Token token_;
};

}  // namespace fairlead::controllers
