// The objects that every cluster has: four namespaces, and the service "kubernetes" with this and
// all other living servers as its endpoints.
//
// A server is alive as long as its key below /masterleases/ is, which it makes with a lease. All
// objects are applied, so that what is there already stays and what got lost comes again.
//
// Threads: one owner, not a thread of the pool: the functions block. The registry and the store
// must outlive it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "control/apiserver/registry.h"
#include "control/apiserver/service_reserver.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

struct SystemOptions {
  std::string address;  // under which clients reach this server; empty: no endpoint
  uint16_t port = 6443;
  ServiceRanges ranges;
  std::string client_ca;  // PEM: by which other components know the clients that this server knows
};

class SystemObjects {
 public:
  SystemObjects(Registry& registry, store::Store& store, SystemOptions options)
      : registry_(registry), store_(store), options_(std::move(options)) {}

  // Makes what is missing, keeps this server alive and the endpoints right. To be called before
  // clients are served, and every kInterval. What fails is the first error, and is tried again with
  // the next call; the rest is done all the same.
  Status refresh();
  // This server stops: the others take it out of the endpoints.
  void leave();

  static constexpr int kInterval = 5;  // seconds

 private:
  Status apply(std::string_view group, std::string_view version, std::string_view plural,
               std::string_view space, std::string_view name, const std::string& body);
  Status make_namespaces();
  Status make_authentication();
  Status make_service();
  Status make_endpoints();
  // KEP-1880: proxies drop what no service has inside these ranges. An object that was made for
  // others stays: it cannot be changed, and the server works without.
  void make_service_cidr();
  Result<std::vector<std::string>> living();

  Registry& registry_;
  store::Store& store_;
  const SystemOptions options_;
  store::LeaseId lease_ = 0;
  bool authentication_made_ = false;
};

}  // namespace fairlead::apiserver
