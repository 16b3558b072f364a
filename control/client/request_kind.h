// What a request is called in metrics: the API's verb, derived from method and path.
//
// Threads: pure function.
#pragma once

#include <string>
#include <string_view>

namespace fairlead::client {

// "LIST" and "WATCH" for GETs of a collection, else the method. `path` may carry a query.
std::string request_verb(std::string_view method, std::string_view path);

}  // namespace fairlead::client
