#include "control/net/asio_transport.h"

#include <boost/asio/ssl/stream.hpp>
#include <openssl/ssl.h>

#include <array>

#include "control/net/tls.h"

namespace fairlead::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// As many pieces as Asio hands to one system call.
constexpr size_t kMaxPieces = 64;

// A fixed array that models ConstBufferSequence: no allocation per write.
class Pieces {
 public:
  explicit Pieces(std::span<const std::string_view> pieces)
      : count_(std::min(pieces.size(), kMaxPieces)) {
    for (size_t i = 0; i < count_; ++i) {
      buffers_[i] = asio::const_buffer(pieces[i].data(), pieces[i].size());
    }
  }
  const asio::const_buffer* begin() const { return buffers_.data(); }
  const asio::const_buffer* end() const { return buffers_.data() + count_; }

 private:
  std::array<asio::const_buffer, kMaxPieces> buffers_;
  size_t count_;
};

std::string address_text(const tcp::socket& socket) {
  error_code error;
  const tcp::endpoint endpoint = socket.remote_endpoint(error);
  if (error) return {};
  asio::ip::address address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  const std::string port = std::to_string(endpoint.port());
  return address.is_v6() ? "[" + address.to_string() + "]:" + port
                         : address.to_string() + ":" + port;
}

template <typename AsioStream>
void async_read(AsioStream& stream, char* data, size_t size, std::shared_ptr<TransportUser> user) {
  stream.async_read_some(asio::buffer(data, size),
                         [user = std::move(user)](error_code error, size_t received) {
                           if (error == asio::error::eof) {
                             user->on_read(0, false);
                           } else {
                             user->on_read(received, static_cast<bool>(error));
                           }
                         });
}

template <typename AsioStream>
void async_write(AsioStream& stream, std::span<const std::string_view> pieces,
                 std::shared_ptr<TransportUser> user) {
  stream.async_write_some(Pieces(pieces), [user = std::move(user)](error_code error, size_t sent) {
    user->on_written(sent, static_cast<bool>(error));
  });
}

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(tcp::socket socket)
      : socket_(std::move(socket)), address_(address_text(socket_)) {}

  void handshake(std::shared_ptr<TransportUser> user) override {
    asio::post(socket_.get_executor(), [user = std::move(user)] { user->on_handshake(true); });
  }
  void read(char* data, size_t size, std::shared_ptr<TransportUser> user) override {
    async_read(socket_, data, size, std::move(user));
  }
  void write(std::span<const std::string_view> pieces,
             std::shared_ptr<TransportUser> user) override {
    async_write(socket_, pieces, std::move(user));
  }
  void shutdown_write(std::shared_ptr<TransportUser>) override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }
  bool negotiated_http2() const override { return false; }
  PeerIdentity identity() const override {
    PeerIdentity identity;
    identity.address = address_;
    return identity;
  }

 private:
  tcp::socket socket_;
  const std::string address_;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(tcp::socket socket, std::shared_ptr<SSL_CTX> context)
      : context_(std::move(context)),
        address_(address_text(socket)),
        stream_(std::move(socket), ::SSL_new(context_.get())) {}

  void handshake(std::shared_ptr<TransportUser> user) override {
    stream_.async_handshake(
        asio::ssl::stream_base::server,
        [user = std::move(user)](error_code error) { user->on_handshake(!error); });
  }
  void read(char* data, size_t size, std::shared_ptr<TransportUser> user) override {
    async_read(stream_, data, size, std::move(user));
  }
  void write(std::span<const std::string_view> pieces,
             std::shared_ptr<TransportUser> user) override {
    async_write(stream_, pieces, std::move(user));
  }
  void shutdown_write(std::shared_ptr<TransportUser> user) override {
    // Sends close_notify, then waits for the peer's: the user's own deadline ends that.
    stream_.async_shutdown([this, user = std::move(user)](error_code) { close(); });
  }
  void close() override {
    error_code ignored;
    stream_.lowest_layer().close(ignored);
  }
  bool negotiated_http2() const override {
    return tls_negotiated_http2(*const_cast<TlsTransport*>(this)->stream_.native_handle());
  }
  PeerIdentity identity() const override {
    PeerIdentity identity =
        tls_peer_identity(*const_cast<TlsTransport*>(this)->stream_.native_handle());
    identity.address = address_;
    return identity;
  }

 private:
  const std::shared_ptr<SSL_CTX> context_;
  const std::string address_;
  asio::ssl::stream<tcp::socket> stream_;
};

}  // namespace

std::unique_ptr<Transport> make_plain_transport(tcp::socket socket) {
  return std::make_unique<PlainTransport>(std::move(socket));
}

std::unique_ptr<Transport> make_tls_transport(tcp::socket socket,
                                              std::shared_ptr<SSL_CTX> context) {
  return std::make_unique<TlsTransport>(std::move(socket), std::move(context));
}

}  // namespace fairlead::net
