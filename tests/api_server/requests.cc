// Lists, gets and writes.
#include <fmt/format.h>

#include <charconv>
#include <random>

#include "control/api/json_writer.h"
#include "tests/api_server/core.h"

namespace fairlead::api_server {
namespace {

net::HttpResponse json_response(int status, std::string body) {
  net::HttpResponse response;
  response.status = status;
  response.content_type = kJson;
  response.body = std::move(body);
  response.body += '\n';
  return response;
}

template <typename Number>
bool parse_number(std::string_view text, Number& number) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return !text.empty() && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

// Where a list goes on: opaque to clients. "<version>.<remaining>.<key>", the key in hexadecimal.
struct ContinueToken {
  uint64_t version = 0;
  int64_t remaining = -1;  // after the page that gave the token; -1: not counted
  std::string start;

  std::string encode() const {
    std::string text = fmt::format("{}.{}.", version, remaining);
    for (const char c : start) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return text;
  }
  static std::optional<ContinueToken> decode(std::string_view text) {
    ContinueToken token;
    const size_t first = text.find('.');
    const size_t second = text.find('.', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) return std::nullopt;
    if (!parse_number(text.substr(0, first), token.version) ||
        !parse_number(text.substr(first + 1, second - first - 1), token.remaining)) {
      return std::nullopt;
    }
    for (std::string_view hex = text.substr(second + 1); !hex.empty(); hex.remove_prefix(2)) {
      unsigned int byte = 0;
      const auto parsed =
          std::from_chars(hex.data(), hex.data() + std::min<size_t>(2, hex.size()), byte, 16);
      if (hex.size() < 2 || parsed.ptr != hex.data() + 2) return std::nullopt;
      token.start += static_cast<char>(byte);
    }
    return token;
  }
};

std::string list_text(const ResourceType& type, const ListPage& page, uint64_t version,
                      const std::string& continue_token, int64_t remaining) {
  size_t size = 256 + continue_token.size();
  for (const ObjectPointer& object : page.objects) size += object->json.size() + 2;
  std::string text;
  text.reserve(size);
  text += fmt::format(R"({{"kind":"{}List","apiVersion":"{}","metadata":{{"resourceVersion":"{}")",
                      type.kind, type.api_version(), version);
  if (!continue_token.empty()) text += fmt::format(R"(,"continue":"{}")", continue_token);
  if (remaining > 0) text += fmt::format(R"(,"remainingItemCount":{})", remaining);
  text += R"(},"items":[)";
  bool first = true;
  for (const ObjectPointer& object : page.objects) {
    text += first ? "{" : ",{";
    text += object->item_tail();
    first = false;
  }
  text += "]}";
  return text;
}

// Status codes of what the store says.
net::HttpResponse store_error(const ResourceType& type, const std::string& name,
                              const Status& status) {
  if (status.code() == StatusCode::kNotFound) return not_found(type, name).response();
  ApiError error = bad_request(status.message());
  if (status.code() == StatusCode::kConflict) {
    error.code = 409;
    error.reason = "AlreadyExists";
    error.message = fmt::format("{} \"{}\" already exists", type.plural, name);
    error.name = name;
    error.group = type.group;
    error.plural = type.plural;
  }
  return error.response();
}

std::string random_suffix() {
  static thread_local std::mt19937 random{std::random_device{}()};
  constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string suffix;
  for (int i = 0; i < 5; ++i) suffix += kAlphabet[random() % kAlphabet.size()];
  return suffix;
}

}  // namespace

net::HttpResponse Core::dispatch(const net::HttpRequest& request, const Route& route,
                                 Resource& resource) {
  const ResourceType& type = resource.type();
  switch (route.verb) {
    case Verb::kList:
      return list(request, route, resource);
    case Verb::kGet: {
      const ObjectPointer object = resource.find(route.name_space + "/" + route.name);
      if (!object) return not_found(type, route.name).response();
      return json_response(200, object->json);
    }
    case Verb::kCreate:
      return create(request, route, resource);
    case Verb::kUpdate:
      return update(request, route, resource);
    case Verb::kDelete:
      return erase(route, resource);
    default: {
      ApiError error;
      error.code = 405;
      error.reason = "MethodNotAllowed";
      error.message = request.method + " is not supported on this path";
      return error.response();
    }
  }
}

net::HttpResponse Core::list(const net::HttpRequest& request, const Route& route,
                             const Resource& resource) {
  const auto selector =
      Selector::parse(request.query_value("labelSelector"), request.query_value("fieldSelector"));
  if (!selector) return bad_request(selector.status().message()).response();
  ListOptions options;
  options.name_space = route.name_space;
  options.selector = *selector;
  options.version = store_.version();
  const std::string limit = request.query_value("limit");
  if (!limit.empty() && !parse_number(limit, options.limit)) {
    return bad_request("limit is not a number: " + limit).response();
  }
  int64_t known_remaining = -1;
  const std::string given_token = request.query_value("continue");
  const std::string asked = request.query_value("resourceVersion");
  if (!given_token.empty()) {
    const std::optional<ContinueToken> token = ContinueToken::decode(given_token);
    if (!token || token->version > store_.version()) {
      return bad_request("continue is not a token of this server").response();
    }
    options.version = token->version;
    options.start = token->start;
    known_remaining = token->remaining;
  } else if (!asked.empty() && asked != "0") {
    uint64_t version = 0;
    if (!parse_number(asked, version)) {
      return bad_request("resourceVersion is not one of this server: " + asked).response();
    }
    if (version > store_.version()) {
      ApiError error;
      error.code = 504;
      error.reason = "Timeout";
      error.message =
          fmt::format("Too large resource version: {}, current: {}", version, store_.version());
      error.retry_after_seconds = 1;
      return error.response();
    }
    if (request.query_value("resourceVersionMatch") == "Exact") options.version = version;
  }
  if (options.version < resource.compacted()) {
    ++counters_.expired;
    return expired(options.version, resource.compacted()).response();
  }
  const bool counts = options.limit != 0 && options.selector.empty();
  const ListPage page = resource.list(options, counts && known_remaining < 0);
  ContinueToken next;
  if (!page.next.empty()) {
    next.version = options.version;
    next.start = page.next;
    if (counts) {
      next.remaining = known_remaining < 0
                           ? static_cast<int64_t>(page.remaining)
                           : known_remaining - static_cast<int64_t>(page.objects.size());
    }
  }
  return json_response(
      200, list_text(resource.type(), page, options.version,
                     page.next.empty() ? std::string() : next.encode(), next.remaining));
}

net::HttpResponse Core::create(const net::HttpRequest& request, const Route& route,
                               Resource& resource) {
  const ResourceType& type = resource.type();
  const auto envelope = read_envelope(request.body);
  if (!envelope) return bad_request(envelope.status().message()).response();
  if (type.namespaced && route.name_space.empty()) {
    return bad_request("a namespace must be in the path").response();
  }
  if (!envelope->name_space.empty() && envelope->name_space != route.name_space) {
    return bad_request("the object's namespace is not the request's").response();
  }
  std::string name = envelope->name;
  if (name.empty() && !envelope->generate_name.empty()) {
    name = envelope->generate_name + random_suffix();
  }
  const auto stored =
      store_.put(resource, request.body, Store::Mode::kCreate, route.name_space, name);
  if (!stored) return store_error(type, name, stored.status());
  deliver(resource);
  return json_response(201, (*stored)->json);
}

net::HttpResponse Core::update(const net::HttpRequest& request, const Route& route,
                               Resource& resource) {
  const ResourceType& type = resource.type();
  const auto envelope = read_envelope(request.body);
  if (!envelope) return bad_request(envelope.status().message()).response();
  if (envelope->name != route.name) {
    return bad_request("the object's name is not the request's").response();
  }
  const ObjectPointer current = resource.find(route.name_space + "/" + route.name);
  if (!current) return not_found(type, route.name).response();
  if (!envelope->resource_version.empty() &&
      envelope->resource_version != std::to_string(current->resource_version)) {
    ApiError error;
    error.code = 409;
    error.reason = "Conflict";
    error.message = fmt::format("{} \"{}\" has changed since version {}", type.plural, route.name,
                                envelope->resource_version);
    error.name = route.name;
    error.group = type.group;
    error.plural = type.plural;
    return error.response();
  }
  const auto stored =
      store_.put(resource, request.body, Store::Mode::kUpdate, route.name_space, route.name);
  if (!stored) return store_error(type, route.name, stored.status());
  deliver(resource);
  return json_response(200, (*stored)->json);
}

net::HttpResponse Core::erase(const Route& route, Resource& resource) {
  const ResourceType& type = resource.type();
  const auto removed = store_.remove(resource, route.name_space + "/" + route.name);
  if (!removed) return store_error(type, route.name, removed.status());
  deliver(resource);
  api::JsonWriter json;
  json.begin_object().key("kind").string("Status").key("apiVersion").string("v1");
  json.key("metadata").begin_object().end_object().key("status").string("Success");
  json.key("details").begin_object().key("name").string(route.name);
  if (!type.group.empty()) json.key("group").string(type.group);
  json.key("kind").string(type.plural).key("uid").string((*removed)->uid).end_object();
  json.end_object();
  return json_response(200, json.take());
}

}  // namespace fairlead::api_server
