// Documents as YAML, for clients that ask for it: block style, strings quoted wherever YAML might
// read them as something else.
//
// Threads: pure functions.
#pragma once

#include <string>

#include "control/schema/value.h"

namespace fairlead::apiserver {

std::string to_yaml(const schema::Value& value);

}  // namespace fairlead::apiserver
