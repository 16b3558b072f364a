#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace fairlead {
namespace {

StatusCode code_of_errno(int system_errno) {
  switch (system_errno) {
    case EINVAL:
    case ERANGE:
    case EAFNOSUPPORT:
      return StatusCode::kInvalid;
    case ENOENT:
    case ESRCH:
    case ENODEV:
      return StatusCode::kNotFound;
    case EEXIST:
    case EADDRINUSE:
      return StatusCode::kConflict;
    case EPERM:
    case EACCES:
    case EROFS:
      return StatusCode::kPermission;
    case EOPNOTSUPP:
    case ENOSYS:
    case EPROTONOSUPPORT:
      return StatusCode::kUnsupported;
    case ENOMEM:
    case ENOSPC:
    case ENFILE:
    case EMFILE:
    case ENOBUFS:
      return StatusCode::kExhausted;
    case EAGAIN:
    case EINTR:
    case EBUSY:
    case ETIMEDOUT:
    case ECONNREFUSED:
    case ECONNRESET:
      return StatusCode::kUnavailable;
    default:
      return StatusCode::kInternal;
  }
}

const std::string& empty_string() {
  static const std::string empty;
  return empty;
}

}  // namespace

std::string_view to_string(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kInvalid:
      return "invalid";
    case StatusCode::kNotFound:
      return "not_found";
    case StatusCode::kConflict:
      return "conflict";
    case StatusCode::kPermission:
      return "permission";
    case StatusCode::kUnsupported:
      return "unsupported";
    case StatusCode::kExhausted:
      return "exhausted";
    case StatusCode::kUnavailable:
      return "unavailable";
    case StatusCode::kExpired:
      return "expired";
    case StatusCode::kInternal:
      return "internal";
  }
  return "unknown";
}

Status Status::error(StatusCode code, std::string_view operation, std::string_view object,
                     std::string_view detail) {
  return Status(std::make_shared<const Error>(
      Error{code, 0, std::string(operation), std::string(object), std::string(detail)}));
}

Status Status::from_errno(int system_errno, std::string_view operation, std::string_view object) {
  return Status(std::make_shared<const Error>(Error{code_of_errno(system_errno), system_errno,
                                                    std::string(operation), std::string(object),
                                                    std::strerror(system_errno)}));
}

const std::string& Status::operation() const {
  return error_ ? error_->operation : empty_string();
}
const std::string& Status::object() const {
  return error_ ? error_->object : empty_string();
}
const std::string& Status::detail() const {
  return error_ ? error_->detail : empty_string();
}

std::string Status::message() const {
  if (ok()) return "ok";
  std::string text = error_->operation;
  if (!error_->object.empty()) {
    if (!text.empty()) text += ' ';
    text += error_->object;
  }
  if (!text.empty() && !error_->detail.empty()) text += ": ";
  return text + error_->detail;
}

}  // namespace fairlead
