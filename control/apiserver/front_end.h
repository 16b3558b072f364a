// The HTTP side of the API server: from a request to a verb of the registry and back.
//
// A request passes, in this order: the limit of requests in flight (watches excepted: 429 with
// Retry-After), authentication (401; health and version pages are open to all), authorization
// (403), negotiation (406), decoding (400, 413, 415), the registry. Only the first step happens on
// the transport's thread.
//
// Threads: all functions from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/apiserver/health.h"
#include "control/apiserver/pages.h"
#include "control/apiserver/registry.h"
#include "control/apiserver/request_info.h"
#include "control/apiserver/request_metrics.h"
#include "control/apiserver/watch_stream.h"
#include "control/auth/authenticator.h"
#include "control/auth/authorizer.h"
#include "control/net/server.h"

namespace fairlead::apiserver {

struct FrontEndOptions {
  std::string address;  // where clients reach the server: "10.0.0.1:6443"
  std::string version;  // gitVersion: "v1.30.0+fairlead"
  size_t max_reads = 400;
  size_t max_writes = 200;
  size_t max_watches = 100'000;     // open ones: 400 MB
  std::vector<HealthCheck> checks;  // beside those of the front end itself
  // Every request is this user's: of a port that only the machine itself reaches. Null: ask.
  std::shared_ptr<const auth::User> everybody;
  // Further families of /metrics, appended as text. On a worker thread.
  std::vector<std::function<void(std::string& page)>> metrics;
};

// What the transport tells a request that it cannot hand over: a Status, like every refusal.
net::HttpResponse refuse_unread(int status, std::string_view reason);

class Call;

class FrontEnd {
 public:
  // All must outlive it; `post` runs its argument on a worker thread, never before it returns.
  FrontEnd(FrontEndOptions options, Registry& registry, const auth::Authentication& authentication,
           const auth::Authorizer& authorizer, Post post);
  // Waits for every request under way, however long. Precondition: the transport gives no more
  // requests; registry and workers still run.
  ~FrontEnd();

  void handle(const net::HttpRequest& request, std::unique_ptr<net::Responder> responder);

  // /readyz fails from now on.
  void begin_shutdown() { stopping_ = true; }
  // Ends the watches, begins no more (503); waits until what is in flight has been answered and
  // sent. False when something is left after that time.
  bool drain(std::chrono::milliseconds patience);

 private:
  friend class Call;
  bool take_place(bool mutating);
  void give_place(bool mutating);
  // Counts one answer until this is freed, which may be after the front end.
  std::shared_ptr<const void> count_unsent();
  // Nothing that is under way needs the front end any more.
  bool idle() const { return calls_ == 0 && watches_.open() == 0; }

  FrontEndOptions options_;
  Registry& registry_;
  const auth::Authentication& authentication_;
  const auth::Authorizer& authorizer_;
  Post post_;
  Pages pages_;
  RequestMetrics metrics_;
  WatchKeeper watches_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> draining_{false};
  std::atomic<size_t> calls_{0};  // Call objects, wherever they are
  const std::shared_ptr<std::atomic<size_t>> unsent_ = std::make_shared<std::atomic<size_t>>(0);
  std::atomic<size_t> reads_{0};
  std::atomic<size_t> writes_{0};
};

}  // namespace fairlead::apiserver
