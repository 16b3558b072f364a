// The kernel's connection tracking table, as far as the reconciler needs it: list one family and
// protocol as a stream, delete one entry.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/status.h"
#include "dataplane/address.h"

namespace fairlead::proxy {

struct ConntrackTuple {
  dataplane::SocketAddress source;
  dataplane::SocketAddress destination;

  friend bool operator==(const ConntrackTuple&, const ConntrackTuple&) = default;
};

struct ConntrackFlow {
  dataplane::Protocol protocol = dataplane::Protocol::kUdp;
  ConntrackTuple original;
  ConntrackTuple reply;
  uint32_t id = 0;  // the kernel's; guards against deleting a flow that took the same tuple since
  uint16_t zone = 0;
  bool answered = true;  // a reply has been seen

  friend bool operator==(const ConntrackFlow&, const ConntrackFlow&) = default;
};

struct ConntrackFilter {
  dataplane::Family family = dataplane::Family::kIPv4;
  dataplane::Protocol protocol = dataplane::Protocol::kUdp;
  // Only flows whose original destination is this address.
  std::optional<dataplane::Address> destination;
};

class ConntrackTable {
 public:
  virtual ~ConntrackTable() = default;
  // Calls `visit` for each flow that passes the filter; a table that filters only roughly may pass
  // more. Nothing is kept: memory does not grow with the table. `visit` may call remove().
  virtual Status list(const ConntrackFilter& filter,
                      const std::function<bool(const ConntrackFlow&)>& visit) = 0;
  // kNotFound when the flow has gone meanwhile.
  virtual Status remove(const ConntrackFlow& flow) = 0;
};

// The table of the network namespace of the calling thread at the time of the call. kUnsupported
// when the kernel has no nf_conntrack_netlink, kPermission without CAP_NET_ADMIN.
Result<std::unique_ptr<ConntrackTable>> open_kernel_conntrack();

}  // namespace fairlead::proxy
