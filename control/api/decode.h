// From JSON to the structs of types.h.
//
// Decoding never fails as a whole for one bad field: a field of the wrong JSON type or out of range
// is left at its default and named in the problems. Only text that is not JSON, or an object
// without a name, is an error. Unknown fields are skipped (an API server may be newer than we are).
// Depth and size are bounded by simdjson's own limits. No input crashes it: tests/fuzz has the
// proof.
//
// Annotations kept: endpoints.kubernetes.io/last-change-trigger-time,
// service.kubernetes.io/topology-mode, service.kubernetes.io/topology-aware-hints.
//
// Threads: a Decoder belongs to one thread (it reuses its buffers).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/api/types.h"

namespace fairlead::api {

// Which of the structs a JSON object becomes.
template <typename T>
struct Decoded {
  T object;
  std::vector<Problem> problems;
};

// One raw object of a list or a watch event, before anybody knows its type.
struct RawObject {
  std::string_view json;  // the object's text, valid until the next call on the decoder
  std::string name_space;
  std::string name;
  std::string resource_version;
};

struct ListHeader {
  std::string resource_version;
  std::string continue_token;
};

enum class WatchType { kAdded, kModified, kDeleted, kBookmark, kError };

// metav1.Status as far as clients care.
struct ApiStatus {
  int code = 0;
  std::string reason;  // "Expired", "NotFound", ...
  std::string message;
  int retry_after_seconds = 0;
};

struct WatchLine {
  WatchType type = WatchType::kError;
  RawObject object;                 // not for kError
  ApiStatus status;                 // only for kError
  bool initial_events_end = false;  // a bookmark annotated k8s.io/initial-events-end
};

class Decoder {
 public:
  Decoder();
  ~Decoder();
  Decoder(Decoder&&) noexcept;

  Result<Decoded<Service>> service(std::string_view json);
  Result<Decoded<EndpointSlice>> endpoint_slice(std::string_view json);
  Result<Decoded<Node>> node(std::string_view json);
  Result<Decoded<ServiceCidr>> service_cidr(std::string_view json);

  // Walks a List; calls `each` for every item in order. An item that has no name is reported
  // through `bad` (its index and the reason) and skipped; the rest of the list still comes.
  Result<ListHeader> list(std::string_view json, const std::function<void(const RawObject&)>& each,
                          const std::function<void(size_t index, const Status&)>& bad);
  // One line of a watch stream.
  Result<WatchLine> watch_line(std::string_view json);
  // A Status body of a failed request; nullopt-like zero code when it is something else.
  ApiStatus status(std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// RFC 3339 with optional fraction to seconds (or microseconds) since 1970; nullopt when malformed.
std::optional<int64_t> parse_rfc3339_seconds(std::string_view text);
std::optional<int64_t> parse_rfc3339_micros(std::string_view text);
std::string format_rfc3339_micros(int64_t micros_since_epoch);  // "2026-01-02T03:04:05.000006Z"

}  // namespace fairlead::api
