#include "ipvs/server_table.h"

#include <algorithm>
#include <cerrno>
#include <unordered_set>

namespace fairlead::ipvs {
namespace {

using dataplane::SocketAddress;
using Kind = Operation::Kind;

// Refusals that say that it is already as we want it.
bool is_done_anyway(Kind kind, int error) {
  switch (kind) {
    case Kind::kRemoveServer:
      return error == ESRCH || error == ENOENT;
    case Kind::kRemoveDestination:
      return error == ENOENT || error == ESRCH;
    default:
      return false;
  }
}

}  // namespace

std::vector<ServerTable::Installed>::iterator ServerTable::place_of(Server& server,
                                                                    const SocketAddress& address) {
  return std::lower_bound(server.destinations.begin(), server.destinations.end(), address,
                          [](const Installed& installed, const SocketAddress& wanted) {
                            return installed.destination.address < wanted;
                          });
}

Status ServerTable::load(const std::function<bool(const ServerKey&)>& ours) {
  std::vector<ListedServer> listed;
  ASSIGN_OR_RETURN(listed, kernel_.servers());
  const auto before = std::move(servers_);
  servers_.clear();
  foreign_.clear();
  draining_.clear();
  destinations_ = 0;
  astray_ = true;  // until all is read
  for (ListedServer& each : listed) {
    if (each.key.family != family_) continue;
    if (!before.contains(each.key) && !ours(each.key)) {
      foreign_.insert(each.key);
      continue;
    }
    Result<std::vector<ListedDestination>> destinations = kernel_.destinations(each.key);
    if (!destinations) {
      if (destinations.status().code() == StatusCode::kNotFound) continue;  // it has just gone
      return destinations.status();
    }
    Server server{std::move(each.settings), {}};
    for (const ListedDestination& destination : *destinations) {
      server.destinations.push_back(
          {destination.destination, destination.masquerading, destination.connections});
      if (destination.destination.weight == 0) draining_.insert(each.key);
    }
    std::sort(server.destinations.begin(), server.destinations.end(),
              [](const Installed& a, const Installed& b) {
                return a.destination.address < b.destination.address;
              });
    destinations_ += server.destinations.size();
    servers_.insert_or_assign(each.key, std::move(server));
  }
  boost::unordered::erase_if(ending_,
                             [this](const ServerKey& key) { return !servers_.contains(key); });
  astray_ = false;
  return {};
}

void ServerTable::plan_end(const WantedServer& wanted, std::vector<Operation>& operations) {
  const auto found = servers_.find(wanted.key);
  if (found == servers_.end()) return;
  if (wanted.graceful && !found->second.destinations.empty()) {
    ending_.insert(wanted.key);
  } else {
    operations.push_back({Kind::kRemoveServer, wanted.key, {}, {}});
  }
}

void ServerTable::plan_server(const WantedServer& wanted,
                              std::vector<Operation>& operations) const {
  const auto found = servers_.find(wanted.key);
  if (found == servers_.end()) {
    operations.push_back({Kind::kAddServer, wanted.key, wanted.settings, {}});
  } else if (found->second.settings != wanted.settings) {
    operations.push_back({Kind::kChangeServer, wanted.key, wanted.settings, {}});
  }
}

void ServerTable::plan_destinations(const WantedServer& wanted,
                                    std::vector<Operation>& operations) const {
  const auto found = servers_.find(wanted.key);
  if (found == servers_.end()) return;  // the kernel refused it
  const Server& server = found->second;
  const auto put = [&](Kind kind, const SocketAddress& address, uint32_t weight) {
    operations.push_back({kind, wanted.key, {}, {address, weight}});
  };
  // Both are sorted. What comes is there before what was there goes.
  std::vector<SocketAddress> leaving;
  auto installed = server.destinations.begin();
  const auto leave = [&] {
    if (!wanted.graceful) {
      leaving.push_back(installed->destination.address);
    } else if (installed->destination.weight != 0) {
      put(Kind::kChangeDestination, installed->destination.address, 0);
    }
    ++installed;
  };
  for (const dataplane::Target& target : *wanted.targets) {
    while (installed != server.destinations.end() &&
           installed->destination.address < target.address) {
      leave();
    }
    if (installed == server.destinations.end() ||
        installed->destination.address != target.address) {
      put(Kind::kAddDestination, target.address, 1);
      continue;
    }
    if (installed->destination.weight != 1 || !installed->masquerading) {
      put(Kind::kChangeDestination, target.address, 1);
    }
    ++installed;
  }
  while (installed != server.destinations.end()) leave();
  for (const SocketAddress& address : leaving) put(Kind::kRemoveDestination, address, 0);
}

void ServerTable::forget(const ServerKey& key) {
  const auto found = servers_.find(key);
  if (found != servers_.end()) {
    destinations_ -= found->second.destinations.size();
    servers_.erase(found);
  }
  draining_.erase(key);
  ending_.erase(key);
}

void ServerTable::disown(const ServerKey& key) {
  forget(key);
  foreign_.insert(key);
}

// The kernel has done it.
void ServerTable::done(const Operation& operation) {
  if (operation.kind == Kind::kRemoveServer) {
    forget(operation.server);
    return;
  }
  Server& server = servers_[operation.server];
  const SocketAddress& address = operation.destination.address;
  const auto place = place_of(server, address);
  const bool known = place != server.destinations.end() && place->destination.address == address;
  switch (operation.kind) {
    case Kind::kAddServer:
    case Kind::kChangeServer:
      server.settings = operation.settings;
      break;
    case Kind::kAddDestination:
    case Kind::kChangeDestination:
      if (known) {
        *place = {operation.destination, true, place->connections};
      } else {
        server.destinations.insert(place, {operation.destination});
        ++destinations_;
      }
      if (operation.destination.weight == 0) draining_.insert(operation.server);
      break;
    case Kind::kRemoveDestination:
      if (known) {
        server.destinations.erase(place);
        --destinations_;
      }
      break;
    case Kind::kRemoveServer:
      break;
  }
}

Status ServerTable::run(const std::vector<Operation>& operations,
                        std::vector<ServerFailure>& failures) {
  if (operations.empty()) return {};
  std::vector<Failure> refused;
  Result<std::vector<Failure>> answer = kernel_.apply(operations);
  if (!answer) {
    astray_ = true;
    return answer.status();
  }
  refused = std::move(*answer);
  std::sort(refused.begin(), refused.end(),
            [](const Failure& a, const Failure& b) { return a.index < b.index; });
  auto next = refused.begin();
  for (size_t i = 0; i < operations.size(); ++i) {
    while (next != refused.end() && next->index < i) ++next;
    const bool failed = next != refused.end() && next->index == i;
    if (!failed || is_done_anyway(operations[i].kind, next->status.system_errno())) {
      done(operations[i]);
      ++operations_;
      continue;
    }
    failures.push_back({operations[i].server, next->status});
    // It was there, or was not, against our books.
    const int error = next->status.system_errno();
    astray_ |= error == EEXIST || error == ENOENT || error == ESRCH;
  }
  return {};
}

Status ServerTable::push(std::span<const WantedServer> wanted,
                         std::vector<ServerFailure>& failures) {
  // Servers by themselves: where one is refused because it is somebody else's, nothing of ours may
  // get into it.
  std::vector<Operation> operations;
  for (const WantedServer& each : wanted) {
    if (each.ending) {
      plan_end(each, operations);
    } else {
      ending_.erase(each.key);
      plan_server(each, operations);
    }
  }
  RETURN_IF_ERROR(run(operations, failures));
  operations.clear();
  for (const WantedServer& each : wanted) plan_destinations(each, operations);
  return run(operations, failures);
}

Status ServerTable::push_removed(std::span<const ServerKey> gone) {
  std::vector<Operation> operations;
  for (const ServerKey& key : gone) {
    if (servers_.contains(key)) operations.push_back({Kind::kRemoveServer, key, {}, {}});
  }
  std::vector<ServerFailure> failures;
  RETURN_IF_ERROR(run(operations, failures));
  return failures.empty() ? Status() : failures[0].status;
}

std::vector<ServerKey> ServerTable::superfluous(std::span<const WantedServer> wanted) const {
  boost::unordered_flat_set<ServerKey, ServerKeyHash> keep;
  keep.reserve(wanted.size());
  for (const WantedServer& each : wanted) keep.insert(each.key);
  std::vector<ServerKey> rest;
  for (const auto& [key, server] : servers_) {
    if (!keep.contains(key)) rest.push_back(key);
  }
  return rest;
}

Status ServerTable::reap() {
  const std::vector<ServerKey> keys(draining_.begin(), draining_.end());
  std::vector<Operation> operations;
  for (const ServerKey& key : keys) {
    Result<std::vector<ListedDestination>> listed = kernel_.destinations(key);
    if (!listed && listed.status().code() == StatusCode::kNotFound) {
      astray_ = true;
      continue;
    }
    if (!listed) return listed.status();
    bool left = false;
    bool serving = false;
    for (const ListedDestination& each : *listed) {
      serving |= each.destination.weight != 0;
      if (each.destination.weight != 0) continue;
      if (each.connections != 0) {
        left = true;
        continue;
      }
      operations.push_back({Kind::kRemoveDestination, key, {}, each.destination});
    }
    if (left) continue;
    draining_.erase(key);
    if (!serving && ending_.contains(key)) {
      operations.push_back({Kind::kRemoveServer, key, {}, {}});
    }
  }
  std::vector<ServerFailure> failures;
  RETURN_IF_ERROR(run(operations, failures));
  return failures.empty() ? Status() : failures[0].status;
}

bool ServerTable::has_connections() const {
  for (const auto& [key, server] : servers_) {
    for (const Installed& each : server.destinations) {
      if (each.connections != 0) return true;
    }
  }
  return false;
}

Status ServerTable::retire() {
  std::vector<Operation> operations;
  for (const auto& [key, server] : servers_) {
    const size_t first = operations.size();
    bool serving = false;
    for (const auto& [destination, masquerading, connections] : server.destinations) {
      serving |= connections != 0;
      if (connections == 0) {
        operations.push_back({Kind::kRemoveDestination, key, {}, destination});
      } else if (destination.weight != 0) {
        operations.push_back({Kind::kChangeDestination, key, {}, {destination.address, 0}});
      }
    }
    if (serving) continue;
    operations.resize(first);
    operations.push_back({Kind::kRemoveServer, key, {}, {}});
  }
  std::vector<ServerFailure> failures;
  RETURN_IF_ERROR(run(operations, failures));
  return failures.empty() ? Status() : failures[0].status;
}

size_t ServerTable::draining() const {
  size_t count = 0;
  for (const ServerKey& key : draining_) {
    const auto found = servers_.find(key);
    if (found == servers_.end()) continue;
    for (const Installed& each : found->second.destinations) {
      count += each.destination.weight == 0 ? 1 : 0;
    }
  }
  return count;
}

}  // namespace fairlead::ipvs
