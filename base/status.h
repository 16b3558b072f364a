// Status and Result<T>: how every function in Fairlead that can fail says so.
//
// An error names what was being done, to which object, why it failed and, where the kernel said no,
// the errno. No exception crosses a folder's edge; a function that can fail returns one of these
// two and the compiler refuses to let the answer be ignored.
//
// Threads: values, free of shared state.
#pragma once

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace fairlead {

enum class StatusCode {
  kOk,
  kInvalid,      // the input is wrong and will stay wrong
  kNotFound,     // what was named does not exist
  kConflict,     // it exists already, or somebody else owns it
  kPermission,   // not allowed: a capability or a credential is missing
  kUnsupported,  // this kernel, tool or build cannot do it
  kExhausted,    // a stated limit is reached
  kUnavailable,  // might work later: a peer is away, a resource is busy
  kExpired,      // it was valid once and will not be again: begin anew
  kInternal,     // a broken promise inside Fairlead
};

// The lower-case name of a code, for logs and metric labels: "invalid", "not_found", ...
std::string_view to_string(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok

  // `operation` is a verb phrase ("open", "apply delta"), `object` what it was done to
  // ("/etc/kubernetes/proxy.conf", "service default/web"), `detail` the reason in one clause.
  static Status error(StatusCode code, std::string_view operation, std::string_view object,
                      std::string_view detail);
  // The same for a failed system call; the code follows from `system_errno`.
  static Status from_errno(int system_errno, std::string_view operation, std::string_view object);

  bool ok() const { return error_ == nullptr; }
  explicit operator bool() const { return ok(); }

  StatusCode code() const { return error_ ? error_->code : StatusCode::kOk; }
  int system_errno() const { return error_ ? error_->system_errno : 0; }
  const std::string& operation() const;
  const std::string& object() const;
  const std::string& detail() const;

  // "operation object: detail", one line; "ok" when there is no error.
  std::string message() const;

 private:
  struct Error {
    StatusCode code;
    int system_errno = 0;
    std::string operation;
    std::string object;
    std::string detail;
  };
  explicit Status(std::shared_ptr<const Error> error) : error_(std::move(error)) {}

  std::shared_ptr<const Error> error_;  // null means ok: success costs one pointer
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : value_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Status status) : value_(std::in_place_index<1>, std::move(status)) {  // NOLINT: as above
    assert(!std::get<1>(value_).ok());
  }

  bool ok() const { return value_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Precondition of the four below: ok().
  T& value() & { return std::get<0>(value_); }
  const T& value() const& { return std::get<0>(value_); }
  T&& value() && { return std::get<0>(std::move(value_)); }
  T* operator->() { return &std::get<0>(value_); }
  const T* operator->() const { return &std::get<0>(value_); }
  T& operator*() & { return std::get<0>(value_); }
  const T& operator*() const& { return std::get<0>(value_); }
  T&& operator*() && { return std::get<0>(std::move(value_)); }

  Status status() const { return ok() ? Status() : std::get<1>(value_); }

 private:
  std::variant<T, Status> value_;
};

}  // namespace fairlead

#define FAIRLEAD_CONCAT_INNER(a, b) a##b
#define FAIRLEAD_CONCAT(a, b) FAIRLEAD_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expression` (a Status) is an error.
#define RETURN_IF_ERROR(expression)                                                         \
  do {                                                                                      \
    if (::fairlead::Status status_macro = (expression); !status_macro) return status_macro; \
  } while (false)

// Assigns the value of `expression` (a Result) to `target`, or returns its error.
#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_INNER(FAIRLEAD_CONCAT(result_macro_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                              \
  if (!result) return result.status();                     \
  target = std::move(result).value()
