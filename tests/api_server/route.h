// Which resource a request's path names, and what its method asks of it.
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>

#include "control/net/server.h"

namespace fairlead::api_server {

enum class Verb { kAny, kGet, kList, kWatch, kCreate, kUpdate, kDelete, kOther };

struct Route {
  std::string path;        // of the type: "/api/v1/services"
  std::string name_space;  // empty: none, or all
  std::string name;        // empty: the collection
  std::string subresource;
  Verb verb = Verb::kOther;
};

// nullopt when the path is not below /api/<version> or /apis/<group>/<version>.
std::optional<Route> route_of(const net::HttpRequest& request);

}  // namespace fairlead::api_server
