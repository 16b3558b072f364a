#include "control/client/request_kind.h"

#include <vector>

namespace fairlead::client {

namespace {

std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    const size_t end = path.find('/');
    if (end != 0) segments.push_back(path.substr(0, end));
    if (end == std::string_view::npos) break;
    path.remove_prefix(end + 1);
  }
  return segments;
}

// /api/v1/services, /apis/group/v1/namespaces/ns/services: no object is named.
bool names_collection(std::string_view path) {
  std::vector<std::string_view> segments = segments_of(path);
  const size_t prefix = segments.empty()        ? 0
                        : segments[0] == "api"  ? 2
                        : segments[0] == "apis" ? 3
                                                : 0;
  if (prefix == 0 || segments.size() <= prefix) return false;
  size_t rest = segments.size() - prefix;
  if (segments[prefix] == "namespaces" && rest > 2) rest -= 2;
  return rest == 1;
}

bool asks_to_watch(std::string_view query) {
  for (const std::string_view wanted : {"watch=true", "watch=1"}) {
    const size_t at = query.find(wanted);
    if (at == std::string_view::npos || (at > 0 && query[at - 1] != '&')) continue;
    const size_t end = at + wanted.size();
    if (end == query.size() || query[end] == '&') return true;
  }
  return false;
}

}  // namespace

std::string request_verb(std::string_view method, std::string_view path) {
  if (method != "GET") return std::string(method);
  const size_t question = path.find('?');
  const std::string_view query =
      question == std::string_view::npos ? std::string_view() : path.substr(question + 1);
  if (!names_collection(path.substr(0, question))) return "GET";
  return asks_to_watch(query) ? "WATCH" : "LIST";
}

}  // namespace fairlead::client
