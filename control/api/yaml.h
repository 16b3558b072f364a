// YAML to JSON, with YAML 1.1 scalars as Kubernetes' tools read them.
//
// Configuration files (KubeProxyConfiguration, kubeconfig) are YAML or JSON; everything after this
// function deals with JSON only. One document; anchors and aliases are followed within a bound,
// tags are refused, duplicate keys are an error with line and column unless the caller wants them.
//
// Threads: pure function.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::api {

enum class DuplicateKeys {
  kRefuse,
  kKeep,  // the JSON has them all, in their order: the caller reports them
};

// `source` names the input in errors: a path.
Result<std::string> yaml_to_json(std::string_view text, std::string_view source,
                                 DuplicateKeys duplicates = DuplicateKeys::kRefuse);

}  // namespace fairlead::api
