#include "tests/api_server/api_error.h"

#include <fmt/format.h>

#include "control/api/json_writer.h"

namespace fairlead::api_server {

std::string ApiError::json() const {
  api::JsonWriter json;
  json.begin_object().key("kind").string("Status").key("apiVersion").string("v1");
  json.key("metadata").begin_object().end_object();
  json.key("status").string("Failure").key("message").string(message).key("reason").string(reason);
  if (!plural.empty() || retry_after_seconds > 0) {
    json.key("details").begin_object();
    if (!name.empty()) json.key("name").string(name);
    if (!group.empty()) json.key("group").string(group);
    if (!plural.empty()) json.key("kind").string(plural);
    if (retry_after_seconds > 0) json.key("retryAfterSeconds").number(retry_after_seconds);
    json.end_object();
  }
  json.key("code").number(code).end_object();
  return json.take();
}

net::HttpResponse ApiError::response() const {
  net::HttpResponse response;
  response.status = code;
  response.content_type = "application/json";
  response.body = json() + "\n";
  if (retry_after_seconds > 0) {
    response.headers.emplace_back("retry-after", std::to_string(retry_after_seconds));
  }
  return response;
}

ApiError not_found(const ResourceType& type, std::string_view name) {
  ApiError error;
  error.code = 404;
  error.reason = "NotFound";
  error.message = fmt::format("{}{}{} \"{}\" not found", type.plural, type.group.empty() ? "" : ".",
                              type.group, name);
  error.name = name;
  error.group = type.group;
  error.plural = type.plural;
  return error;
}

ApiError unknown_path() {
  ApiError error;
  error.code = 404;
  error.reason = "NotFound";
  error.message = "no such resource is served here";
  return error;
}

ApiError bad_request(std::string_view message) {
  ApiError error;
  error.code = 400;
  error.reason = "BadRequest";
  error.message = message;
  return error;
}

ApiError expired(uint64_t asked, uint64_t oldest) {
  ApiError error;
  error.code = 410;
  error.reason = "Expired";
  error.message =
      fmt::format("resource version {} is too old, {} is the oldest one known", asked, oldest);
  return error;
}

std::string_view reason_of(int code) {
  switch (code) {
    case 400:
      return "BadRequest";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "NotFound";
    case 405:
      return "MethodNotAllowed";
    case 409:
      return "Conflict";
    case 410:
      return "Expired";
    case 413:
      return "RequestEntityTooLarge";
    case 422:
      return "Invalid";
    case 429:
      return "TooManyRequests";
    case 500:
      return "InternalError";
    case 503:
      return "ServiceUnavailable";
    case 504:
      return "Timeout";
    default:
      return "";
  }
}

}  // namespace fairlead::api_server
