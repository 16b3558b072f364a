// The API client: one thread, one libcurl multi handle, one connection per server where HTTP/2 is
// offered.
//
// A connection on which a request timed out gets no new requests; the others on it may go on.
//
// Everything that talks to the API server (reflectors, single requests) lives on the client's loop
// thread; results come back through callbacks on that thread. JSON on the wire, gzip accepted.
//
// Threads: create and run() on one thread; post() and stop() from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/client/config.h"

namespace fairlead::client {

struct Request {
  std::string method = "GET";
  std::string path;  // path and query, "/api/v1/nodes/a"
  std::string body;
  std::string content_type;                  // with a body; default application/json
  std::chrono::milliseconds timeout{30000};  // whole request; 0: none (watches)
  size_t max_body = size_t{64} << 20;        // larger answers are an error (after inflation)
  // No byte of the answer for this long ends the request; 0: none. The connection it was on is not
  // used for new requests, since a peer that says nothing is likely to be dead.
  std::chrono::milliseconds silence_limit{0};
};

struct Response {
  int status = 0;  // HTTP
  std::string body;
  std::string retry_after;
  bool http2 = false;
};

// Called on the loop thread. A transport failure is a Status; any HTTP status is a Response.
using ResponseCallback = std::function<void(Result<Response>)>;

// A streaming request: `on_data` sees body bytes of 2xx answers as they come; return false to
// cancel, after which nothing is called any more. Any of them may be empty. They may call the
// client, but must not destroy it.
struct StreamCallbacks {
  std::function<void(int http_status)> on_headers;
  std::function<bool(std::string_view bytes)> on_data;
  // The end, for whatever reason. For a non-2xx answer the response holds its body (bounded).
  std::function<void(Result<Response>)> on_end;
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> create(ClientConfig config);
  virtual ~Client() = default;

  // Loop-thread only. The returned id cancels; a cancelled request makes no further callback.
  using RequestId = uint64_t;
  virtual RequestId send(Request request, ResponseCallback done) = 0;
  virtual RequestId stream(Request request, StreamCallbacks callbacks) = 0;
  virtual void cancel(RequestId id) = 0;
  // Calls `callback` once after `delay` on the loop thread.
  virtual RequestId after(std::chrono::milliseconds delay, std::function<void()> callback) = 0;

  // Runs the loop until stop(). Any thread may post work to it.
  virtual void run() = 0;
  virtual void stop() = 0;
  virtual void post(std::function<void()> work) = 0;

  // Counters for rest_client_* metrics; called on the loop thread after each request, for a stream
  // when its head has arrived (or never will).
  struct RequestReport {
    std::string method;
    std::string host;
    int code = 0;  // 0: transport failure
    std::chrono::nanoseconds duration{};
    std::string verb;  // "GET", "LIST", "WATCH", "POST", ...
  };
  virtual void set_request_observer(std::function<void(const RequestReport&)> observer) = 0;
};

}  // namespace fairlead::client
