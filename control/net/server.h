// An HTTP server: HTTP/1.1 and HTTP/2 (ALPN), plain or TLS with optional client certificates,
// answers at once or as a stream (watches). Serves the API server, the test API server and the
// daemon's health and metrics ports alike.
//
// Limits: request head 64 KiB, body ServerOptions::max_body, idle connections closed, slow readers
// bounded: Stream::backlog() tells the writer how far one lags, and ServerOptions::max_backlog cuts
// it off. A malformed request is answered 400 and closed. Answers larger than 128 KiB go compressed
// to clients that accept gzip; streams never do.
//
// Threads: each Server runs one io thread of its own; handlers are called there and must not block.
// Responder and Stream functions may be called from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace fairlead::net {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string path;   // percent-decoded, without the query
  std::string query;  // raw
  Headers headers;    // lower-case names
  std::string body;
  std::string peer;  // "10.0.0.1:1234"
  bool http2 = false;
  bool tls = false;
  std::string client_certificate_common_name;  // empty: none presented
  std::vector<std::string> client_certificate_organizations;
  // Seconds since 1970 when the first certificate of its chain expires. A connection outlives it:
  // whoever trusts the name compares.
  int64_t client_certificate_not_after = 0;

  const std::string* header(std::string_view lower_case_name) const;  // null when absent
  std::string query_value(std::string_view name) const;  // percent-decoded, empty when absent
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  Headers headers;
  std::string body;
};

// The body of an answer that goes on. Ends with finish() or when the peer goes away; dropping it
// unfinished aborts it.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void write(std::string bytes) = 0;
  virtual void write(
      std::shared_ptr<const std::string> bytes) = 0;  // shared by many watchers, not copied
  virtual void finish() = 0;
  // Cuts the connection (HTTP/2: the stream) without a proper end, after the bytes written so far.
  virtual void abort() = 0;
  virtual bool open() const = 0;       // false once the peer has gone or finish() was called
  virtual size_t backlog() const = 0;  // bytes written but not yet sent
  virtual bool crowded() const = 0;    // as Responder's
};

// Answers one request, exactly once; dropping it unanswered answers 500.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void respond(HttpResponse response) = 0;
  // Keeps `held` until the answer has been sent or given up. Before the answer; once.
  virtual void hold(std::shared_ptr<const void> held) = 0;
  // Sends the head now; `on_closed` is called once when the stream ends for any reason: on the io
  // thread, or before this returns when the server has already stopped.
  virtual std::shared_ptr<Stream> start_stream(HttpResponse head,
                                               std::function<void()> on_closed) = 0;
  // More than ServerOptions::max_queued waits to be sent in all answers of the server together:
  // make no long ones.
  virtual bool crowded() const = 0;
};

using Handler = std::function<void(const HttpRequest&, std::unique_ptr<Responder>)>;

struct TlsOptions {
  std::string certificate_pem;  // chain
  std::string key_pem;
  std::string client_ca_pem;  // empty: client certificates are not asked for
  bool require_client_certificate = false;
};

struct ServerOptions {
  std::string address = "127.0.0.1";  // "::" and "0.0.0.0" as usual
  uint16_t port = 0;                  // 0: any; see Server::port()
  bool tls_enabled = false;
  TlsOptions tls;
  bool http2 =
      true;  // offered by ALPN over TLS; plain connections speak HTTP/1.1 (or h2 prior knowledge)
  size_t max_body = size_t{3} << 20;
  std::chrono::seconds idle_timeout{120};
  std::chrono::seconds header_timeout{
      10};  // from accept, and from a request's first byte, to its head's end
  std::chrono::seconds request_timeout{60};  // from a request's first byte to its last
  // Of requests that are not complete yet, on all connections together: nobody has asked yet who
  // sends them. Beyond it they are refused with 503.
  size_t max_incomplete = size_t{256} << 20;
  size_t max_connections = 20000;          // further ones are closed at once
  size_t max_backlog = size_t{128} << 20;  // of one stream; beyond it the stream is cut
  // Of all answers together; from half of it on, peers that take nothing are cut off after two
  // seconds. Nothing is refused here: see Responder::crowded().
  size_t max_queued = size_t{512} << 20;
  bool compress = true;  // see above
  // What a request is told that never came to the handler: too large, malformed. Null: the reason
  // as text. On the io thread.
  std::function<HttpResponse(int status, std::string_view reason)> refusal;
};

class Server {
 public:
  // Binds, listens and starts the io thread. kConflict when the address is taken.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Handler handler);
  virtual ~Server() = default;  // stops, joins
  virtual uint16_t port() const = 0;
  virtual size_t connections() const = 0;  // open now
  virtual void stop() = 0;  // idempotent; closes every connection. Not from a handler (it joins)
  virtual void close_connections() = 0;  // drops every connection but goes on serving
};

}  // namespace fairlead::net
