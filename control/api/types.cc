#include "control/api/types.h"

#include <algorithm>

namespace fairlead::api {

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// From the back: where a key came twice, the last one counts, as in every other JSON reader of
// Kubernetes.
const std::string* find(const Pairs& pairs, std::string_view key) {
  const auto found = std::find_if(pairs.rbegin(), pairs.rend(),
                                  [key](const auto& pair) { return pair.first == key; });
  return found == pairs.rend() ? nullptr : &found->second;
}

}  // namespace

const std::string* ObjectMeta::label(std::string_view key) const {
  return find(labels, key);
}

const std::string* ObjectMeta::annotation(std::string_view key) const {
  return find(annotations, key);
}

}  // namespace fairlead::api
