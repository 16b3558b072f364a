// Has somebody changed the rules? Asked of the kernel directly, without reading them.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "dataplane/address.h"

namespace fairlead::iptables {

// Number of rules, their size and where the hooks begin (IPT_SO_GET_INFO), mixed into one number; 0
// when the table cannot be had.
Result<uint64_t> legacy_stamp(dataplane::Family family, std::string_view table);

// nf_tables' generation (NFT_MSG_GETGEN), which grows with every transaction of anybody.
Result<uint64_t> nft_stamp();

}  // namespace fairlead::iptables
