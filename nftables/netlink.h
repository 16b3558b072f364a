// The way to the kernel's nf_tables: transactions and dumps over a netlink socket.
//
// An interface, so that tests can make the kernel fail on demand. The real one speaks to the
// network namespace of the thread that opened it.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "nftables/wire.h"

namespace fairlead::nftables {

// What the kernel said no to. Any refusal undoes the whole transaction.
struct Refused {
  int error = 0;  // errno
  uint32_t sequence = 0;
  std::string reason;  // the kernel's own words, when it has any
};

class NetlinkTransport {
 public:
  virtual ~NetlinkTransport() = default;

  // Sends one batch (MessageWriter's batch_begin ... batch_end). Empty: committed. A Status means
  // that the kernel could not be asked, or its answer could not be read.
  virtual Result<std::vector<Refused>> transact(ByteView batch) = 0;

  // Sends one NFT_MSG_GET* message and calls `each` with the attributes of every answer. An answer
  // that the kernel marks as torn by a change in between is kUnavailable: ask again.
  virtual Status dump(ByteView request, const std::function<void(ByteView attributes)>& each) = 0;
};

// `kUnsupported` when the kernel has no nf_tables, `kPermission` without CAP_NET_ADMIN.
Result<std::unique_ptr<NetlinkTransport>> open_netlink();

}  // namespace fairlead::nftables
