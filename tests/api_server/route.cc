#include "tests/api_server/route.h"

#include <string_view>
#include <vector>

namespace fairlead::api_server {
namespace {

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(1);
    const size_t slash = path.find('/');
    segments.emplace_back(path.substr(0, slash));
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash);
  }
  return segments;
}

Verb verb_of(const net::HttpRequest& request, bool named) {
  const std::string& method = request.method;
  if (method == "GET" || method == "HEAD") {
    if (named) return Verb::kGet;
    const std::string watch = request.query_value("watch");
    return watch == "1" || watch == "true" ? Verb::kWatch : Verb::kList;
  }
  if (method == "POST" && !named) return Verb::kCreate;
  if (method == "PUT" && named) return Verb::kUpdate;
  if (method == "DELETE" && named) return Verb::kDelete;
  return Verb::kOther;
}

}  // namespace

std::optional<Route> route_of(const net::HttpRequest& request) {
  if (!request.path.starts_with("/api/") && !request.path.starts_with("/apis/")) {
    return std::nullopt;
  }
  const std::vector<std::string> segments = segments_of(request.path);
  size_t at = segments[0] == "api" ? 2 : 3;
  if (segments.size() <= at) return std::nullopt;
  Route route;
  for (size_t i = 0; i < at; ++i) route.path += "/" + segments[i];
  // "namespaces/x/services" is about services; "namespaces" and "namespaces/x" are about
  // themselves.
  if (segments[at] == "namespaces" && segments.size() > at + 2) {
    route.name_space = segments[at + 1];
    at += 2;
  }
  route.path += "/" + segments[at];
  if (segments.size() > at + 1) route.name = segments[at + 1];
  if (segments.size() > at + 2) route.subresource = segments[at + 2];
  if (segments.size() > at + 3) return std::nullopt;
  route.verb = verb_of(request, !route.name.empty());
  return route;
}

}  // namespace fairlead::api_server
