// The way to the kernel's IPVS: changes in batches, and dumps, by generic netlink.
//
// An interface, so that tests can have a kernel without IPVS, and one that fails on demand. The
// real one speaks to the network namespace of the thread that opened it.
//
// Threads: one owner.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "ipvs/virtual_server.h"

namespace fairlead::ipvs {

class VirtualServers {
 public:
  virtual ~VirtualServers() = default;

  // Every operation by itself, in order; those that the kernel refused are returned, the others are
  // done. A Status means that the kernel could not be asked, or its answers not be read: any number
  // may be done.
  virtual Result<std::vector<Failure>> apply(std::span<const Operation> operations) = 0;

  // All virtual servers of the namespace, of both families, whoever made them.
  virtual Result<std::vector<ListedServer>> servers() = 0;
  // kNotFound: there is no such virtual server.
  virtual Result<std::vector<ListedDestination>> destinations(const ServerKey& server) = 0;

  virtual Status set_timeouts(const Timeouts& timeouts) = 0;
};

// kUnsupported when the kernel has no IPVS. Whether this process may change anything shows at the
// first change.
Result<std::unique_ptr<VirtualServers>> open_virtual_servers();

}  // namespace fairlead::ipvs
