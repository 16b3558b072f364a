// What connections of either protocol and the server know of each other.
//
// Threads: io thread only.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "control/net/exchange.h"
#include "control/net/transport.h"

namespace fairlead::net {

using Clock = std::chrono::steady_clock;

class Connection : public TransportUser, public ExchangeOwner {
 public:
  // `bytes` have been read already.
  virtual void start(std::string bytes) = 0;
  // Drops everything at once: the transport, every exchange. Idempotent.
  virtual void close() = 0;
  // Whether a deadline has passed; the server then closes the connection.
  virtual bool expired(Clock::time_point now) = 0;
};

// The bytes of requests that are not complete yet, of all connections of a server: what anybody can
// make it hold before it has asked who they are.
class IncompleteRequests {
 public:
  explicit IncompleteRequests(size_t limit) : limit_(limit) {}

 private:
  friend class IncompleteBytes;
  const size_t limit_;
  size_t bytes_ = 0;
};

// One request's part of them.
class IncompleteBytes {
 public:
  explicit IncompleteBytes(IncompleteRequests& all) : all_(all) {}
  IncompleteBytes(const IncompleteBytes&) = delete;
  IncompleteBytes& operator=(const IncompleteBytes&) = delete;
  ~IncompleteBytes() { all_.bytes_ -= bytes_; }

  // False when all would be too many; the part is then what it was.
  bool set(size_t bytes) {
    if (bytes > bytes_ && all_.bytes_ - bytes_ + bytes > all_.limit_) return false;
    all_.bytes_ = all_.bytes_ - bytes_ + bytes;
    bytes_ = bytes;
    return true;
  }

 private:
  IncompleteRequests& all_;
  size_t bytes_ = 0;
};

inline constexpr int kOverloaded = 503;
inline constexpr std::string_view kTooMuchIncomplete =
    "too many requests are on their way at the same time";

class ConnectionHost {
 public:
  virtual ~ConnectionHost() = default;
  virtual const ServerOptions& options() const = 0;
  virtual const std::shared_ptr<Loop>& loop() const = 0;
  virtual IncompleteRequests& incomplete() = 0;
  virtual void handle(const HttpRequest& request, std::unique_ptr<Responder> responder) = 0;
  // Replaces a greeting by the connection of the protocol that it found.
  virtual void promote(Connection& greeting, std::unique_ptr<Transport> transport,
                       Clock::time_point accepted, std::string bytes, bool http2) = 0;
  virtual void gone(Connection& connection) = 0;  // after close()
  // Bytes that wait in all exchanges.
  virtual const std::shared_ptr<std::atomic<size_t>>& queued() const = 0;
  // How long a peer may take nothing of what waits for it.
  std::chrono::seconds patience() const {
    constexpr std::chrono::seconds kPressed{2};
    const bool pressed = *queued() > options().max_queued / 2;
    return pressed ? std::min(kPressed, options().idle_timeout) : options().idle_timeout;
  }
};

// Copies to a request what its connection knows.
void stamp_identity(const PeerIdentity& identity, HttpRequest& request);

// What is said to a request that is refused before anybody has handled it.
HttpResponse refusal_of(const ServerOptions& options, int status, std::string_view reason);

// What the server knows about how to answer `request`.
Exchange::Traits exchange_traits(const ConnectionHost& host, const HttpRequest& request);

std::shared_ptr<Connection> make_greeting(ConnectionHost& host,
                                          std::unique_ptr<Transport> transport);
std::shared_ptr<Connection> make_http1_connection(ConnectionHost& host,
                                                  std::unique_ptr<Transport> transport,
                                                  Clock::time_point accepted);
std::shared_ptr<Connection> make_http2_connection(ConnectionHost& host,
                                                  std::unique_ptr<Transport> transport,
                                                  Clock::time_point accepted);

}  // namespace fairlead::net
