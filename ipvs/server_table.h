// The virtual servers of one family: which are in the kernel, and what brings them in step.
//
// A destination that goes while TCP connections may live gets weight 0, so that nobody new comes to
// it, and is removed when the last connection has ended (reap()); others are removed at once. A
// server that is ending goes with its last destination.
// Virtual servers of somebody else are known by their keys only, and left alone.
//
// Threads: one owner.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "ipvs/render.h"
#include "ipvs/virtual_server.h"
#include "ipvs/virtual_servers.h"

namespace fairlead::ipvs {

struct ServerFailure {
  ServerKey server;
  Status status;
};

class ServerTable {
 public:
  // Precondition: `kernel` outlives it.
  ServerTable(VirtualServers& kernel, dataplane::Family family)
      : kernel_(kernel), family_(family) {}

  // Reads what is in the kernel. `ours` decides on servers that this run did not make itself.
  Status load(const std::function<bool(const ServerKey&)>& ours);

  // Makes the servers as wanted. What the kernel refuses goes to `failures`. Precondition: of an
  // ending one, nobody new gets to it any more.
  Status push(std::span<const WantedServer> wanted, std::vector<ServerFailure>& failures);
  Status push_removed(std::span<const ServerKey> gone);
  // Ours that are not among `wanted`.
  std::vector<ServerKey> superfluous(std::span<const WantedServer> wanted) const;

  // It is somebody else's from here on. Precondition: it is one of ours.
  void disown(const ServerKey& key);

  // Removes destinations that were left to end and have no connection any more, and ending servers
  // that have no other.
  Status reap();

  // Did any of ours have connections when they were loaded?
  bool has_connections() const;
  // Of ours only what had connections when it was loaded stays, with weight 0. Precondition: nobody
  // new gets to them.
  Status retire();
  bool contains(const ServerKey& key) const { return servers_.contains(key); }
  std::vector<ServerKey> keys() const { return superfluous({}); }

  bool foreign(const ServerKey& key) const { return foreign_.contains(key); }
  // The kernel is not as we thought it was: load() again.
  bool astray() const { return astray_; }

  size_t size() const { return servers_.size(); }
  size_t destinations() const { return destinations_; }
  size_t draining() const;
  uint64_t operations() const { return operations_; }

 private:
  struct Installed {
    Destination destination;
    bool masquerading = true;
    uint32_t connections = 0;  // when it was loaded
  };
  struct Server {
    ServerSettings settings;
    std::vector<Installed> destinations;  // sorted by address
  };

  void plan_server(const WantedServer& wanted, std::vector<Operation>& operations) const;
  void plan_end(const WantedServer& wanted, std::vector<Operation>& operations);
  void plan_destinations(const WantedServer& wanted, std::vector<Operation>& operations) const;
  Status run(const std::vector<Operation>& operations, std::vector<ServerFailure>& failures);
  void done(const Operation& operation);
  void forget(const ServerKey& key);
  static std::vector<Installed>::iterator place_of(Server& server,
                                                   const dataplane::SocketAddress& address);

  VirtualServers& kernel_;
  const dataplane::Family family_;
  boost::unordered_flat_map<ServerKey, Server, ServerKeyHash> servers_;
  boost::unordered_flat_set<ServerKey, ServerKeyHash> foreign_;
  // Servers with destinations of weight 0.
  boost::unordered_flat_set<ServerKey, ServerKeyHash> draining_;
  boost::unordered_flat_set<ServerKey, ServerKeyHash> ending_;  // of them, those that go themselves
  size_t destinations_ = 0;
  uint64_t operations_ = 0;
  bool astray_ = false;
};

}  // namespace fairlead::ipvs
