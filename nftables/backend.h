// The nftables mode: table `fairlead` in families ip and ip6, kept in step element by element.
//
// docs/nftables.md describes the tables and gives the measurements behind their shape.
#pragma once

#include <memory>

#include "base/status.h"
#include "dataplane/backend.h"
#include "nftables/family_table.h"
#include "nftables/netlink.h"
#include "nftables/text_client.h"

namespace fairlead::nftables {

// What the kernel and this process lack for the mode, each with how to get it; ok when nothing.
Status probe();

// A backend on the network namespace of the calling thread.
Result<std::unique_ptr<dataplane::Backend>> create_backend(FamilyOptions options);

// The same on given seams, for tests.
std::unique_ptr<dataplane::Backend> create_backend(std::unique_ptr<NetlinkTransport> transport,
                                                   std::unique_ptr<TextClient> text,
                                                   FamilyOptions options);

}  // namespace fairlead::nftables
