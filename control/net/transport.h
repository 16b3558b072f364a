// An accepted connection's bytes, plain or TLS, and who is at the other end.
//
// Threads: io thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::net {

struct PeerIdentity {
  std::string address;  // "10.0.0.1:1234"
  bool tls = false;
  // Of a verified client certificate; empty when none was presented.
  std::string common_name;
  std::vector<std::string> organizations;
  int64_t not_after = 0;  // seconds since 1970: the first end in its chain
};

class TransportUser {
 public:
  virtual ~TransportUser() = default;
  virtual void on_handshake(bool /*ok*/) {}
  // `size` 0 without `failed`: the peer has sent everything it will send.
  virtual void on_read(size_t size, bool failed) = 0;
  virtual void on_written(size_t size, bool failed) = 0;
};

// At most one read and one write at a time. The user is kept alive until its call-back has
// returned; it must own the transport. Nothing is called back from inside a call.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual void handshake(std::shared_ptr<TransportUser> user) = 0;
  virtual void read(char* data, size_t size, std::shared_ptr<TransportUser> user) = 0;
  // Writes some of the bytes; they must stay until on_written().
  virtual void write(std::span<const std::string_view> pieces,
                     std::shared_ptr<TransportUser> user) = 0;
  virtual void shutdown_write(
      std::shared_ptr<TransportUser> user) = 0;  // says goodbye; no call-back
  virtual void close() = 0;                      // pending operations fail
  virtual bool negotiated_http2() const = 0;
  virtual PeerIdentity identity() const = 0;
};

}  // namespace fairlead::net
