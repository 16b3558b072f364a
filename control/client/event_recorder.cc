#include "control/client/event_recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <unordered_map>
#include <utility>

#include "control/client/event_json.h"
#include "control/client/query.h"

namespace fairlead::client {

namespace {

constexpr int64_t kMicrosPerSecond = 1000000;

int64_t micros(std::chrono::seconds seconds) {
  return seconds.count() * kMicrosPerSecond;
}

std::string path_of(const std::string& name_space, const std::string& name) {
  std::string path = "/apis/events.k8s.io/v1/namespaces/" + percent_encode(name_space) + "/events";
  if (!name.empty()) path += "/" + percent_encode(name);
  return path;
}

// What makes two events the same. Lengths keep the parts apart.
std::string key_of(const ObjectReference& regarding) {
  const ObjectReference& r = regarding;
  std::string key;
  for (const std::string* part : {&r.api_version, &r.kind, &r.name_space, &r.name, &r.uid}) {
    key += fmt::format("{}:{}", part->size(), *part);
  }
  return key;
}

std::string key_of(const Event& event) {
  std::string key = key_of(event.regarding);
  for (const std::string* part : {&event.reason, &event.action, &event.note}) {
    key += fmt::format("{}:{}", part->size(), *part);
  }
  return key + (event.type == EventType::kWarning ? "W" : "N");
}

class EventRecorderImpl : public EventRecorder {
 public:
  EventRecorderImpl(Client& client, EventRecorderOptions options)
      : client_(client), options_(std::move(options)), alive_(std::make_shared<Shared>()) {
    alive_->recorder = this;
    if (!options_.now_micros) {
      options_.now_micros = [] {
        return std::chrono::duration_cast<std::chrono::microseconds>(
                   std::chrono::system_clock::now().time_since_epoch())
            .count();
      };
    }
  }

  ~EventRecorderImpl() override {
    alive_->recorder = nullptr;
    for (const Client::RequestId id : {request_, timer_, sweep_timer_}) {
      if (id != 0) client_.cancel(id);
    }
  }

  void record(Event event) override {
    // Counted here, so that a thread that records without pause cannot fill the client's mailbox.
    if (alive_->on_the_way.fetch_add(1) >= options_.max_queue) {
      alive_->on_the_way.fetch_sub(1);
      alive_->dropped.fetch_add(1);
      return;
    }
    client_.post([shared = alive_, moved = std::move(event)]() mutable {
      shared->on_the_way.fetch_sub(1);
      if (shared->recorder) shared->recorder->take(std::move(moved));
    });
  }

  Statistics statistics() const override {
    Statistics statistics = statistics_;
    statistics.dropped_full += alive_->dropped.load();
    return statistics;
  }

 private:
  // What posted work may still touch after the recorder has gone.
  struct Shared {
    EventRecorderImpl* recorder = nullptr;  // loop thread only
    std::atomic<size_t> on_the_way{0};
    std::atomic<uint64_t> dropped{0};
  };

  struct Series {
    Event event;
    std::string name;  // of the Event object; empty: not posted yet
    int64_t count = 1;
    int64_t sent_count = 0;
    int64_t last_seen = 0;
    bool queued = false;
  };

  struct Bucket {
    double tokens = 0;
    int64_t updated = 0;
  };

  void take(Event event) {
    const int64_t now = options_.now_micros();
    arm_sweep();
    const std::string key = key_of(event);
    if (const auto found = series_.find(key); found != series_.end())
      return repeat(key, found->second, now);
    if (!spend_token(event.regarding, now)) {
      ++statistics_.dropped_rate;
      return;
    }
    if (series_.size() >= options_.max_series || queue_.size() >= options_.max_queue) {
      ++statistics_.dropped_full;
      return;
    }
    Series series;
    series.event = std::move(event);
    series.last_seen = now;
    enqueue(key, series_.emplace(key, std::move(series)).first->second);
  }

  void repeat(const std::string& key, Series& series, int64_t now) {
    ++series.count;
    ++statistics_.collected;
    series.last_seen = now;
    // One that is waiting or on its way is looked at again when that has ended.
    if (!series.queued) schedule(key, series);
  }

  // Sends the count a little later, so that a burst of repetitions is one request.
  void schedule(const std::string& key, Series& series) {
    series.queued = true;
    client_.after(options_.series_delay, [shared = alive_, key] {
      if (shared->recorder) shared->recorder->series_due(key);
    });
  }

  void series_due(const std::string& key) {
    const auto found = series_.find(key);
    if (found == series_.end()) return;
    if (queue_.size() < options_.max_queue) return enqueue(key, found->second);
    found->second.queued = false;  // its count is kept and goes with the next repetition
    ++statistics_.dropped_full;
  }

  void enqueue(const std::string& key, Series& series) {
    series.queued = true;
    queue_.push_back(key);
    if (request_ == 0 && timer_ == 0) send_next();
  }

  bool spend_token(const ObjectReference& regarding, int64_t now) {
    const std::string key = key_of(regarding);
    auto found = buckets_.find(key);
    if (found == buckets_.end()) {
      if (buckets_.size() >= options_.max_series) return false;
      found = buckets_.emplace(key, Bucket{static_cast<double>(options_.burst), now}).first;
    }
    Bucket& bucket = found->second;
    refill(bucket, now);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  void refill(Bucket& bucket, int64_t now) const {
    const double interval =
        static_cast<double>(std::max<int64_t>(1, micros(options_.refill_interval)));
    const auto elapsed = static_cast<double>(std::max<int64_t>(0, now - bucket.updated));
    bucket.tokens = std::min<double>(options_.burst, bucket.tokens + elapsed / interval);
    bucket.updated = now;
  }

  void send_next() {
    while (!queue_.empty() && series_.find(queue_.front()) == series_.end()) queue_.pop_front();
    if (queue_.empty()) return;
    Series& series = series_.at(queue_.front());
    Request request;
    const std::string name_space = event_namespace(series.event.regarding);
    sending_count_ = series.count;
    if (series.name.empty()) {
      const int64_t now = options_.now_micros();
      // Two events of one object in one microsecond must not get one name.
      last_name_micros_ = std::max(now, last_name_micros_ + 1);
      sending_name_ = event_name(series.event.regarding, last_name_micros_);
      sending_count_ = 1;
      request.method = "POST";
      request.path = path_of(name_space, {});
      request.body = event_json(series.event, options_, sending_name_, now);
    } else {
      request.method = "PATCH";
      request.path = path_of(name_space, series.name);
      request.body = series_json(series.count, series.last_seen);
      request.content_type = "application/merge-patch+json";
    }
    constexpr size_t kMaxAnswer = size_t{1} << 20;
    request.max_body = kMaxAnswer;
    request_ = client_.send(std::move(request), [this](Result<Response> result) {
      request_ = 0;
      sent(result);
    });
  }

  void sent(const Result<Response>& result) {
    const int status = result.ok() ? result->status : 0;
    const bool may_pass = status == 0 || status == 429 || status >= 500;
    if (may_pass && ++failed_tries_ < options_.tries) {
      timer_ = client_.after(options_.retry_delay * (1 << (failed_tries_ - 1)), [this] {
        timer_ = 0;
        send_next();
      });
      return;
    }
    failed_tries_ = 0;
    const std::string key = std::move(queue_.front());
    queue_.pop_front();
    if (const auto found = series_.find(key); found != series_.end())
      settle(key, found->second, status);
    send_next();
  }

  void settle(const std::string& key, Series& series, int status) {
    const bool was_post = series.name.empty();
    series.queued = false;
    if (status / 100 == 2) {
      ++(was_post ? statistics_.created : statistics_.updated);
      if (was_post) series.name = sending_name_;
      series.sent_count = sending_count_;
      // It may have come again in the meantime.
      if (series.count > series.sent_count) schedule(key, series);
      return;
    }
    if (!was_post && status == 404) {
      // The server has forgotten the event: tell it anew.
      series.name.clear();
      series.count = 1;
      series.sent_count = 0;
      return enqueue_again(key, series);
    }
    ++statistics_.failed;
    if (was_post) series_.erase(key);
  }

  // Without sending: the caller does that next.
  void enqueue_again(const std::string& key, Series& series) {
    series.queued = true;
    queue_.push_back(key);
  }

  // Forgets, once a minute, what has not happened for long and buckets that are full.
  void arm_sweep() {
    if (sweep_timer_ != 0) return;
    sweep_timer_ = client_.after(std::chrono::seconds(60), [this] {
      sweep_timer_ = 0;
      sweep(options_.now_micros());
      if (!series_.empty() || !buckets_.empty()) arm_sweep();
    });
  }

  void sweep(int64_t now) {
    std::erase_if(series_, [&](const auto& entry) {
      const Series& series = entry.second;
      return !series.queued && now - series.last_seen >= micros(options_.series_end);
    });
    std::erase_if(buckets_, [&](const auto& entry) {
      Bucket bucket = entry.second;
      refill(bucket, now);
      return bucket.tokens >= options_.burst;
    });
  }

  Client& client_;
  EventRecorderOptions options_;
  const std::shared_ptr<Shared> alive_;
  Statistics statistics_;

  std::unordered_map<std::string, Series> series_;
  std::unordered_map<std::string, Bucket> buckets_;
  std::deque<std::string> queue_;  // keys of series; the first one is being sent

  Client::RequestId request_ = 0;
  Client::RequestId timer_ = 0;
  Client::RequestId sweep_timer_ = 0;
  int failed_tries_ = 0;
  std::string sending_name_;
  int64_t sending_count_ = 0;
  int64_t last_name_micros_ = 0;
};

}  // namespace

Result<std::unique_ptr<EventRecorder>> EventRecorder::create(Client& client,
                                                             EventRecorderOptions options) {
  if (options.reporting_controller.empty() || options.reporting_instance.empty()) {
    return Status::error(StatusCode::kInvalid, "create", "event recorder",
                         "reporting controller and instance must be given");
  }
  return std::unique_ptr<EventRecorder>(
      std::make_unique<EventRecorderImpl>(client, std::move(options)));
}

}  // namespace fairlead::client
