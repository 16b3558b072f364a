#include "control/apiserver/api_error.h"

#include <fmt/format.h>

#include <cerrno>

#include "control/schema/json_text.h"

namespace fairlead::apiserver {

namespace {

std::string qualified(const schema::Resource& resource) {
  return resource.group.empty() ? std::string(resource.plural)
                                : fmt::format("{}.{}", resource.plural, resource.group);
}

ApiError about(int code, std::string_view reason, std::string message,
               const schema::Resource& resource, std::string_view name) {
  ApiError error = plain_error(code, reason, std::move(message));
  error.name = name;
  error.group = resource.group;
  error.kind = resource.plural;
  return error;
}

void append_text(std::string_view key, std::string_view value, std::string* out) {
  if (value.empty()) return;
  if (out->back() != '{') *out += ',';
  schema::append_json_string(key, out);
  *out += ':';
  schema::append_json_string(value, out);
}

}  // namespace

std::string ApiError::to_json() const {
  std::string text = R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure")";
  append_text("message", message, &text);
  append_text("reason", reason, &text);
  std::string details = "{";
  append_text("name", name, &details);
  append_text("group", group, &details);
  append_text("kind", kind, &details);
  append_text("uid", uid, &details);
  if (!causes.empty()) {
    details += details.size() > 1 ? ",\"causes\":[" : "\"causes\":[";
    for (size_t i = 0; i < causes.size(); ++i) {
      std::string cause = i == 0 ? "{" : ",{";
      append_text("reason", causes[i].reason, &cause);
      append_text("message", causes[i].message, &cause);
      append_text("field", causes[i].field, &cause);
      details += cause + '}';
    }
    details += ']';
  }
  if (retry_after_seconds > 0) {
    details += details.size() > 1 ? "," : "";
    details += fmt::format("\"retryAfterSeconds\":{}", retry_after_seconds);
  }
  if (details.size() > 1) text += ",\"details\":" + details + '}';
  return text + fmt::format(",\"code\":{}}}", code);
}

ApiError plain_error(int code, std::string_view reason, std::string message) {
  ApiError error;
  error.code = code;
  error.reason = reason;
  error.message = std::move(message);
  return error;
}

ApiError bad_request(std::string message) {
  return plain_error(400, "BadRequest", std::move(message));
}

ApiError unauthorized() {
  return plain_error(401, "Unauthorized", "Unauthorized");
}

ApiError forbidden(const schema::Resource& resource, std::string_view name, std::string_view why) {
  const std::string what =
      name.empty() ? qualified(resource) : fmt::format("{} \"{}\"", qualified(resource), name);
  return about(403, "Forbidden", fmt::format("{} is forbidden: {}", what, why), resource, name);
}

ApiError not_found(const schema::Resource& resource, std::string_view name) {
  return about(404, "NotFound", fmt::format("{} \"{}\" not found", qualified(resource), name),
               resource, name);
}

ApiError no_such_path() {
  return plain_error(404, "NotFound", "the server could not find the requested resource");
}

ApiError method_not_allowed(const schema::Resource& resource, std::string_view verb) {
  return about(
      405, "MethodNotAllowed",
      fmt::format("{} is not supported on resources of kind \"{}\"", verb, qualified(resource)),
      resource, "");
}

ApiError not_served(const schema::Resource& resource, const schema::Subresource& subresource) {
  return about(
      405, "MethodNotAllowed",
      fmt::format("{}/{} is not answered by this server", qualified(resource), subresource.name),
      resource, "");
}

ApiError already_exists(const schema::Resource& resource, std::string_view name) {
  return about(409, "AlreadyExists",
               fmt::format("{} \"{}\" already exists", qualified(resource), name), resource, name);
}

ApiError conflict(const schema::Resource& resource, std::string_view name, std::string_view why) {
  return about(
      409, "Conflict",
      fmt::format("Operation cannot be fulfilled on {} \"{}\": {}", qualified(resource), name, why),
      resource, name);
}

ApiError invalid(const schema::Resource& resource, std::string_view name,
                 const std::vector<schema::FieldError>& errors) {
  ApiError error =
      about(422, "Invalid", schema::invalid_message(resource, name, errors), resource, name);
  error.kind = resource.kind;
  for (const schema::FieldError& each : errors) {
    error.causes.push_back(
        {std::string(schema::cause_reason(each.type)), each.message, each.field});
  }
  return error;
}

ApiError expired(std::string message) {
  return plain_error(410, "Expired", std::move(message));
}

ApiError too_large_resource_version(int64_t asked, int64_t current) {
  ApiError error = plain_error(
      504, "Timeout", fmt::format("Too large resource version: {}, current: {}", asked, current));
  error.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
  error.retry_after_seconds = 1;
  return error;
}

ApiError too_large_body(size_t limit) {
  return plain_error(413, "RequestEntityTooLarge",
                     fmt::format("Request entity too large: limit is {}", limit));
}

ApiError not_acceptable(const std::vector<std::string>& offered) {
  return plain_error(
      406, "NotAcceptable",
      fmt::format("only the following media types are accepted: {}", fmt::join(offered, ", ")));
}

ApiError unsupported_media_type(const std::vector<std::string>& taken) {
  return plain_error(415, "UnsupportedMediaType",
                     fmt::format("the body of the request was in an unknown format - accepted "
                                 "media types include: {}",
                                 fmt::join(taken, ", ")));
}

ApiError too_many_requests(std::string message, int retry_after_seconds) {
  ApiError error = plain_error(429, "TooManyRequests", std::move(message));
  error.retry_after_seconds = retry_after_seconds;
  return error;
}

ApiError internal_error(std::string message) {
  return plain_error(500, "InternalError", "Internal error occurred: " + message);
}

ApiError from_status(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalid:
      return bad_request(status.message());
    case StatusCode::kNotFound:
      return plain_error(404, "NotFound", status.message());
    case StatusCode::kConflict:
      return plain_error(409, "Conflict", status.message());
    case StatusCode::kPermission:
      return plain_error(403, "Forbidden", status.message());
    case StatusCode::kExhausted:
      // RFC 4918, 11.5. Trying again soon would not help.
      if (status.system_errno() == ENOSPC) {
        return plain_error(507, "InsufficientStorage", status.message());
      }
      return too_many_requests(status.message(), 1);
    case StatusCode::kUnavailable: {
      ApiError error = plain_error(503, "ServiceUnavailable", status.message());
      error.retry_after_seconds = 1;
      return error;
    }
    case StatusCode::kExpired:
      return expired(status.message());
    default:
      return internal_error(status.message());
  }
}

}  // namespace fairlead::apiserver
