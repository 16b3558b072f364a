// Which zone shall use which endpoint (KEP-2433, KEP-4444).
//
// In mode Auto each zone gets endpoints for its share of the nodes' CPU; an endpoint is lent to
// another zone only where a zone would otherwise carry more than 1.2 times its share.
//
// Threads: pure functions.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/controllers/slices.h"

namespace fairlead::controllers {

enum class HintMode : uint8_t { kNone, kOwnZone, kByShare };
HintMode hint_mode(const schema::Value& service);

// Each zone's share of the allocatable CPU of nodes that are ready and no control plane; empty when
// shares say nothing: a node without zone or CPU, fewer than two zones.
using ZoneShares = std::map<std::string, double, std::less<>>;
ZoneShares zone_shares(const std::vector<ObjectPtr>& nodes);
// The change of a node that may change shares.
bool is_share_change(const schema::Value& before, const schema::Value& after);

// Sets or removes hints in all slices; what is kept and gets others is updated.
void set_hints(HintMode mode, const ZoneShares& shares, SliceChanges* changes);

}  // namespace fairlead::controllers
