// YAML to JSON, with YAML 1.1 scalars as Kubernetes' tools read them.
//
// Configuration files (KubeProxyConfiguration, kubeconfig) are YAML or JSON; everything after this
// function deals with JSON only. One document; anchors and aliases are followed within a bound,
// tags are refused, duplicate keys are an error with line and column.
//
// Threads: pure function.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::api {

// `source` names the input in errors: a path.
Result<std::string> yaml_to_json(std::string_view text, std::string_view source);

}  // namespace fairlead::api
