// Who makes a request: what authentication finds out and everything after it asks for.
//
// Threads: values.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace fairlead::auth {

struct User {
  std::string name;  // "system:serviceaccount:default:builder"
  std::string uid;
  std::vector<std::string> groups;
  std::vector<std::pair<std::string, std::vector<std::string>>> extra;

  bool in_group(std::string_view group) const {
    for (const std::string& each : groups) {
      if (each == group) return true;
    }
    return false;
  }
};

inline constexpr std::string_view kMasters = "system:masters";
inline constexpr std::string_view kAuthenticated = "system:authenticated";

}  // namespace fairlead::auth
