// What a request's method and path ask for: verb, resource, namespace, name; as RequestInfo of
// k8s.io/apiserver (pkg/endpoints/request) has it.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fairlead::apiserver {

struct RequestInfo {
  bool is_resource = false;  // false: only `verb` (the method in lower case) and the path count
  std::string verb;  // get list watch create update patch delete deletecollection; empty: 405
  std::string group;
  std::string version;
  std::string resource;  // the plural in the path
  std::string subresource;
  std::string space;
  std::string name;
};

// Any path is taken; one that is no resource's, or has parts too many, is no resource request.
// `query` is raw: "watch=true" makes a list a watch.
RequestInfo parse_request_info(std::string_view method, std::string_view path,
                               std::string_view query);

// Go's strconv.ParseBool as queries use it: present and neither "false" nor "0" is true.
bool query_flag(std::string_view query, std::string_view name);

}  // namespace fairlead::apiserver
