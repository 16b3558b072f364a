// A reflector keeps somebody's picture of one resource equal to the API server's: paged list, then
// watch.
//
// Promises: every object that exists after a list is delivered as an upsert, every object that has
// gone since as a removal; after that every change once, in the server's order per object. Nothing
// is delivered twice: a re-list delivers only what changed (it knows each object's resourceVersion)
// and what went. Bookmarks move the resume point; a lost connection resumes from it; 410 Gone
// re-lists. Failures back off with jitter (200 ms doubling to 30 s, reset after a minute of
// health); 429 and Retry-After are obeyed. Memory is bounded by one page, one watch line and one
// (key, version) per object.
//
// Lists are consistent reads in pages: no resourceVersion is sent. resourceVersion=0 would let the
// server answer from a cache that may be older than what has been seen already, and ignore the page
// size. A page that failed is asked for again; 410 in the middle starts the list over, twice in a
// row without pages. Where the server's history has gone back (its list is older than the last
// event), versions are not trusted and every object is delivered again. A line that cannot be read
// means that an event may be lost, so it ends the watch and lists again.
//
// Threads: the client's loop thread; the sink is called there.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "control/api/decode.h"
#include "control/client/client.h"

namespace fairlead::client {

class ReflectorSink {
 public:
  virtual ~ReflectorSink() = default;
  // `object.json` is the whole object; decode what you need before returning.
  virtual void on_upsert(const api::RawObject& object) = 0;
  virtual void on_remove(const std::string& name_space, const std::string& name) = 0;
  // After the last page of every successful list (the first one means: the picture is complete).
  virtual void on_listed() = 0;
  // An item that could not even be named, or a line that is not JSON.
  virtual void on_malformed(const Status& reason) = 0;
  // The server's answer to the last attempt: ok while the watch stands, else why it does not.
  virtual void on_health(const Status& status) = 0;
  // The resource does not exist on this server (404 on list); tried again at the longest back-off.
  virtual void on_unsupported() = 0;
};

struct ReflectorOptions {
  std::string path;            // "/api/v1/services"
  std::string label_selector;  // unescaped
  std::string field_selector;
  int page_size = 500;
  size_t max_page_bytes = size_t{256} << 20;
  size_t max_watch_line_bytes = size_t{16} << 20;
  std::chrono::milliseconds backoff_min{200};
  std::chrono::milliseconds backoff_max{30000};
  // The server ends a watch after a random time in [min, 2*min]; 0 leaves it to the server.
  std::chrono::seconds watch_timeout_min{300};
  // No byte at all for this long (bookmarks come about once a minute): the connection is dead.
  std::chrono::seconds silence_limit{180};
  uint64_t jitter_seed = 0;  // 0: random
};

class Reflector {
 public:
  // Precondition: `client` and `sink` outlive it.
  static std::unique_ptr<Reflector> create(Client& client, ReflectorOptions options,
                                           ReflectorSink& sink);
  virtual ~Reflector() = default;
  virtual void start() = 0;  // loop thread
  virtual void stop() = 0;   // loop thread; no callback afterwards

  struct Statistics {
    uint64_t lists = 0;
    uint64_t watches = 0;
    uint64_t expired = 0;  // 410s
    uint64_t failures = 0;
    uint64_t objects = 0;  // known now
  };
  virtual Statistics statistics() const = 0;
};

}  // namespace fairlead::client
