// HTTP/2 on one transport: nghttp2 keeps the protocol's state, this class moves bytes and answers.
#include <fmt/format.h>
#include <nghttp2/nghttp2.h>

#include <unordered_map>

#include "control/net/connection.h"
#include "control/net/http2_stream.h"
#include "control/net/text.h"

namespace fairlead::net {
namespace {

constexpr size_t kHttp2ReadSize = size_t{16} << 10;
constexpr size_t kMaxHead = size_t{64} << 10;
constexpr size_t kWriteSize = size_t{64} << 10;
constexpr uint32_t kMaxStreams = 250;
constexpr int32_t kStreamWindow = 256 << 10;
constexpr int32_t kConnectionWindow = 4 << 20;
// A client that gets its answer before it has sent its body may go on for this long. Resetting the
// stream at once would make many clients forget the answer.
constexpr size_t kMaxDiscarded = size_t{16} << 20;

struct SessionDelete {
  void operator()(nghttp2_session* session) const { ::nghttp2_session_del(session); }
};

nghttp2_nv header_pair(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::string_view text_of(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Headers that belong to one HTTP/1 connection and make an HTTP/2 message malformed.
bool is_connection_header(std::string_view name) {
  return name == "connection" || name == "keep-alive" || name == "transfer-encoding" ||
         name == "upgrade" || name == "proxy-connection";
}

class Http2Connection final : public Connection,
                              public std::enable_shared_from_this<Http2Connection> {
 public:
  Http2Connection(ConnectionHost& host, std::unique_ptr<Transport> transport,
                  Clock::time_point accepted)
      : host_(host),
        transport_(std::move(transport)),
        identity_(transport_->identity()),
        accepted_(accepted),
        last_activity_(Clock::now()) {}

  void start(std::string bytes) override;
  void close() override;
  bool expired(Clock::time_point now) override;
  void on_read(size_t size, bool failed) override;
  void on_written(size_t size, bool failed) override;
  void on_output(Exchange& exchange) override;

 private:
  static nghttp2_session* make_session(Http2Connection* self);
  int on_frame(const nghttp2_frame& frame);
  void receive(std::string_view bytes);
  void dispatch(Http2Stream& stream, int32_t id);
  void take_output(Http2Stream& stream, int32_t id);
  void submit_head(Http2Stream& stream, int32_t id, const HttpResponse& head,
                   std::optional<size_t> content_length);
  void forget(int32_t id);
  void flush();
  Http2Stream* find(int32_t id) {
    const auto found = streams_.find(id);
    return found == streams_.end() ? nullptr : found->second.get();
  }

  ConnectionHost& host_;
  const std::unique_ptr<Transport> transport_;
  const PeerIdentity identity_;
  const Clock::time_point accepted_;
  Clock::time_point last_activity_;
  Clock::time_point last_written_;  // or begun to write
  std::unique_ptr<nghttp2_session, SessionDelete> session_;
  std::unordered_map<int32_t, std::unique_ptr<Http2Stream>> streams_;
  std::string output_;
  size_t output_offset_ = 0;
  char read_buffer_[kHttp2ReadSize];
  bool writing_ = false;
  bool busy_ = false;     // inside nghttp2, which must not be entered again
  bool greeted_ = false;  // the peer's SETTINGS have come
  bool closed_ = false;
};

nghttp2_session* Http2Connection::make_session(Http2Connection* self) {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (::nghttp2_session_callbacks_new(&callbacks) != 0) return nullptr;
  const std::unique_ptr<nghttp2_session_callbacks, decltype(&::nghttp2_session_callbacks_del)>
      owner(callbacks, &::nghttp2_session_callbacks_del);
  ::nghttp2_session_callbacks_set_on_begin_headers_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        auto* connection = static_cast<Http2Connection*>(user);
        if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          connection->streams_.emplace(
              frame->hd.stream_id, std::make_unique<Http2Stream>(connection->host_.incomplete()));
        }
        return 0;
      });
  ::nghttp2_session_callbacks_set_on_header_callback(
      callbacks,
      [](nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
         const uint8_t* value, size_t value_size, uint8_t, void* user) {
        Http2Stream* stream = static_cast<Http2Connection*>(user)->find(frame->hd.stream_id);
        // Trailers are read past.
        if (stream != nullptr && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          stream->add_header(text_of(name, name_size), text_of(value, value_size), kMaxHead);
        }
        return 0;
      });
  ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks,
      [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
        auto* connection = static_cast<Http2Connection*>(user);
        Http2Stream* stream = connection->find(id);
        if (stream != nullptr) {
          stream->add_body(text_of(bytes, size), connection->host_.options().max_body);
          if (!stream->refusal.empty()) connection->dispatch(*stream, id);
          if (stream->discarded > kMaxDiscarded) {
            ::nghttp2_submit_rst_stream(connection->session_.get(), NGHTTP2_FLAG_NONE, id,
                                        NGHTTP2_NO_ERROR);
          }
        }
        return 0;
      });
  ::nghttp2_session_callbacks_set_on_frame_recv_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
        return static_cast<Http2Connection*>(user)->on_frame(*frame);
      });
  ::nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, int32_t id, uint32_t, void* user) {
        static_cast<Http2Connection*>(user)->forget(id);
        return 0;
      });
  nghttp2_session* session = nullptr;
  return ::nghttp2_session_server_new(&session, callbacks, self) == 0 ? session : nullptr;
}

void Http2Connection::start(std::string bytes) {
  session_.reset(make_session(this));
  if (!session_) return close();
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxStreams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxHead},
  };
  ::nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, settings, std::size(settings));
  ::nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  receive(bytes);
  if (closed_) return;
  transport_->read(read_buffer_, sizeof read_buffer_, shared_from_this());
}

void Http2Connection::receive(std::string_view bytes) {
  busy_ = true;
  const ssize_t used = ::nghttp2_session_mem_recv(
      session_.get(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  busy_ = false;
  if (closed_) return;
  if (used < 0) return close();
  flush();
}

int Http2Connection::on_frame(const nghttp2_frame& frame) {
  if (frame.hd.type == NGHTTP2_SETTINGS) greeted_ = true;
  if (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA) return 0;
  Http2Stream* stream = find(frame.hd.stream_id);
  if (stream == nullptr) return 0;
  const int32_t id = frame.hd.stream_id;
  stream->account();
  stream->request_complete = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (stream->request_complete || !stream->refusal.empty()) {
    dispatch(*stream, id);
  } else if (stream->expects_continue && frame.hd.type == NGHTTP2_HEADERS) {
    const nghttp2_nv status = header_pair(":status", "100");
    ::nghttp2_submit_headers(session_.get(), NGHTTP2_FLAG_NONE, id, nullptr, &status, 1, nullptr);
  }
  return 0;
}

void Http2Connection::dispatch(Http2Stream& stream, int32_t id) {
  if (stream.dispatched) return;
  stream.dispatched = true;
  stream.incomplete.set(0);
  if (!stream.refusal.empty()) {
    HttpResponse head = refusal_of(host_.options(), stream.refusal_status, stream.refusal);
    stream.body.push_back(std::make_shared<const std::string>(std::move(head.body)));
    stream.finished = true;
    submit_head(stream, id, head, stream.body.front()->size());
    return;
  }
  stamp_identity(identity_, stream.request);
  stream.request.http2 = true;
  Exchange::Traits traits = exchange_traits(host_, stream.request);
  traits.stream_id = id;
  stream.exchange = std::make_shared<Exchange>(host_.loop(), weak_from_this(), traits);
  host_.handle(stream.request, make_responder(stream.exchange));
  stream.request = HttpRequest();  // a watch lives long: give back what it arrived with
  take_output(stream, id);
}

void Http2Connection::take_output(Http2Stream& stream, int32_t id) {
  Exchange::Output output = stream.exchange->take();
  if (output.cut) {
    stream.body.clear();
    ::nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
    return;
  }
  if (stream.head_request) output.buffers.clear();
  const bool had_something = !stream.body.empty();
  for (Buffer& bytes : output.buffers) stream.body.push_back(std::move(bytes));
  if (!had_something) stream.last_progress = Clock::now();
  stream.finished = stream.finished || output.finished;
  stream.aborted = stream.aborted || output.aborted;
  if (output.head) submit_head(stream, id, *output.head, output.content_length);
  if (stream.deferred && (!stream.body.empty() || stream.finished || stream.aborted)) {
    stream.deferred = false;
    ::nghttp2_session_resume_data(session_.get(), id);
  }
}

void Http2Connection::submit_head(Http2Stream& stream, int32_t id, const HttpResponse& head,
                                  std::optional<size_t> content_length) {
  const std::string status = std::to_string(head.status);
  const std::string date = http_date();
  const std::string length = content_length ? std::to_string(*content_length) : std::string();
  const bool bodiless = head.status == 204 || head.status == 304;
  std::vector<std::string> names;
  names.reserve(head.headers.size());
  std::vector<nghttp2_nv> pairs = {header_pair(":status", status), header_pair("date", date)};
  if (!head.content_type.empty()) pairs.push_back(header_pair("content-type", head.content_type));
  for (const auto& [name, value] : head.headers) {
    names.push_back(to_lower(name));
    if (is_token(name) && is_field_value(value) && !is_connection_header(names.back())) {
      pairs.push_back(header_pair(names.back(), value));
    }
  }
  if (content_length && !bodiless) pairs.push_back(header_pair("content-length", length));
  const bool empty = stream.finished && stream.body.empty();
  nghttp2_data_provider provider{};
  provider.read_callback = [](nghttp2_session*, int32_t stream_id, uint8_t* out, size_t room,
                              uint32_t* flags, nghttp2_data_source*, void* user) -> ssize_t {
    Http2Stream* found = static_cast<Http2Connection*>(user)->find(stream_id);
    if (found == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return found->read_body(out, room, flags);
  };
  ::nghttp2_submit_response(session_.get(), id, pairs.data(), pairs.size(),
                            empty || bodiless || stream.head_request ? nullptr : &provider);
}

void Http2Connection::on_output(Exchange& exchange) {
  Http2Stream* stream = find(exchange.stream_id());
  if (closed_ || stream == nullptr || stream->exchange.get() != &exchange) return;
  take_output(*stream, exchange.stream_id());
  flush();
}

void Http2Connection::forget(int32_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const std::unique_ptr<Http2Stream> stream = std::move(found->second);
  streams_.erase(found);
  if (stream->exchange) stream->exchange->close();
}

void Http2Connection::flush() {
  if (writing_ || closed_ || busy_) return;
  output_.clear();
  output_offset_ = 0;
  busy_ = true;
  while (output_.size() < kWriteSize) {
    const uint8_t* bytes = nullptr;
    const ssize_t size = ::nghttp2_session_mem_send(session_.get(), &bytes);
    if (size <= 0) break;
    output_.append(text_of(bytes, static_cast<size_t>(size)));
  }
  busy_ = false;
  if (closed_) return;
  if (output_.empty()) {
    if (!::nghttp2_session_want_read(session_.get()) &&
        !::nghttp2_session_want_write(session_.get())) {
      close();
    }
    return;
  }
  writing_ = true;
  last_activity_ = last_written_ = Clock::now();
  const std::string_view piece = output_;
  transport_->write({&piece, 1}, shared_from_this());
}

void Http2Connection::on_read(size_t size, bool failed) {
  if (closed_) return;
  if (failed || size == 0) return close();
  last_activity_ = Clock::now();
  receive(std::string_view(read_buffer_, size));
  if (!closed_) transport_->read(read_buffer_, sizeof read_buffer_, shared_from_this());
}

void Http2Connection::on_written(size_t size, bool failed) {
  writing_ = false;
  if (closed_) return;
  if (failed) return close();
  last_activity_ = last_written_ = Clock::now();
  output_offset_ += size;
  if (output_offset_ < output_.size()) {
    writing_ = true;
    const std::string_view piece = std::string_view(output_).substr(output_offset_);
    return transport_->write({&piece, 1}, shared_from_this());
  }
  flush();
}

void Http2Connection::close() {
  if (closed_) return;
  closed_ = true;
  const std::shared_ptr<Http2Connection> keep = shared_from_this();
  transport_->close();
  const auto streams = std::move(streams_);
  streams_.clear();
  host_.gone(*this);
  for (const auto& [id, stream] : streams) {
    if (stream->exchange) stream->exchange->close();
  }
}

bool Http2Connection::expired(Clock::time_point now) {
  const ServerOptions& options = host_.options();
  if (!greeted_) return now - accepted_ > options.header_timeout;
  // Whoever takes nothing is not kept alive by sending more.
  if (writing_ && now - last_written_ > host_.patience()) return true;
  if (streams_.empty()) return now - last_activity_ > options.idle_timeout;
  // A stream may be quiet for as long as its handler likes, but a body that has stopped coming or
  // an answer that nobody takes (the peer grants no window) holds memory.
  for (const auto& [id, stream] : streams_) {
    const bool waits_for_peer = !stream->request_complete || !stream->body.empty();
    const auto patience = stream->body.empty() ? options.idle_timeout : host_.patience();
    const bool late = !stream->request_complete && now - stream->begun > options.request_timeout;
    if (late || (waits_for_peer && now - stream->last_progress > patience)) {
      ::nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    }
  }
  flush();
  return false;
}

}  // namespace

std::shared_ptr<Connection> make_http2_connection(ConnectionHost& host,
                                                  std::unique_ptr<Transport> transport,
                                                  Clock::time_point accepted) {
  return std::make_shared<Http2Connection>(host, std::move(transport), accepted);
}

}  // namespace fairlead::net
