// The first moments of a connection: the TLS handshake, and finding out which protocol is spoken.
#include <string_view>
#include <vector>

#include "control/net/connection.h"

namespace fairlead::net {
namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

class Greeting final : public Connection, public std::enable_shared_from_this<Greeting> {
 public:
  Greeting(ConnectionHost& host, std::unique_ptr<Transport> transport)
      : host_(host), transport_(std::move(transport)) {}

  void start(std::string) override { transport_->handshake(shared_from_this()); }

  void close() override {
    if (!transport_ || closed_) return;
    closed_ = true;
    transport_->close();
    host_.gone(*this);
  }

  bool expired(Clock::time_point now) override {
    return now - accepted_ > host_.options().header_timeout;
  }

  void on_handshake(bool ok) override {
    if (closed_) return;
    if (!ok) return close();
    if (transport_->identity().tls) return promote(transport_->negotiated_http2());
    if (!host_.options().http2) return promote(false);
    transport_->read(buffer_, sizeof buffer_, shared_from_this());
  }

  // Plain connections: HTTP/2 begins with a preface that no HTTP/1 request resembles.
  void on_read(size_t size, bool failed) override {
    if (closed_) return;
    if (failed || size == 0) return close();
    bytes_.append(buffer_, size);
    if (bytes_.starts_with(kHttp2Preface)) return promote(true);
    if (!kHttp2Preface.starts_with(bytes_)) return promote(false);
    transport_->read(buffer_, sizeof buffer_, shared_from_this());
  }

  void on_written(size_t, bool) override {}
  void on_output(Exchange&) override {}

 private:
  void promote(bool http2) {
    host_.promote(*this, std::move(transport_), accepted_, std::move(bytes_), http2);
  }

  ConnectionHost& host_;
  std::unique_ptr<Transport> transport_;  // null once promoted
  const Clock::time_point accepted_ = Clock::now();
  std::string bytes_;
  bool closed_ = false;
  char buffer_[2048];
};

}  // namespace

std::shared_ptr<Connection> make_greeting(ConnectionHost& host,
                                          std::unique_ptr<Transport> transport) {
  return std::make_shared<Greeting>(host, std::move(transport));
}

}  // namespace fairlead::net
