// Accepting, the io thread, and the life of connections.
#include "control/net/server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <unordered_map>

#include "base/log.h"
#include "control/net/asio_transport.h"
#include "control/net/connection.h"
#include "control/net/tls.h"

namespace fairlead::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kSweepInterval{250};
constexpr std::chrono::milliseconds kAcceptBackoff{100};  // when descriptors run out

class AsioLoop final : public Loop {
 public:
  bool post(std::function<void()> work) override EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (ended_) return false;
    asio::post(context_, std::move(work));
    return true;
  }
  void end() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ended_ = true;
  }
  asio::io_context& context() { return context_; }

 private:
  asio::io_context context_{1};
  Mutex mutex_;
  bool ended_ GUARDED_BY(mutex_) = false;
};

class AsioServer final : public Server, public ConnectionHost {
 public:
  AsioServer(ServerOptions options, Handler handler)
      : options_(std::move(options)),
        handler_(std::move(handler)),
        incomplete_(options_.max_incomplete),
        loop_(std::make_shared<AsioLoop>()),
        base_loop_(loop_),
        acceptor_(loop_->context()),
        sweep_timer_(loop_->context()),
        accept_timer_(loop_->context()) {}
  ~AsioServer() override { AsioServer::stop(); }

  Status open();
  void stop() override;
  void close_connections() override {
    asio::post(loop_->context(), [this] { drop_connections(); });
  }
  uint16_t port() const override { return port_; }
  size_t connections() const override { return connection_count_.load(); }

  // ConnectionHost, on the io thread.
  const ServerOptions& options() const override { return options_; }
  const std::shared_ptr<Loop>& loop() const override { return base_loop_; }
  const std::shared_ptr<std::atomic<size_t>>& queued() const override { return queued_; }
  IncompleteRequests& incomplete() override { return incomplete_; }
  void handle(const HttpRequest& request, std::unique_ptr<Responder> responder) override {
    handler_(request, std::move(responder));
  }
  void promote(Connection& greeting, std::unique_ptr<Transport> transport,
               Clock::time_point accepted, std::string bytes, bool http2) override;
  void gone(Connection& connection) override;

 private:
  Status listen(const tcp::endpoint& endpoint, const std::string& object);
  void accept();
  void welcome(tcp::socket socket);
  void sweep();  // again and again while there are connections: an idle server does not wake up
  void drop_connections();
  void insert(std::shared_ptr<Connection> connection);

  const ServerOptions options_;
  const Handler handler_;
  IncompleteRequests incomplete_;
  const std::shared_ptr<AsioLoop> loop_;
  const std::shared_ptr<Loop> base_loop_;  // the same
  std::shared_ptr<SSL_CTX> tls_;
  tcp::acceptor acceptor_;
  asio::steady_timer sweep_timer_;
  asio::steady_timer accept_timer_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  std::atomic<size_t> connection_count_{0};
  const std::shared_ptr<std::atomic<size_t>> queued_ = std::make_shared<std::atomic<size_t>>(0);
  uint16_t port_ = 0;
  bool stopping_ = false;
  bool sweeping_ = false;
  std::thread thread_;
};

Status AsioServer::open() {
  const std::string object = fmt::format("{}:{}", options_.address, options_.port);
  if (options_.tls_enabled) {
    ASSIGN_OR_RETURN(tls_, make_tls_context(options_.tls, options_.http2));
  }
  error_code error;
  const asio::ip::address address = asio::ip::make_address(options_.address, error);
  if (error) return Status::error(StatusCode::kInvalid, "listen on", object, "not an IP address");
  RETURN_IF_ERROR(listen(tcp::endpoint(address, options_.port), object));
  accept();
  thread_ = std::thread([this] { loop_->context().run(); });
  return {};
}

Status AsioServer::listen(const tcp::endpoint& endpoint, const std::string& object) {
  error_code error;
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return Status::from_errno(error.value(), "listen on", object);
  port_ = acceptor_.local_endpoint(error).port();
  return {};
}

void AsioServer::accept() {
  acceptor_.async_accept([this](error_code error, tcp::socket socket) {
    if (stopping_) return;
    if (!error) {
      welcome(std::move(socket));
      return accept();
    }
    if (error != asio::error::no_descriptors && error.value() != ENFILE &&
        error != asio::error::no_memory && error != asio::error::no_buffer_space) {
      return accept();  // the peer gave up before we took it
    }
    LOG_WARNING("accept on port {}: {}", port_, error.message());
    accept_timer_.expires_after(kAcceptBackoff);
    accept_timer_.async_wait([this](error_code) {
      if (!stopping_) accept();
    });
  });
}

void AsioServer::welcome(tcp::socket socket) {
  if (connections_.size() >= options_.max_connections) return;  // the socket closes itself
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  // Watches are quiet by nature: the kernel finds out whose peers have vanished.
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  using Option = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>;
  using Interval = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>;
  using Count = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>;
  socket.set_option(Option(30), ignored);
  socket.set_option(Interval(10), ignored);
  socket.set_option(Count(3), ignored);
  std::unique_ptr<Transport> transport =
      tls_ ? make_tls_transport(std::move(socket), tls_) : make_plain_transport(std::move(socket));
  const std::shared_ptr<Connection> greeting = make_greeting(*this, std::move(transport));
  insert(greeting);
  greeting->start({});
}

void AsioServer::insert(std::shared_ptr<Connection> connection) {
  Connection* key = connection.get();
  connections_.emplace(key, std::move(connection));
  connection_count_.store(connections_.size());
  if (!sweeping_) sweep();
}

void AsioServer::gone(Connection& connection) {
  connections_.erase(&connection);
  connection_count_.store(connections_.size());
}

void AsioServer::promote(Connection& greeting, std::unique_ptr<Transport> transport,
                         Clock::time_point accepted, std::string bytes, bool http2) {
  const std::shared_ptr<Connection> connection =
      http2 ? make_http2_connection(*this, std::move(transport), accepted)
            : make_http1_connection(*this, std::move(transport), accepted);
  connections_.erase(&greeting);
  insert(connection);
  connection->start(std::move(bytes));
}

void AsioServer::sweep() {
  sweeping_ = true;
  sweep_timer_.expires_after(kSweepInterval);
  sweep_timer_.async_wait([this](error_code) {
    if (stopping_) return;
    const Clock::time_point now = Clock::now();
    // expired() may end a connection by itself: look at a copy.
    std::vector<std::shared_ptr<Connection>> all;
    all.reserve(connections_.size());
    for (const auto& [key, connection] : connections_) all.push_back(connection);
    for (const std::shared_ptr<Connection>& connection : all) {
      if (connection->expired(now)) connection->close();
    }
    sweeping_ = false;
    if (!connections_.empty()) sweep();
  });
}

void AsioServer::drop_connections() {
  const auto connections = connections_;
  for (const auto& [key, connection] : connections) connection->close();
}

void AsioServer::stop() {
  if (!thread_.joinable()) return;
  asio::post(loop_->context(), [this] {
    stopping_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    sweep_timer_.cancel();
    accept_timer_.cancel();
    drop_connections();
  });
  thread_.join();  // the loop runs out of work when the last aborted operation has come home
  loop_->end();
  // What was posted in between still gets its turn, so that nobody waits for a call-back in vain.
  loop_->context().restart();
  loop_->context().poll();
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Handler handler) {
  auto server = std::make_unique<AsioServer>(std::move(options), std::move(handler));
  RETURN_IF_ERROR(server->open());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace fairlead::net
