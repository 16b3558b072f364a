// A reflector against a server that answers with any bytes in any order of events. Its sink's
// picture must stay consistent: nothing is removed that was not there, nothing is delivered twice
// in the same version. Input: a sequence of records, one byte of action, one byte of length, the
// bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "control/client/reflector.h"

using fairlead::Result;
using fairlead::Status;
using fairlead::StatusCode;
using namespace fairlead::client;  // NOLINT: a test of one namespace

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

class OneRequestClient : public Client {
 public:
  RequestId send(Request, ResponseCallback done) override {
    require(!busy());
    done_ = std::move(done);
    return open_ = ++last_id_;
  }
  RequestId stream(Request, StreamCallbacks callbacks) override {
    require(!busy());
    callbacks_ = std::move(callbacks);
    streaming_ = true;
    return open_ = ++last_id_;
  }
  void cancel(RequestId id) override {
    if (id == open_) close();
    timers_.erase(id);
  }
  RequestId after(std::chrono::milliseconds delay, std::function<void()> callback) override {
    require(delay.count() >= 0);
    timers_[++last_id_] = std::move(callback);
    return last_id_;
  }
  void run() override {}
  void stop() override {}
  void post(std::function<void()>) override {}
  void set_request_observer(std::function<void(const RequestReport&)>) override {}

  bool busy() const { return open_ != 0; }
  bool idle() const { return !busy() && timers_.empty(); }
  void end(Result<Response> result) {
    if (!busy()) return;
    const ResponseCallback done = std::move(done_);
    const StreamCallbacks callbacks = callbacks_;
    const bool streaming = streaming_;
    close();
    streaming ? callbacks.on_end(std::move(result)) : done(std::move(result));
  }
  void data(std::string_view bytes) {
    if (!streaming_) return end(Response{200, std::string(bytes), {}, true});
    const RequestId id = open_;
    const auto on_data = callbacks_.on_data;
    if (!on_data(bytes) && open_ == id) close();
  }
  void head() {
    const auto on_headers = callbacks_.on_headers;
    if (streaming_) on_headers(200);
  }
  void fire_one() {
    if (timers_.empty()) return;
    const auto node = timers_.extract(timers_.begin());
    node.mapped()();
  }

 private:
  void close() {
    open_ = 0;
    streaming_ = false;
  }

  RequestId last_id_ = 0;
  RequestId open_ = 0;
  bool streaming_ = false;
  ResponseCallback done_;
  StreamCallbacks callbacks_;
  std::map<RequestId, std::function<void()>> timers_;
};

class Sink : public ReflectorSink {
 public:
  void on_upsert(const fairlead::api::RawObject& object) override {
    require(!object.name.empty() && !object.json.empty());
    picture_[{object.name_space, object.name}] = object.resource_version;
  }
  void on_remove(const std::string& name_space, const std::string& name) override {
    require(picture_.erase({name_space, name}) == 1);
  }
  void on_listed() override {}
  void on_malformed(const Status& reason) override { require(!reason.ok()); }
  void on_health(const Status&) override {}
  void on_unsupported() override {}
  size_t size() const { return picture_.size(); }

 private:
  std::map<std::pair<std::string, std::string>, std::string> picture_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  OneRequestClient client;
  Sink sink;
  ReflectorOptions options;
  options.path = "/x";
  options.jitter_seed = 1;
  options.max_watch_line_bytes = 2000;
  const auto reflector = Reflector::create(client, options, sink);
  reflector->start();
  while (size >= 2) {
    const uint8_t action = data[0];
    const size_t length = std::min<size_t>(data[1], size - 2);
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, length);
    data += 2 + length;
    size -= 2 + length;
    // Whatever happened, it must be waiting for something.
    require(!client.idle());
    switch (action % 8) {
      case 0:
        client.data(bytes);
        break;
      case 1:
        client.data(std::string(bytes) + "\n");
        break;
      case 2:
        client.end(Response{200 + action * 2, std::string(bytes), {}, true});
        break;
      case 3:
        client.end(Response{410, {}, std::string(bytes), true});
        break;
      case 4:
        client.end(Status::error(StatusCode::kUnavailable, "a", "b", "c"));
        break;
      case 5:
        client.head();
        break;
      default:
        client.fire_one();
        break;
    }
    require(reflector->statistics().objects == sink.size());
  }
  reflector->stop();
  require(client.idle());
  return 0;
}
