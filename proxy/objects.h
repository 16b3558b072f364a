// From API objects to what the trackers keep: strings become addresses, ports and flags; what is
// wrong is left out and named.
//
// One bad field costs that field (or the port, address or endpoint it belongs to), never the object
// and never its neighbours. Objects that are none of a service proxy's business convert to nothing.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_annotations.h"
#include "control/api/types.h"
#include "dataplane/model.h"

namespace fairlead::proxy {

inline constexpr std::string_view kServiceProxyNameLabel =
    "service.kubernetes.io/service-proxy-name";
inline constexpr std::string_view kHeadlessLabel = "service.kubernetes.io/headless";
inline constexpr std::string_view kServiceNameLabel = "kubernetes.io/service-name";

// nullopt: not for us (ExternalName, headless, another proxy's). `problems` is appended to.
std::optional<dataplane::Service> convert_service(const api::Service& object,
                                                  std::vector<api::Problem>& problems);

// An endpoint of a slice, before it is combined with a port: 24 bytes, since there may be 250,000.
struct SliceEndpoint {
  dataplane::Address address;
  uint8_t flags = 0;  // kReady, ...
  // Zone hints as an index into ZoneHints; 0: none.
  uint32_t zones = 0;

  static constexpr uint8_t kReady = 1;
  static constexpr uint8_t kServing = 2;
  static constexpr uint8_t kTerminating = 4;
  static constexpr uint8_t kLocal = 8;
  static constexpr uint8_t kNodeUnknown = 16;
  static constexpr uint8_t kNodeHintHere = 32;
  static constexpr uint8_t kNodeHintElsewhere = 64;
};
static_assert(sizeof(SliceEndpoint) == 24);

struct SlicePort {
  std::string name;
  dataplane::Protocol protocol = dataplane::Protocol::kTcp;
  uint16_t port = 0;
};

struct Slice {
  std::string name;  // of the slice
  dataplane::ObjectName service;
  dataplane::Family family = dataplane::Family::kIPv4;
  std::vector<SlicePort> ports;
  std::vector<SliceEndpoint> endpoints;
  int64_t trigger_time_micros = 0;  // endpoints.kubernetes.io/last-change-trigger-time; 0: none
};

// The few distinct lists of zones that hints name, each kept once.
//
// Threads: any; lists are only ever added.
class ZoneHints {
 public:
  uint32_t intern(const std::vector<std::string>& zones) EXCLUDES(mutex_);
  dataplane::Hint match(uint32_t id, std::string_view our_zone) const EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::map<std::vector<std::string>, uint32_t> ids_ GUARDED_BY(mutex_);
  std::vector<std::vector<std::string>> lists_ GUARDED_BY(mutex_) = {{}};
};

// nullopt: not for us (no service label, FQDN, headless). `node_name`: ours.
std::optional<Slice> convert_slice(const api::EndpointSlice& object, std::string_view node_name,
                                   ZoneHints& hints, std::vector<api::Problem>& problems);

}  // namespace fairlead::proxy
