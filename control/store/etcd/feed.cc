#include "control/store/etcd/feed.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "control/store/etcd/calls.h"
#include "control/store/etcd/rpc.pb.h"

namespace fairlead::store {
namespace {

constexpr int64_t kPage = 1000;
constexpr std::chrono::milliseconds kFirstBackoff{50};
constexpr std::chrono::milliseconds kLongestBackoff{2000};

using ListCall = UnaryCall<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse>;
using WatchCall = StreamCall<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>;

}  // namespace

Feed::Feed(Loop& loop, Endpoints& endpoints, const KeySpace& keys, View& view,
           std::chrono::milliseconds timeout, std::function<void(Revision)> reached)
    : loop_(loop),
      endpoints_(endpoints),
      keys_(keys),
      view_(view),
      timeout_(timeout),
      reached_(std::move(reached)),
      backoff_(kFirstBackoff),
      health_(Status::error(StatusCode::kUnavailable, "read", "etcd", "has not answered yet")) {}

Feed::~Feed() = default;

void Feed::start(std::function<void()> loaded) {
  loaded_ = std::move(loaded);
  list();
}

Status Feed::health() const {
  MutexLock lock(mutex_);
  return health_;
}

void Feed::set_health(Status health) {
  MutexLock lock(mutex_);
  health_ = std::move(health);
}

void Feed::list() {
  listed_.clear();
  list_page(keys_.outer_begin({}), 0);
}

void Feed::list_page(const std::string& begin, Revision revision) {
  etcdserverpb::RangeRequest request;
  request.set_key(begin);
  request.set_range_end(keys_.outer_end(kNoEnd));
  request.set_limit(kPage);
  request.set_revision(revision);
  loop_.start(std::make_unique<ListCall>(
      endpoints_, "/etcdserverpb.KV/Range", std::move(request), true, timeout_,
      [this, revision](const grpc::Status& status, etcdserverpb::RangeResponse& page) {
        if (!status.ok()) return again(from_grpc(status, "list"));
        take_page(page, revision != 0 ? revision : page.header().revision());
      }));
}

void Feed::take_page(etcdserverpb::RangeResponse& page, Revision revision) {
  const std::string last = page.kvs().empty() ? "" : page.kvs().rbegin()->key();
  for (mvccpb::KeyValue& each : *page.mutable_kvs()) {
    Result<EntryPtr> entry = take_entry(each, keys_);
    if (!entry) return again(entry.status());
    listed_.push_back(std::move(entry).value());
  }
  if (page.more() && !last.empty()) return list_page(key_after(last), revision);
  view_.reset(std::exchange(listed_, {}), revision);
  must_list_ = false;
  set_health({});
  if (loaded_) std::exchange(loaded_, nullptr)();
  reached_(revision);
  watch();
}

void Feed::watch() {
  etcdserverpb::WatchRequest request;
  etcdserverpb::WatchCreateRequest* create = request.mutable_create_request();
  create->set_key(std::string(kNoEnd));  // with this end: all keys there are
  create->set_range_end(std::string(kNoEnd));
  create->set_start_revision(view_.revision() + 1);
  endpoint_ = endpoints_.current();
  ended_ = Status();
  loop_.start(std::make_unique<WatchCall>(
      endpoints_.channel(endpoint_), "/etcdserverpb.Watch/Watch", std::move(request),
      std::chrono::milliseconds(0),
      [this](etcdserverpb::WatchResponse& response) { return take_response(response); },
      [this](const grpc::Status& status) {
        endpoints_.move_on_from(endpoint_);
        if (!ended_) return again(ended_);
        again(status.ok()
                  ? Status::error(StatusCode::kUnavailable, "watch", "etcd", "the stream has ended")
                  : from_grpc(status, "watch"));
      }));
}

// False ends the stream, for the reason in ended_.
bool Feed::take_response(etcdserverpb::WatchResponse& response) {
  if (response.canceled()) {
    must_list_ = response.compact_revision() != 0;
    ended_ = Status::error(StatusCode::kUnavailable, "watch", "etcd",
                           fmt::format("was cancelled: {} (compacted: {})",
                                       response.cancel_reason(), response.compact_revision()));
    return false;
  }
  Result<Delivered> delivered = take_events(response, keys_);
  if (!delivered) {
    must_list_ = true;
    ended_ = delivered.status();
    return false;
  }
  if (response.created() || backoff_ != kFirstBackoff) {
    backoff_ = kFirstBackoff;
    set_health({});
  }
  if (delivered->revision == 0) return true;
  view_.publish(std::move(delivered->events), delivered->revision);
  reached_(delivered->revision);
  return true;
}

void Feed::again(const Status& reason) {
  if (loop_.is_closing()) return;
  if (health().ok()) LOG_WARNING("store: {}; trying again", reason.message());
  set_health(reason);
  loop_.start_timer(backoff_, [this] { must_list_ ? list() : watch(); });
  backoff_ = std::min(backoff_ * 2, kLongestBackoff);
}

}  // namespace fairlead::store
