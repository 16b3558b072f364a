#include "control/apiserver/watch_stream.h"

#include <fmt/core.h>

#include <optional>
#include <random>
#include <utility>

namespace fairlead::apiserver {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A client with more than this on its way waits for its next events.
constexpr size_t kMaxBacklog = size_t{1} << 20;
constexpr size_t kCrowdedBacklog = size_t{64} << 10;  // where many lag
constexpr size_t kBatch = 64;  // objects that a client without room may hold on to
constexpr int kGone = 410;     // is said in the stream, as kube-apiserver does
constexpr seconds kBookmarkEvery{60};
constexpr seconds kShortestDefault{30 * 60};

int64_t random_below(int64_t limit) {
  thread_local std::mt19937_64 engine{std::random_device{}()};
  return std::uniform_int_distribution<int64_t>(0, limit - 1)(engine);
}

int64_t wall_seconds() {
  return std::chrono::duration_cast<seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// One client's watch. Its state_ says who may touch the rest: whoever moved it out of kIdle.
class WatchStream : public std::enable_shared_from_this<WatchStream> {
 public:
  WatchStream(WatchKeeper& keeper, const schema::Resource& resource, const WatchQuery& query,
              Rendering rendering, std::function<void(int status)> answered)
      : keeper_(keeper),
        post_(keeper.post_),
        resource_(resource),
        bookmarks_(query.options.bookmarks),
        rendering_(std::move(rendering)),
        answered_(std::move(answered)),
        deadline_(Clock::now() +
                  query.timeout.value_or(kShortestDefault +
                                         seconds(random_below(kShortestDefault.count())))),
        next_bookmark_(Clock::now() + kBookmarkEvery - milliseconds(random_below(10'000))) {}

  void begin(Outcome<std::unique_ptr<ObjectWatch>> watch, net::Responder& responder) {
    if (!watch && watch.error().code != kGone) {
      net::HttpResponse response = error_response(watch.error(), rendering_.form.encoding);
      tell(response.status);
      responder.respond(std::move(response));
      return leave();
    }
    if (watch) {
      watch_ = std::move(watch).value();
    } else {
      refusal_ = watch.error();
    }
    net::HttpResponse head;
    tell(head.status);
    head.content_type = rendering_.form.content_type(true);
    head.headers.emplace_back("cache-control", "no-cache, private");
    stream_ = responder.start_stream(std::move(head), [self = shared_from_this()] {
      self->closed_ = true;
      self->wake();
    });
    started_ = true;
    wake();
  }

  // There may be something to do: events, room, a deadline, an end.
  void wake() {
    if (requests_.fetch_add(1) > 0) return;  // whoever runs looks again
    post_([self = shared_from_this()] { self->run(); });
  }

  void end() {
    ending_ = true;
    wake();
  }

  // The keeper's look, every second.
  void tick(Clock::time_point now) {
    if (now >= deadline_) {
      end();
    } else if (bookmarks_ && now >= next_bookmark_) {
      next_bookmark_ = now + kBookmarkEvery;
      bookmark_due_ = true;
      wake();
    }
  }
  bool lagging() const { return lagging_; }
  bool has_room() const { return stream_ == nullptr || stream_->backlog() < kMaxBacklog / 2; }

 private:
  void run() {
    uint64_t seen = requests_.load();
    while (true) {
      if (started_ && !over_) pump();
      if (requests_.compare_exchange_strong(seen, 0)) return;
    }
  }

  void pump() {
    if (closed_) return finish(false);
    if (refusal_) {
      stream_->write(encode_error_event(*refusal_, rendering_.form.encoding));
      return finish(true);
    }
    set_lagging(false);
    rendering_.now = wall_seconds();
    more_ = true;
    while (stream_->open()) {
      if (stream_->backlog() >= (stream_->crowded() ? kCrowdedBacklog : kMaxBacklog)) {
        if (ending_) return finish(true);
        return set_lagging(true);
      }
      if (next_taken_ == taken_.size()) {
        if (!more_) break;
        auto events = watch_->take(kBatch);
        if (!events) {
          stream_->write(encode_error_event(events.error(), rendering_.form.encoding));
          return finish(true);
        }
        taken_ = std::move(*events);
        next_taken_ = 0;
        more_ = taken_.size() == kBatch;
        continue;
      }
      write(taken_[next_taken_++]);
    }
    if (ending_ || bookmark_due_.exchange(false)) write_progress();
    if (ending_) finish(true);
  }

  void write(const WatchEvent& event) {
    told_ = event.revision;
    const bool bookmark = event.type == WatchEvent::Type::kBookmark;
    const ObjectPtr object =
        bookmark ? make_bookmark(resource_, event.revision, event.initial_events_end)
                 : event.object;
    if (bookmark) {  // its own: nobody else would find it in the cache
      stream_->write(encode_event(event_name(event.type), *object, rendering_, first_));
    } else {
      stream_->write(keeper_.cache_.encode(event.type, object, rendering_, first_));
    }
    first_ = false;
  }

  // A bookmark, when there is progress to tell of.
  void write_progress() {
    const store::Revision position = watch_->position();
    if (!bookmarks_ || position <= told_) return;
    WatchEvent event;
    event.type = WatchEvent::Type::kBookmark;
    event.revision = position;
    write(event);
  }

  void set_lagging(bool lagging) {
    if (lagging_.exchange(lagging) == lagging) return;
    if (lagging) {
      ++keeper_.lagging_;
      keeper_.changed_.notify_all();
    } else {
      --keeper_.lagging_;
    }
  }

  void finish(bool properly) {
    over_ = true;
    set_lagging(false);
    if (properly) stream_->finish();
    watch_.reset();
    leave();
  }

  void tell(int status) {
    if (answered_) std::exchange(answered_, nullptr)(status);
  }

  void leave() {
    keeper_.remove(this);  // the last use of the keeper
  }

  WatchKeeper& keeper_;
  const Post post_;  // its own: the last call may come when the keeper has gone
  const schema::Resource& resource_;
  const bool bookmarks_;
  Rendering rendering_;
  std::function<void(int status)> answered_;
  const Clock::time_point deadline_;
  Clock::time_point next_bookmark_;  // the keeper's
  std::unique_ptr<ObjectWatch> watch_;
  std::optional<ApiError> refusal_;  // instead of a watch
  std::shared_ptr<net::Stream> stream_;
  std::vector<WatchEvent> taken_;  // of the last batch, of which the first are written
  size_t next_taken_ = 0;
  bool more_ = true;  // the last batch was a full one
  store::Revision told_ = 0;
  bool first_ = true;
  bool over_ = false;
  std::atomic<bool> started_{false};
  std::atomic<bool> closed_{false};
  std::atomic<bool> ending_{false};
  std::atomic<bool> bookmark_due_{false};
  std::atomic<bool> lagging_{false};
  std::atomic<uint64_t> requests_{0};
};

WatchKeeper::WatchKeeper(Post post) : post_(std::move(post)), thread_([this] { run(); }) {}

WatchKeeper::~WatchKeeper() {
  stop();
  changed_.notify_all();
  thread_.join();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return streams_.empty(); });
}

void WatchKeeper::serve(Registry& registry, Target target, WatchQuery query, Rendering rendering,
                        std::unique_ptr<net::Responder> responder,
                        std::function<void(int status)> answered) {
  auto stream = std::make_shared<WatchStream>(*this, *target.resource, query, std::move(rendering),
                                              std::move(answered));
  {
    const std::lock_guard lock(mutex_);
    streams_.emplace(stream.get(), stream);
    if (stopping_) stream->end();
  }
  std::shared_ptr<net::Responder> shared = std::move(responder);
  registry.watch(
      std::move(target), std::move(query.options), [stream] { stream->wake(); },
      [stream, shared](Outcome<std::unique_ptr<ObjectWatch>> watch) {
        stream->begin(std::move(watch), *shared);
      });
}

void WatchKeeper::stop() {
  std::vector<std::shared_ptr<WatchStream>> all;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [address, stream] : streams_) all.push_back(stream);
  }
  for (const auto& stream : all) stream->end();
}

size_t WatchKeeper::open() const {
  const std::lock_guard lock(mutex_);
  return streams_.size();
}

void WatchKeeper::remove(const WatchStream* stream) {
  const std::lock_guard lock(mutex_);
  streams_.erase(stream);
  if (streams_.empty()) changed_.notify_all();
}

void WatchKeeper::run() {
  constexpr milliseconds kIdle{1000};
  constexpr milliseconds kLagging{20};
  Clock::time_point next_look = Clock::now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait_for(lock, lagging_ > 0 ? kLagging : kIdle / 4);
    const Clock::time_point now = Clock::now();
    const bool look = now >= next_look;
    if (!look && lagging_ == 0) continue;
    if (look) next_look = now + kIdle;
    for (const auto& [address, stream] : streams_) {
      if (look) stream->tick(now);
      if (stream->lagging() && stream->has_room()) stream->wake();
    }
  }
}

}  // namespace fairlead::apiserver
