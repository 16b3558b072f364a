// A Client without network and without time: tests answer its requests by hand and move its clock.
//
// Threads: the test's.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/client/client.h"

namespace fairlead::client {

class FakeClient : public Client {
 public:
  struct Open {
    RequestId id = 0;
    Request request;
    ResponseCallback done;
    StreamCallbacks callbacks;
    bool streaming = false;
  };

  RequestId send(Request request, ResponseCallback done) override {
    open_.push_back({++last_id_, std::move(request), std::move(done), {}, false});
    return last_id_;
  }
  RequestId stream(Request request, StreamCallbacks callbacks) override {
    open_.push_back({++last_id_, std::move(request), {}, std::move(callbacks), true});
    return last_id_;
  }
  void cancel(RequestId id) override {
    std::erase_if(open_, [id](const Open& open) { return open.id == id; });
    std::erase_if(timers_, [id](const auto& timer) { return timer.second.first == id; });
  }
  RequestId after(std::chrono::milliseconds delay, std::function<void()> callback) override {
    timers_.emplace(now_ + delay, std::pair(++last_id_, std::move(callback)));
    return last_id_;
  }
  void run() override {}
  void stop() override {}
  void post(std::function<void()> work) override { posted_.push_back(std::move(work)); }
  void set_request_observer(std::function<void(const RequestReport&)>) override {}

  // --- For tests ---

  size_t open_requests() const { return open_.size(); }
  size_t timers() const { return timers_.size(); }
  std::chrono::milliseconds now() const { return now_; }

  // The request that is open; there must be exactly one.
  const Request& request() const {
    EXPECT_EQ(open_.size(), 1u);
    static const Request kNone;
    return open_.empty() ? kNone : open_.front().request;
  }
  std::string path() const { return request().path; }
  bool watching() const { return !open_.empty() && open_.front().streaming; }

  void answer(int status, std::string body, std::string retry_after = {}) {
    end(Response{status, std::move(body), std::move(retry_after), true});
  }
  void break_connection() {
    end(Status::error(StatusCode::kUnavailable, "request", "GET somewhere", "connection reset"));
  }
  // For the open stream.
  void head(int status) {
    const StreamCallbacks callbacks = open_.at(0).callbacks;
    if (callbacks.on_headers) callbacks.on_headers(status);
  }
  bool data(std::string_view bytes) {
    const RequestId id = open_.at(0).id;
    const auto on_data = open_.at(0).callbacks.on_data;
    if (on_data(bytes)) return true;
    cancel(id);
    return false;
  }

  void run_posted() {
    for (const auto& work : std::exchange(posted_, {})) work();
  }

  // Moves the clock, calling what falls due on the way.
  void advance(std::chrono::milliseconds by) {
    const auto target = now_ + by;
    while (!timers_.empty() && timers_.begin()->first <= target) fire_next();
    now_ = target;
  }
  // Moves it to the next timer; how long that took.
  std::chrono::milliseconds advance_to_next_timer() {
    const auto before = now_;
    if (!timers_.empty()) fire_next();
    return now_ - before;
  }

 private:
  void end(Result<Response> result) {
    ASSERT_EQ(open_.size(), 1u);
    const Open open = std::move(open_.front());
    open_.clear();
    if (!open.streaming) return open.done(std::move(result));
    if (open.callbacks.on_end) open.callbacks.on_end(std::move(result));
  }

  void fire_next() {
    auto node = timers_.extract(timers_.begin());
    now_ = std::max(now_, node.key());
    node.mapped().second();
  }

  RequestId last_id_ = 0;
  std::chrono::milliseconds now_{0};
  std::vector<Open> open_;
  std::multimap<std::chrono::milliseconds, std::pair<RequestId, std::function<void()>>> timers_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace fairlead::client
