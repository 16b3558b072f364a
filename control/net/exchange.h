// One request's answer on its way from whoever makes it (any thread) to the connection (io thread).
//
// The maker calls respond() or start(), write(), finish(); the connection is woken through the
// Loop, take()s everything that has come since, and reports progress with sent() and close(). A
// burst of writes costs one wake-up.
//
// Threads: as the sections below say.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "control/net/server.h"

namespace fairlead::net {

using Buffer = std::shared_ptr<const std::string>;

// The io thread of a server, as seen by others.
class Loop {
 public:
  virtual ~Loop() = default;
  // Runs `work` on the io thread. False when the loop has ended: `work` is dropped.
  virtual bool post(std::function<void()> work) = 0;
};

class Exchange;

// A connection, as seen by its exchanges.
class ExchangeOwner {
 public:
  virtual ~ExchangeOwner() = default;
  virtual void on_output(Exchange& exchange) = 0;  // io thread: take() has something new
};

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  struct Traits {
    bool compress = false;  // the client takes gzip and the server wants to
    size_t max_backlog = 0;
    int32_t stream_id = 0;  // HTTP/2
    // What waits in all exchanges of the server, bytes shared with others left out, and how much
    // that should be at most. Null: nobody counts.
    std::shared_ptr<std::atomic<size_t>> queued = nullptr;
    size_t max_queued = 0;
  };

  // What has come since the last take().
  struct Output {
    std::optional<HttpResponse> head;      // its body is empty
    std::optional<size_t> content_length;  // with `head`: absent for a stream
    std::vector<Buffer> buffers;
    bool finished = false;
    bool aborted = false;  // after the buffers
    bool cut = false;      // now: the reader lags too far behind
  };

  Exchange(std::shared_ptr<Loop> loop, std::weak_ptr<ExchangeOwner> owner, Traits traits)
      : loop_(std::move(loop)), owner_(std::move(owner)), traits_(traits) {}

  ~Exchange() {
    if (traits_.queued) traits_.queued->fetch_sub(own_, std::memory_order_relaxed);
  }

  // Any thread. respond() and start() count only the first time.
  void respond(HttpResponse response) EXCLUDES(mutex_);
  bool start(HttpResponse head, std::function<void()> on_closed) EXCLUDES(mutex_);
  void write(Buffer bytes) EXCLUDES(mutex_);
  void hold(std::shared_ptr<const void> held) { held_ = std::move(held); }  // see Responder
  void finish() EXCLUDES(mutex_);
  void abort() EXCLUDES(mutex_);
  bool open() const EXCLUDES(mutex_);
  bool answered() const EXCLUDES(mutex_);
  size_t backlog() const { return backlog_.load(std::memory_order_relaxed); }
  bool crowded() const { return traits_.queued && *traits_.queued > traits_.max_queued; }

  // io thread.
  Output take() EXCLUDES(mutex_);
  void sent(size_t bytes) {
    backlog_.fetch_sub(bytes, std::memory_order_relaxed);
    const size_t own = std::min(bytes, own_.load(std::memory_order_relaxed));
    own_.fetch_sub(own, std::memory_order_relaxed);
    if (traits_.queued) traits_.queued->fetch_sub(own, std::memory_order_relaxed);
  }
  void close() EXCLUDES(mutex_);  // sent completely, or the peer has gone; idempotent
  int32_t stream_id() const { return traits_.stream_id; }

 private:
  // Returns what it was before. `own`: nobody else holds these bytes.
  size_t add_to_backlog(size_t bytes, bool own);
  void wake() EXCLUDES(mutex_);
  bool mark_for_wake() REQUIRES(mutex_);

  const std::shared_ptr<Loop> loop_;
  const std::weak_ptr<ExchangeOwner> owner_;
  const Traits traits_;
  std::atomic<size_t> backlog_{0};
  std::atomic<size_t> own_{
      0};  // of it, what is held for this exchange alone; only sent() lowers it
  // Lives as long as this does: queues of output keep their exchange.
  std::shared_ptr<const void> held_;

  mutable Mutex mutex_;
  Output output_ GUARDED_BY(mutex_);
  std::function<void()> on_closed_ GUARDED_BY(mutex_);
  bool answered_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;   // by the maker
  bool closed_ GUARDED_BY(mutex_) = false;  // by the connection
  // True until the connection's first take(): it looks by itself after calling the handler.
  bool wake_pending_ GUARDED_BY(mutex_) = true;
};

// The handler's ends of an exchange.
std::unique_ptr<Responder> make_responder(std::shared_ptr<Exchange> exchange);

}  // namespace fairlead::net
