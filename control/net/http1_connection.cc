// HTTP/1.1 on one transport: requests are handled one after the other, pipelined ones wait in the
// input.
#include <fmt/format.h>

#include "control/net/connection.h"
#include "control/net/http1_parser.h"
#include "control/net/output_queue.h"
#include "control/net/text.h"

namespace fairlead::net {
namespace {

constexpr size_t kReadSize = size_t{8} << 10;
constexpr size_t kMaxInput = size_t{64} << 10;        // of requests that wait for their turn
constexpr size_t kMaxQueuedOutput = size_t{1} << 20;  // no further request is begun above this
constexpr size_t kCopyBelow = size_t{4} << 10;        // small chunks: copying beats three pieces
constexpr size_t kPiecesPerWrite = 64;
constexpr std::chrono::seconds kLinger{2};

bool has_no_body(int status) {
  return status < 200 || status == 204 || status == 304;
}

class Http1Connection final : public Connection,
                              public std::enable_shared_from_this<Http1Connection> {
 public:
  Http1Connection(ConnectionHost& host, std::unique_ptr<Transport> transport,
                  Clock::time_point accepted)
      : host_(host),
        transport_(std::move(transport)),
        identity_(transport_->identity()),
        parser_({.max_body = host.options().max_body}),
        head_since_(accepted),
        last_progress_(Clock::now()),
        incomplete_(host.incomplete()) {}

  void start(std::string bytes) override {
    input_ = std::move(bytes);
    advance();
  }

  void close() override;
  bool expired(Clock::time_point now) override;
  void on_read(size_t size, bool failed) override;
  void on_written(size_t size, bool failed) override;
  void on_output(Exchange& exchange) override {
    if (&exchange == exchange_.get()) advance();
  }

 private:
  enum class Ending { kNo, kAfterOutput, kLingering };

  void advance();
  bool parse_next();
  void dispatch();
  void take_output();
  void write_head(const HttpResponse& head, std::optional<size_t> content_length);
  void write_body(Buffer bytes);
  void complete_exchange();
  void refuse(int status, std::string_view reason);
  void flush();
  void read_more();
  void linger();

  ConnectionHost& host_;
  const std::unique_ptr<Transport> transport_;
  const PeerIdentity identity_;
  Http1Parser parser_;
  std::string input_;
  OutputQueue output_;
  char read_buffer_[kReadSize];
  bool reading_ = false;
  bool writing_ = false;
  bool peer_finished_ = false;
  bool closed_ = false;
  Ending ending_ = Ending::kNo;

  // The request being answered.
  std::shared_ptr<Exchange> exchange_;
  bool streaming_ = false;
  bool chunked_ = false;
  bool head_request_ = false;
  bool http_1_0_ = false;
  bool keep_alive_ = true;

  bool continue_sent_ = false;
  bool first_request_ = true;
  Clock::time_point head_since_;     // accept, or the first byte of the request being read
  Clock::time_point last_progress_;  // of reading or writing
  Clock::time_point last_written_;   // or begun to write
  IncompleteBytes incomplete_;
};

// Everything that can happen next, in order, until something must be waited for.
void Http1Connection::advance() {
  while (!closed_) {
    if (exchange_) {
      take_output();
      if (exchange_) break;  // the handler is still at it
    } else if (ending_ != Ending::kNo || output_.size() > kMaxQueuedOutput || !parse_next()) {
      break;
    }
  }
  if (closed_) return;
  flush();
  if (!closed_ && peer_finished_ && !exchange_ && output_.empty()) return close();
  read_more();
}

// False when more bytes are needed.
bool Http1Connection::parse_next() {
  if (input_.empty()) return false;
  if (!parser_.started() && !first_request_) head_since_ = Clock::now();
  input_.erase(0, parser_.feed(input_));
  if (!parser_.failed() && !incomplete_.set(parser_.held_bytes())) {
    refuse(kOverloaded, kTooMuchIncomplete);
    return false;
  }
  if (parser_.failed()) {
    refuse(parser_.error_status(), parser_.error_reason());
    return false;
  }
  if (parser_.complete()) {
    dispatch();
    return true;
  }
  if (parser_.head_complete() && parser_.expects_continue() && !continue_sent_) {
    continue_sent_ = true;
    output_.append("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return false;
}

void Http1Connection::dispatch() {
  keep_alive_ = parser_.keep_alive();
  http_1_0_ = parser_.http_1_0();
  HttpRequest request = parser_.take();
  incomplete_.set(0);
  stamp_identity(identity_, request);
  head_request_ = request.method == "HEAD";
  streaming_ = chunked_ = continue_sent_ = first_request_ = false;
  exchange_ =
      std::make_shared<Exchange>(host_.loop(), weak_from_this(), exchange_traits(host_, request));
  host_.handle(request, make_responder(exchange_));
}

void Http1Connection::take_output() {
  const std::shared_ptr<Exchange> exchange = exchange_;  // callbacks below may close us
  Exchange::Output output = exchange->take();
  if (output.cut) return close();
  if (output.head) {
    streaming_ = !output.content_length;
    // A peer that has stopped sending may still want an answer, but nobody watches that way.
    if (streaming_ && peer_finished_) return close();
    write_head(*output.head, output.content_length);
  }
  for (Buffer& bytes : output.buffers) write_body(std::move(bytes));
  if (output.aborted) {
    ending_ = Ending::kAfterOutput;
    keep_alive_ = false;
    exchange_.reset();
    exchange->close();
  } else if (output.finished) {
    if (chunked_ && !head_request_) output_.append("0\r\n\r\n");
    complete_exchange();
  }
}

void Http1Connection::write_head(const HttpResponse& head, std::optional<size_t> content_length) {
  const bool bodiless = has_no_body(head.status);
  chunked_ = streaming_ && !http_1_0_ && !bodiless;
  if (streaming_ && http_1_0_) keep_alive_ = false;  // its end is the connection's end
  head_request_ = head_request_ || bodiless;
  std::string text = fmt::format("HTTP/1.1 {} {}\r\ndate: {}\r\n", head.status,
                                 status_reason(head.status), http_date());
  if (!head.content_type.empty()) text += fmt::format("content-type: {}\r\n", head.content_type);
  for (const auto& [name, value] : head.headers) {
    // A line break in a value would let it write headers of its own.
    if (is_token(name) && is_field_value(value)) text += fmt::format("{}: {}\r\n", name, value);
  }
  if (chunked_) {
    text += "transfer-encoding: chunked\r\n";
  } else if (content_length && !bodiless) {
    text += fmt::format("content-length: {}\r\n", *content_length);
  }
  if (!keep_alive_) {
    text += "connection: close\r\n";
  } else if (http_1_0_) {
    text += "connection: keep-alive\r\n";
  }
  text += "\r\n";
  output_.append(std::move(text));
}

void Http1Connection::write_body(Buffer bytes) {
  const size_t credit = bytes->size();
  if (head_request_) return exchange_->sent(credit);
  if (!chunked_) return output_.append(std::move(bytes), exchange_, credit);
  if (credit < kCopyBelow) {
    auto framed =
        std::make_shared<const std::string>(fmt::format("{:x}\r\n{}\r\n", credit, *bytes));
    return output_.append(std::move(framed), exchange_, credit);
  }
  output_.append(fmt::format("{:x}\r\n", credit));
  output_.append(std::move(bytes), exchange_, credit);
  output_.append("\r\n");
}

void Http1Connection::complete_exchange() {
  const std::shared_ptr<Exchange> exchange = std::move(exchange_);
  exchange_.reset();
  if (!keep_alive_) ending_ = Ending::kAfterOutput;
  exchange->close();
}

void Http1Connection::refuse(int status, std::string_view reason) {
  keep_alive_ = false;
  http_1_0_ = head_request_ = streaming_ = chunked_ = false;
  ending_ = Ending::kAfterOutput;
  HttpResponse response = refusal_of(host_.options(), status, reason);
  parser_ = Http1Parser({.max_body = host_.options().max_body});  // `reason` may be its
  incomplete_.set(0);
  write_head(response, response.body.size());
  output_.append(std::move(response.body));
}

void Http1Connection::flush() {
  if (writing_) return;
  if (output_.empty()) {
    if (ending_ == Ending::kAfterOutput) linger();
    return;
  }
  writing_ = true;
  last_written_ = Clock::now();
  transport_->write(output_.front(kPiecesPerWrite), shared_from_this());
}

// Closing with bytes of the peer unread would make the kernel reset the connection, and the peer
// might lose the answer: say goodbye, and read on for a moment.
void Http1Connection::linger() {
  if (peer_finished_) return close();
  ending_ = Ending::kLingering;
  input_.clear();
  last_progress_ = Clock::now();
  transport_->shutdown_write(shared_from_this());
}

void Http1Connection::read_more() {
  if (closed_ || reading_ || peer_finished_ || input_.size() >= kMaxInput) return;
  reading_ = true;
  transport_->read(read_buffer_, sizeof read_buffer_, shared_from_this());
}

void Http1Connection::on_read(size_t size, bool failed) {
  reading_ = false;
  if (closed_) return;
  if (failed) return close();
  if (ending_ == Ending::kLingering) return size == 0 ? close() : read_more();
  if (size == 0) {
    peer_finished_ = true;
    if (streaming_ && exchange_) return close();
  } else if (ending_ == Ending::kNo) {
    last_progress_ = Clock::now();
    input_.append(read_buffer_, size);
  }
  advance();
}

void Http1Connection::on_written(size_t size, bool failed) {
  writing_ = false;
  if (closed_) return;
  if (failed) return close();
  output_.consume(size);
  last_written_ = last_progress_ = Clock::now();
  if (output_.size() > kMaxQueuedOutput) return flush();
  advance();
}

void Http1Connection::close() {
  if (closed_) return;
  closed_ = true;
  const std::shared_ptr<Http1Connection> keep = shared_from_this();
  transport_->close();
  if (!writing_) output_.clear();  // else its bytes are being read until on_written()
  const std::shared_ptr<Exchange> exchange = std::move(exchange_);
  exchange_.reset();
  incomplete_.set(0);
  host_.gone(*this);
  if (exchange) exchange->close();
}

bool Http1Connection::expired(Clock::time_point now) {
  const ServerOptions& options = host_.options();
  if (ending_ == Ending::kLingering) return now - last_progress_ > kLinger;
  // Whoever takes nothing is not kept alive by sending more.
  if (!output_.empty()) return now - last_written_ > host_.patience();
  if (exchange_) return false;
  if (first_request_ || parser_.started()) {
    if (!parser_.head_complete()) return now - head_since_ > options.header_timeout;
    if (now - head_since_ > options.request_timeout) return true;
  }
  return now - last_progress_ > options.idle_timeout;
}

}  // namespace

std::shared_ptr<Connection> make_http1_connection(ConnectionHost& host,
                                                  std::unique_ptr<Transport> transport,
                                                  Clock::time_point accepted) {
  return std::make_shared<Http1Connection>(host, std::move(transport), accepted);
}

}  // namespace fairlead::net
