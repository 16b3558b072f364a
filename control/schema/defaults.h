// The values that the API gives to what a user leaves out. Rows keyed by type, so that a default of
// a container holds wherever a container stands; a few functions where a row cannot say it.
//
// Threads: pure functions.
#pragma once

#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

// Precondition: the document conforms to the type. It does so afterwards.
void apply_defaults(Document& document, const Type& type);

}  // namespace fairlead::schema
