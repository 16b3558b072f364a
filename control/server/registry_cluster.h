// The API server in this process, as the controllers see one: controllers::Cluster over the
// registry, without a socket, text or copies in between.
//
// Threads: as controllers::Cluster. Watches are read on a thread of its own, so that decoding what
// changed holds up neither the store nor the controllers.
#pragma once

#include <memory>
#include <string>

#include "control/apiserver/registry.h"
#include "control/controllers/cluster.h"
#include "control/controllers/loop.h"

namespace fairlead::server {

// What the API said, as the controllers' seam has it.
Status status_of(const apiserver::ApiError& error);

class RegistryCluster final : public controllers::Cluster {
 public:
  // `registry` outlives this and its watches. All writes are `user`'s.
  RegistryCluster(apiserver::Registry& registry, auth::User user);
  ~RegistryCluster() override;

  void get(controllers::Reference what, Done<controllers::ObjectPtr> done) override;
  void list(controllers::Scope scope, Done<controllers::Listing> done) override;
  std::unique_ptr<controllers::Watch> watch(controllers::Scope scope, std::string from,
                                            controllers::WatchHandler handler) override;
  void create(controllers::Reference where, schema::Document body,
              Done<controllers::ObjectPtr> done) override;
  void update(controllers::Reference what, std::string subresource, schema::Document body,
              Done<controllers::ObjectPtr> done) override;
  void merge_patch(controllers::Reference what, std::string subresource, schema::Document patch,
                   Done<controllers::ObjectPtr> done) override;
  void remove(controllers::Reference what, controllers::RemoveOptions options,
              Done<controllers::ObjectPtr> done) override;
  void remove_all(controllers::Scope scope, Done<bool> done) override;

 private:
  apiserver::WriteContext context() const;

  apiserver::Registry& registry_;
  const auth::User user_;
  const std::shared_ptr<controllers::ThreadLoop> reader_;
};

}  // namespace fairlead::server
