// The rows and functions behind validate.h.
//
// Threads: constants and pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/schema/validate.h"
#include "control/schema/walk.h"

namespace fairlead::schema {

class ErrorList {
 public:
  void required(const FieldPath& path, std::string_view detail = {});
  void invalid(const FieldPath& path, const Value& value, std::string_view detail);
  void not_supported(const FieldPath& path, const Value& value,
                     std::span<const std::string_view> supported);
  void duplicate(const FieldPath& path, const Value& value);
  void forbidden(const FieldPath& path, std::string_view detail);
  void too_long(const FieldPath& path, size_t limit);
  void too_many(const FieldPath& path, size_t count, size_t limit);
  void not_found(const FieldPath& path, const Value& value);
  // Invalid when `wrong` says something.
  void check(const FieldPath& path, const Value& value, const std::string& wrong) {
    if (!wrong.empty()) invalid(path, value, wrong);
  }

  std::vector<FieldError> take() { return std::move(errors_); }

 private:
  void add(FieldError::Type type, const FieldPath& path, std::string message);

  std::vector<FieldError> errors_;
};

enum class Check : uint8_t {
  kRequired,      // neither absent nor zero
  kEnum,          // argument: the name of an enum, or words
  kLabel,         // RFC 1123
  kSubdomain,     // RFC 1123
  kQualified,     // a key of labels
  kLabels,        // a map of labels
  kSelector,      // a meta.v1.LabelSelector
  kPort,          // 1 to 65535
  kPortOrZero,    // 0 to 65535
  kPortName,      // RFC 6335
  kPortOrName,    // an int-or-string
  kNonNegative,   //
  kPositive,      //
  kIntOrPercent,  // not negative, or a percentage
  kAtMost,        // argument: the largest number
  kUnique,        // a list; argument: the field, or none for scalars
  kIp,            // an address, or a list of them
  kCidr,          // a prefix, or a list of them
  kAbsolutePath,  // starts with "/"
  kEnvName,       //
  kConfigKeys,    // a map with keys that can be file names
  kSchedule,      // cron
};

struct CheckRow {
  std::string_view type;
  std::string_view field;  // dotted
  Check check;
  std::string_view argument = {};
};

using ValidationHook = void (*)(const Value& value, const FieldPath& path, ErrorList& errors);
struct ValidationHookRow {
  std::string_view type;
  ValidationHook hook;
};

// What an update must not change: `field` of an object of `type`.
struct ImmutableRow {
  std::string_view type;
  std::string_view field;  // dotted
  std::string_view message = "field is immutable";
};

inline constexpr std::string_view kAnySubresource = "*";

using UpdateHook = void (*)(const Value& value, const Value& old, ErrorList& errors);
struct UpdateHookRow {
  std::string_view type;
  UpdateHook hook;
  std::string_view subresource = kAnySubresource;  // empty: only writes of the object itself
};

std::span<const CheckRow> check_rows();
std::span<const ValidationHookRow> pod_hooks();
std::span<const ValidationHookRow> workload_hooks();
std::span<const ValidationHookRow> network_hooks();
std::span<const ValidationHookRow> other_hooks();
std::span<const ImmutableRow> immutable_rows();
std::span<const UpdateHookRow> workload_update_hooks();
std::span<const UpdateHookRow> other_update_hooks();

void run_check(const CheckRow& row, const Value& value, const FieldPath& path, ErrorList& errors);
void check_labels(const Value& labels, const FieldPath& path, ErrorList& errors);
void check_selector(const Value& selector, const FieldPath& path, ErrorList& errors);
void check_metadata(const Value& object, const Resource& resource, ErrorList& errors);

}  // namespace fairlead::schema
