// What concerns a kind alone on the way of a write: rows.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "control/auth/user.h"
#include "control/schema/resources.h"
#include "control/schema/value.h"

namespace fairlead::apiserver {

enum StrategyFlags : uint16_t {
  kGeneration = 1,              // metadata.generation counts changes of what is desired
  kConditionalOnly = 2,         // updates name a resourceVersion
  kCreateOnUpdate = 4,          // a PUT of what is not there creates it
  kKeepsStatus = 8,             // what a creation says of status counts
  kGraceful = 16,               // deletion is announced to a node first
  kExpires = 32,                // goes away by itself
  kStatusSetsLabels = 64,       // labels may be written through /status
  kOrphansByDefault = 128,      // a deletion that does not say leaves dependents alone
  kAnnotationsAreDesire = 256,  // with kGeneration: they count
  kLabelsAreDesire = 512,       // the same
};

struct Strategy {
  std::string_view type;
  uint16_t flags = 0;
  // After admission; uid, name and times are set. Null: nothing to do.
  void (*create)(schema::Document& next, const auth::User& user) = nullptr;
  void (*update)(schema::Document& next, const schema::Value& old) = nullptr;

  bool is(StrategyFlags flag) const { return (flags & flag) != 0; }
};

// Of the storage version.
const Strategy& strategy_of(const schema::Resource& resource);
bool has_status(const schema::Resource& resource);

// The object that a write through a subresource makes of the old one: `next` has what was sent.
// Only for subresources that show the object itself (status, finalize, approval,
// ephemeralcontainers).
void restrict_to_subresource(schema::Document& next, const schema::Value& old,
                             std::string_view subresource, const Strategy& strategy);

}  // namespace fairlead::apiserver
