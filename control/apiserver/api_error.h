// What the API says when it says no: a meta.v1.Status with a code, a reason and causes.
//
// The functions below make the errors of Kubernetes in the words of k8s.io/apimachinery
// (pkg/api/errors), for clients compare reasons and people compare words.
//
// Threads: values.
#pragma once

#include <cassert>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "control/schema/resources.h"
#include "control/schema/validate.h"

namespace fairlead::apiserver {

struct ApiError {
  struct Cause {
    std::string reason;
    std::string message;
    std::string field;
  };

  int code = 500;
  std::string reason;  // "NotFound"; empty where Kubernetes has none
  std::string message;
  // Details; all may be empty.
  std::string name;
  std::string group;
  std::string kind;  // the plural of a resource, or a kind: as Kubernetes has it for each reason
  std::string uid;
  std::vector<Cause> causes;
  int retry_after_seconds = 0;

  std::string to_json() const;  // the Status
};

// A value or the error that the client gets.
template <typename T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : value_(std::in_place_index<0>, std::move(value)) {}         // NOLINT
  Outcome(ApiError error) : value_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return value_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Precondition of these: ok().
  T& value() & { return std::get<0>(value_); }
  const T& value() const& { return std::get<0>(value_); }
  T&& value() && { return std::get<0>(std::move(value_)); }
  T* operator->() { return &std::get<0>(value_); }
  const T* operator->() const { return &std::get<0>(value_); }
  T& operator*() & { return std::get<0>(value_); }
  const T& operator*() const& { return std::get<0>(value_); }
  T&& operator*() && { return std::get<0>(std::move(value_)); }

  // Precondition: !ok().
  const ApiError& error() const { return std::get<1>(value_); }

 private:
  std::variant<T, ApiError> value_;
};

using Done0 = std::monostate;  // the value of what has none

// About no object in particular; those below derive details from the resource.
ApiError plain_error(int code, std::string_view reason, std::string message);
ApiError bad_request(std::string message);
ApiError unauthorized();
ApiError forbidden(const schema::Resource& resource, std::string_view name, std::string_view why);
ApiError not_found(const schema::Resource& resource, std::string_view name);
ApiError no_such_path();  // "the server could not find the requested resource"
ApiError method_not_allowed(const schema::Resource& resource, std::string_view verb);
// 405: of what discovery tells and nobody answers here.
ApiError not_served(const schema::Resource& resource, const schema::Subresource& subresource);
ApiError already_exists(const schema::Resource& resource, std::string_view name);
// "Operation cannot be fulfilled on pods "a": <why>"
ApiError conflict(const schema::Resource& resource, std::string_view name, std::string_view why);
ApiError invalid(const schema::Resource& resource, std::string_view name,
                 const std::vector<schema::FieldError>& errors);
ApiError expired(std::string message);  // 410, reason Expired
ApiError too_large_resource_version(int64_t asked,
                                    int64_t current);              // 504 Timeout, retry after 1 s
ApiError too_large_body(size_t limit);                             // 413
ApiError not_acceptable(const std::vector<std::string>& offered);  // 406
ApiError unsupported_media_type(const std::vector<std::string>& taken);  // 415
ApiError too_many_requests(std::string message, int retry_after_seconds);
ApiError internal_error(std::string message);
// Of a store or a decoder: each code has its Status.
ApiError from_status(const Status& status);

}  // namespace fairlead::apiserver
