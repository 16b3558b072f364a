#include "control/apiserver/request_info.h"

#include <vector>

#include "control/net/text.h"

namespace fairlead::apiserver {
namespace {

// Empty ones inside are kept: "namespaces//pods" is not "namespaces/pods".
std::vector<std::string_view> path_parts(std::string_view path) {
  std::vector<std::string_view> parts;
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  while (!path.empty()) {
    const size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return parts;
}

// Of a request that names one object, or none.
std::string_view verb_of(std::string_view method, bool named, bool watch) {
  if (method == "GET" || method == "HEAD") return named ? "get" : watch ? "watch" : "list";
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return named ? "delete" : "deletecollection";
  return "";
}

// What comes after group and version.
bool read_resource(std::vector<std::string_view> parts, RequestInfo* info) {
  if (parts.empty()) return false;
  // "/api/v1/watch/...": the old form of a watch.
  bool old_watch = false;
  if (parts.front() == "watch") {
    old_watch = true;
    parts.erase(parts.begin());
    if (parts.empty()) return false;
  }
  if (parts.front() == "namespaces" && parts.size() >= 2) {
    // A namespace is an object itself, with two subresources of its own.
    const bool own = parts.size() == 2 ||
                     (parts.size() == 3 && (parts[2] == "status" || parts[2] == "finalize"));
    info->space = parts[1];
    if (!own) parts.erase(parts.begin(), parts.begin() + 2);
    if (!own && parts.front() == "namespaces") return false;  // one inside another
  }
  info->resource = parts[0];
  if (parts.size() >= 2) info->name = parts[1];
  if (parts.size() >= 3) info->subresource = parts[2];
  // Only what is proxied has more.
  if (parts.size() > 3 && info->subresource != "proxy") return false;
  if (info->resource == "namespaces") info->space.clear();
  if (old_watch) info->verb = "watch";
  return true;
}

}  // namespace

RequestInfo parse_request_info(std::string_view method, std::string_view path,
                               std::string_view query) {
  RequestInfo info;
  const std::vector<std::string_view> parts = path_parts(path);
  size_t used = 0;
  if (parts.size() >= 3 && parts[0] == "api") {
    info.version = parts[1];
    used = 2;
  } else if (parts.size() >= 4 && parts[0] == "apis") {
    info.group = parts[1];
    info.version = parts[2];
    used = 3;
  }
  const bool whole = std::count(parts.begin(), parts.end(), "") == 0;
  if (used > 0 && whole &&
      read_resource({parts.begin() + static_cast<std::ptrdiff_t>(used), parts.end()}, &info)) {
    info.is_resource = true;
    const bool watch = query_flag(query, "watch");
    if (info.verb.empty()) info.verb = verb_of(method, !info.name.empty(), watch);
    // A watch answers with what it sees, so nothing but GET asks for one.
    if (info.verb == "watch" && method != "GET") info.verb.clear();
  } else {
    info = RequestInfo();
    info.verb = net::to_lower(method);
  }
  return info;
}

bool query_flag(std::string_view query, std::string_view name) {
  bool found = false;
  const std::string value = net::to_lower(net::query_value(query, name, &found));
  return found && value != "false" && value != "0";
}

}  // namespace fairlead::apiserver
