#include "control/net/exchange.h"

#include "control/net/gzip.h"

namespace fairlead::net {
namespace {

constexpr size_t kShared = size_t{4} << 10;  // bytes of a piece that is sent from where it is
constexpr size_t kCompressAbove = size_t{128} << 10;

void compress_body(HttpResponse& response) {
  for (const auto& [name, value] : response.headers) {
    if (name == "content-encoding") return;
  }
  std::optional<std::string> compressed = gzip_compress(response.body);
  if (!compressed) return;
  response.body = std::move(*compressed);
  response.headers.emplace_back("content-encoding", "gzip");
  response.headers.emplace_back("vary", "Accept-Encoding");
}

class ExchangeStream final : public Stream {
 public:
  explicit ExchangeStream(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~ExchangeStream() override { exchange_->abort(); }
  void write(std::string bytes) override {
    exchange_->write(std::make_shared<const std::string>(std::move(bytes)));
  }
  void write(std::shared_ptr<const std::string> bytes) override {
    exchange_->write(std::move(bytes));
  }
  void finish() override { exchange_->finish(); }
  void abort() override { exchange_->abort(); }
  bool open() const override { return exchange_->open(); }
  size_t backlog() const override { return exchange_->backlog(); }
  bool crowded() const override { return exchange_->crowded(); }

 private:
  const std::shared_ptr<Exchange> exchange_;
};

class ExchangeResponder final : public Responder {
 public:
  explicit ExchangeResponder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~ExchangeResponder() override {
    if (exchange_->answered()) return;
    HttpResponse response;
    response.status = 500;
    response.body = "the request was dropped unanswered\n";
    exchange_->respond(std::move(response));
  }
  void respond(HttpResponse response) override { exchange_->respond(std::move(response)); }
  void hold(std::shared_ptr<const void> held) override { exchange_->hold(std::move(held)); }
  std::shared_ptr<Stream> start_stream(HttpResponse head,
                                       std::function<void()> on_closed) override {
    exchange_->start(std::move(head), std::move(on_closed));
    return std::make_shared<ExchangeStream>(exchange_);
  }
  bool crowded() const override { return exchange_->crowded(); }

 private:
  const std::shared_ptr<Exchange> exchange_;
};

}  // namespace

std::unique_ptr<Responder> make_responder(std::shared_ptr<Exchange> exchange) {
  return std::make_unique<ExchangeResponder>(std::move(exchange));
}

bool Exchange::mark_for_wake() {
  if (closed_ || wake_pending_) return false;
  wake_pending_ = true;
  return true;
}

size_t Exchange::add_to_backlog(size_t bytes, bool own) {
  if (own) {
    own_.fetch_add(bytes, std::memory_order_relaxed);
    if (traits_.queued) traits_.queued->fetch_add(bytes, std::memory_order_relaxed);
  }
  return backlog_.fetch_add(bytes, std::memory_order_relaxed);
}

void Exchange::wake() {
  // Weak on both sides: work that never runs because the loop has ended must keep nothing alive.
  loop_->post([owner = owner_, weak = weak_from_this()] {
    const std::shared_ptr<ExchangeOwner> connection = owner.lock();
    const std::shared_ptr<Exchange> exchange = weak.lock();
    if (connection && exchange) connection->on_output(*exchange);
  });
}

void Exchange::respond(HttpResponse response) {
  // Compression happens here, on the caller's thread, not on the io thread that everybody shares.
  if (traits_.compress && response.body.size() > kCompressAbove) compress_body(response);
  bool must_wake = false;
  {
    MutexLock lock(mutex_);
    if (answered_) return;
    answered_ = true;
    ended_ = true;
    auto body = std::make_shared<const std::string>(std::move(response.body));
    response.body.clear();
    output_.head = std::move(response);
    output_.content_length = body->size();
    if (!body->empty()) {
      add_to_backlog(body->size(), true);
      output_.buffers.push_back(std::move(body));
    }
    output_.finished = true;
    must_wake = mark_for_wake();
  }
  if (must_wake) wake();
}

bool Exchange::start(HttpResponse head, std::function<void()> on_closed) {
  bool gone = false;
  bool must_wake = false;
  {
    MutexLock lock(mutex_);
    if (answered_) return false;
    answered_ = true;
    gone = closed_;
    if (!gone) {
      head.body.clear();
      output_.head = std::move(head);
      on_closed_ = on_closed;
      must_wake = mark_for_wake();
    }
  }
  if (must_wake) wake();
  if (gone && on_closed && !loop_->post(on_closed)) on_closed();
  return true;
}

void Exchange::write(Buffer bytes) {
  if (!bytes || bytes->empty()) return;
  bool must_wake = false;
  {
    MutexLock lock(mutex_);
    if (closed_ || ended_) return;
    // Small pieces are copied on their way, whoever else has them.
    const bool own = bytes.use_count() == 1 || bytes->size() < kShared;
    const size_t before = add_to_backlog(bytes->size(), own);
    if (before + bytes->size() > traits_.max_backlog) {
      output_.buffers.clear();
      output_.cut = true;
      ended_ = true;
    } else {
      output_.buffers.push_back(std::move(bytes));
    }
    must_wake = mark_for_wake();
  }
  if (must_wake) wake();
}

void Exchange::finish() {
  bool must_wake = false;
  {
    MutexLock lock(mutex_);
    if (closed_ || ended_) return;
    ended_ = true;
    output_.finished = true;
    must_wake = mark_for_wake();
  }
  if (must_wake) wake();
}

void Exchange::abort() {
  bool must_wake = false;
  {
    MutexLock lock(mutex_);
    if (closed_ || ended_) return;
    ended_ = true;
    output_.aborted = true;
    must_wake = mark_for_wake();
  }
  if (must_wake) wake();
}

bool Exchange::open() const {
  MutexLock lock(mutex_);
  return !closed_ && !ended_;
}

bool Exchange::answered() const {
  MutexLock lock(mutex_);
  return answered_;
}

Exchange::Output Exchange::take() {
  MutexLock lock(mutex_);
  wake_pending_ = false;
  Output taken = std::move(output_);
  output_ = Output();
  return taken;
}

void Exchange::close() {
  std::function<void()> on_closed;
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    output_ = Output();
    on_closed = std::move(on_closed_);
  }
  if (on_closed) on_closed();
}

}  // namespace fairlead::net
