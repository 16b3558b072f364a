// Events about objects (events.k8s.io/v1), for people who run "kubectl describe".
//
// Identical events become one with a count: the first is posted at once, repetitions within six
// minutes are collected and sent as a change of its series. A source of many different events is
// held back by a token bucket per object. An Event is never worth waiting for: the queue is
// bounded, and what does not fit, is too frequent or finds no server after a few tries is dropped
// and counted.
//
// Threads: record() from any thread; everything else on the client's loop thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/client/client.h"

namespace fairlead::client {

struct ObjectReference {
  std::string api_version;  // "v1", "discovery.k8s.io/v1"
  std::string kind;
  std::string name_space;  // empty for cluster-scoped objects: their events live in "default"
  std::string name;
  std::string uid;

  friend bool operator==(const ObjectReference&, const ObjectReference&) = default;
};

enum class EventType { kNormal, kWarning };

struct Event {
  ObjectReference regarding;
  EventType type = EventType::kNormal;
  std::string reason;  // "FailedToBind": one CamelCase word
  std::string action;  // what was being done: "Sync"
  std::string note;    // for people; cut at 1024 bytes

  friend bool operator==(const Event&, const Event&) = default;
};

struct EventRecorderOptions {
  std::string reporting_controller;  // "fairlead.dev/proxy"
  std::string reporting_instance;    // the node's name
  size_t max_queue = 256;            // events that wait to be sent
  size_t max_series = 1024;          // different events that are remembered
  // Of each object: so many at once, then one in each interval.
  int burst = 25;
  std::chrono::seconds refill_interval{60};
  // How long after a repetition its count is sent, and how long until an event that has not come
  // again is forgotten.
  std::chrono::seconds series_delay{10};
  std::chrono::seconds series_end{360};
  int tries = 3;
  std::chrono::milliseconds retry_delay{2000};
  std::function<int64_t()> now_micros;  // since 1970; empty: the system's clock
};

class EventRecorder {
 public:
  // Precondition: `client` outlives it, and the client's loop does not run while it is destroyed
  // unless that happens on the loop's thread.
  static Result<std::unique_ptr<EventRecorder>> create(Client& client,
                                                       EventRecorderOptions options);
  virtual ~EventRecorder() = default;

  virtual void record(Event event) = 0;

  struct Statistics {
    uint64_t created = 0;       // POSTs that succeeded
    uint64_t updated = 0;       // series changes that succeeded
    uint64_t collected = 0;     // repetitions that became a count
    uint64_t dropped_full = 0;  // the queue or the memory of series was full
    uint64_t dropped_rate = 0;  // too many of one object
    uint64_t failed = 0;        // given up after all tries, or refused by the server
  };
  virtual Statistics statistics() const = 0;
};

// At most `limit` bytes, cut before a UTF-8 sequence rather than inside it.
std::string_view truncate_utf8(std::string_view text, size_t limit);

}  // namespace fairlead::client
