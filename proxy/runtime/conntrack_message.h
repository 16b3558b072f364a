// The wire form of conntrack flows (nfnetlink_conntrack): read and written without the kernel.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "base/netlink.h"
#include "proxy/runtime/conntrack_table.h"

namespace fairlead::proxy {

// The flow in the payload of an IPCTNL_MSG_CT_NEW message; nullopt for other transports than those
// of dataplane::Protocol and for anything malformed.
std::optional<ConntrackFlow> parse_conntrack_flow(netlink::Bytes payload);

// A dump request. With `kernel_filter` the kernel is asked to pass only what the filter says;
// kernels before 5.8 do not know that.
netlink::MessageBuilder conntrack_dump_request(const ConntrackFilter& filter, bool kernel_filter);

netlink::MessageBuilder conntrack_delete_request(const ConntrackFlow& flow);

}  // namespace fairlead::proxy
