// What the suites of control/net share: a server that echoes, a raw TCP client, a libcurl client,
// events.
//
// Threads: a client belongs to its test's thread; Event and EchoServer as their functions say.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "control/net/certificates.h"
#include "control/net/server.h"

namespace fairlead::net {

// Something that one thread waits for and another brings about.
class Event {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool wait() {  // false after ten seconds: long enough to mean never
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

// A blocking loopback connection, byte by byte in the test's hands.
class RawClient {
 public:
  explicit RawClient(uint16_t port);
  bool send(std::string_view bytes);
  void finish_sending();
  // Reads until `marker` has come (and keeps what follows for later); what came before an early
  // end.
  std::string read_until(std::string_view marker);
  std::string read_to_end();  // until the server closes
  std::string read_some();    // at least a byte; empty at the end
  // One answer with a Content-Length: its head and body.
  std::string read_response();
  void reset();  // closes without ceremony
  int fd() const { return fd_.get(); }

 private:
  bool fill();

  Fd fd_;
  std::string buffer_;
};

struct CurlAnswer {
  int result = 0;  // CURLcode
  std::string error;
  long status = 0;  // NOLINT: libcurl's type
  bool http2 = false;
  std::string head;
  std::string body;
};

struct CurlRequest {
  std::string url;
  std::string method;  // empty: GET, or POST with a body
  std::string body;
  std::vector<std::string> headers;
  bool http1_only = false;
  bool http2_prior_knowledge = false;
  std::string accept_encoding;
  std::string ca_pem;
  CertifiedKey client;
  std::function<bool(std::string_view)> on_data;  // false: stop
};

CurlAnswer perform(const CurlRequest& request);

// Answers every request with a line about it; some paths do more:
//   /stream    three lines and the end      /hold   a stream kept in `held`
//   /large     a megabyte of text           /drop   dropped unanswered
class EchoServer {
 public:
  explicit EchoServer(ServerOptions options = {});

  uint16_t port() const { return server->port(); }
  std::string url(std::string_view path, std::string_view scheme = "http") const;

  Event holding;  // `held` is there
  Event closed;   // the held stream has ended
  std::shared_ptr<Stream> held;
  std::atomic<int64_t> certificate_end{-1};  // of the last request
  std::unique_ptr<Server> server;

 private:
  void handle(const HttpRequest& request, std::unique_ptr<Responder> responder);
};

}  // namespace fairlead::net
