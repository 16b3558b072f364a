// Watches on their way to clients: each change is encoded once and shared by all who watch it, a
// slow client's changes stay in the store's history until it has room, and an idle watch is a few
// hundred bytes that one thread looks at once a second.
//
// Threads: all functions from any thread. Events are written on the worker pool, one watch on one
// thread at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "control/apiserver/encoder.h"
#include "control/apiserver/query_options.h"
#include "control/apiserver/registry.h"
#include "control/net/server.h"

namespace fairlead::apiserver {

using Post = std::function<void(std::function<void()>)>;  // to the worker pool

class WatchStream;

class WatchKeeper {
 public:
  explicit WatchKeeper(Post post);
  // stop(), and waits for the watches' ends. Precondition: registry and worker pool still run.
  ~WatchKeeper();

  // Answers with the watch's stream, or with an error; `answered` is told the status.
  void serve(Registry& registry, Target target, WatchQuery query, Rendering rendering,
             std::unique_ptr<net::Responder> responder, std::function<void(int status)> answered);
  // Ends every watch properly, takes no more.
  void stop();
  size_t open() const;

 private:
  friend class WatchStream;
  void run();
  void remove(const WatchStream* stream);

  Post post_;
  EventCache cache_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<const WatchStream*, std::shared_ptr<WatchStream>> streams_;
  bool stopping_ = false;
  std::atomic<size_t> lagging_{0};
  std::thread thread_;
};

}  // namespace fairlead::apiserver
