#include "control/store/etcd/etcd_store.h"

#include <fmt/core.h>

#include <future>
#include <utility>

#include "control/store/etcd/calls.h"
#include "control/store/etcd/feed.h"
#include "control/store/etcd/loop.h"
#include "control/store/etcd/rpc.pb.h"

namespace fairlead::store {
namespace {

constexpr std::chrono::milliseconds kExpiryPeriod{250};

Status closing() {
  return Status::error(StatusCode::kUnavailable, "use", "store", "is closing");
}

}  // namespace

EtcdStore::EtcdStore(const EtcdOptions& options, std::unique_ptr<Endpoints> endpoints)
    : timeout_(options.request_timeout),
      keys_(options.address.prefix),
      view_(std::make_shared<View>(options.history)),
      endpoints_(std::move(endpoints)),
      loop_(std::make_unique<Loop>()),
      feed_(std::make_unique<Feed>(*loop_, *endpoints_, keys_, *view_, timeout_,
                                   [this](Revision revision) { reached(revision); })) {}

EtcdStore::~EtcdStore() {
  view_->close(closing());
  loop_->close();
  for (const auto& [revision, waiter] : std::exchange(waiters_, {})) waiter.then(false);
  std::vector<Reader> readers;
  {
    MutexLock lock(mutex_);
    readers.swap(next_readers_);
  }
  for (const Reader& reader : readers) reader.done(closing());
}

Result<std::unique_ptr<EtcdStore>> EtcdStore::open(const EtcdOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Endpoints> endpoints,
                   Endpoints::create(options.address.endpoints, options.tls));
  std::unique_ptr<EtcdStore> store(new EtcdStore(options, std::move(endpoints)));
  auto loaded = std::make_shared<std::promise<void>>();
  std::future<void> is_loaded = loaded->get_future();
  store->feed_->start([loaded] { loaded->set_value(); });
  if (is_loaded.wait_for(options.connect_timeout) == std::future_status::timeout) {
    RETURN_IF_ERROR(store->feed_->health());  // ok: it came just now
  }
  return store;
}

template <typename Request, typename Response, typename Then>
void EtcdStore::call(const char* method, Request request, bool changes_nothing, Then then) {
  loop_->start(std::make_unique<UnaryCall<Request, Response>>(
      *endpoints_, method, std::move(request), changes_nothing, timeout_, std::move(then)));
}

void EtcdStore::put(std::string key, std::string value, Expect expect, LeaseId lease,
                    Done<WriteOutcome> done) {
  if (Status status = check_write(key, value); !status) return done(status);
  auto entry = std::make_shared<Entry>();
  entry->key = std::move(key);
  entry->value = std::move(value);
  entry->lease = lease;
  etcdserverpb::TxnRequest request = put_transaction(*entry, expect, keys_);
  call<etcdserverpb::TxnRequest, etcdserverpb::TxnResponse>(
      "/etcdserverpb.KV/Txn", std::move(request), false,
      [this, entry, done = std::move(done)](const grpc::Status& status,
                                            etcdserverpb::TxnResponse& response) {
        if (!status.ok()) return done(from_grpc(status, "put"));
        acknowledge(take_outcome(response, entry, keys_), done);
      });
}

void EtcdStore::remove(std::string key, Expect expect, Done<WriteOutcome> done) {
  if (Status status = check_write(key, {}); !status) return done(status);
  call<etcdserverpb::TxnRequest, etcdserverpb::TxnResponse>(
      "/etcdserverpb.KV/Txn", removal_transaction(key, expect, keys_), false,
      [this, done = std::move(done)](const grpc::Status& status,
                                     etcdserverpb::TxnResponse& response) {
        if (!status.ok()) return done(from_grpc(status, "remove"));
        acknowledge(take_outcome(response, nullptr, keys_), done);
      });
}

void EtcdStore::range(RangeRequest request, Done<RangeResult> done) {
  const Revision known = view_->revision();
  if (request.revision == 0 ? request.allow_cached : request.revision <= known) {
    return answer(request, done);
  }
  Reader reader{std::move(request), std::move(done), std::chrono::steady_clock::now() + timeout_};
  {
    MutexLock lock(mutex_);
    next_readers_.push_back(std::move(reader));
    if (std::exchange(asking_, true)) return;
  }
  ask_revision();
}

// One question for all that wait now. A read that comes later has to ask again: its answer must
// hold what was written before it came.
void EtcdStore::ask_revision() {
  auto readers = std::make_shared<std::vector<Reader>>();
  {
    MutexLock lock(mutex_);
    readers->swap(next_readers_);
    asking_ = !readers->empty();
  }
  if (readers->empty()) return;
  etcdserverpb::RangeRequest request;
  request.set_key(keys_.outer(std::string_view("\0", 1)));  // one that is not there: cheap
  call<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse>(
      "/etcdserverpb.KV/Range", std::move(request), true,
      [this, readers](const grpc::Status& status, etcdserverpb::RangeResponse& response) {
        for (Reader& reader : *readers) {
          if (!status.ok()) {
            reader.done(from_grpc(status, "read"));
            continue;
          }
          const Time deadline = reader.deadline;
          when_reached(
              response.header().revision(), deadline,
              [this, reader = std::move(reader)](bool is_there) {
                if (is_there) return answer(reader.request, reader.done);
                reader.done(Status::error(
                    StatusCode::kUnavailable, "read", "etcd",
                    fmt::format("its watch stays behind, at revision {}", view_->revision())));
              });
        }
        ask_revision();
      });
}

void EtcdStore::acknowledge(Result<WriteOutcome> outcome, const Done<WriteOutcome>& done) {
  if (!outcome || !outcome->applied) return done(std::move(outcome));
  const Revision revision = outcome->revision;
  // It has happened, also when the watch is late to tell.
  when_reached(revision, std::chrono::steady_clock::now() + timeout_,
               [done, outcome = std::move(outcome)](bool /*reached*/) { done(outcome); });
}

void EtcdStore::when_reached(Revision revision, Time deadline,
                             std::function<void(bool reached)> then) {
  if (view_->revision() >= revision || loop_->is_closing()) return then(true);
  waiters_.emplace(revision, Waiter{deadline, std::move(then)});
  if (!std::exchange(expiring_, true)) {
    loop_->start_timer(kExpiryPeriod, [this] { expire_waiters(); });
  }
}

void EtcdStore::reached(Revision revision) {
  while (!waiters_.empty() && waiters_.begin()->first <= revision) {
    const auto waiter = waiters_.extract(waiters_.begin());
    waiter.mapped().then(true);
  }
}

void EtcdStore::expire_waiters() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<Waiter> expired;
  for (auto each = waiters_.begin(); each != waiters_.end();) {
    if (each->second.deadline > now) {
      ++each;
      continue;
    }
    expired.push_back(std::move(each->second));
    each = waiters_.erase(each);
  }
  for (const Waiter& waiter : expired) waiter.then(false);
  expiring_ = !waiters_.empty();
  if (expiring_) loop_->start_timer(kExpiryPeriod, [this] { expire_waiters(); });
}

void EtcdStore::answer(const RangeRequest& request, const Done<RangeResult>& done) {
  Result<RangeResult> result = view_->range(request);
  if (!result && result.status().code() == StatusCode::kExpired) {
    return range_in_etcd(request, done);
  }
  done(std::move(result));
}

void EtcdStore::range_in_etcd(const RangeRequest& from, const Done<RangeResult>& done) {
  etcdserverpb::RangeRequest request;
  const bool single = from.end.empty();
  request.set_key(single ? keys_.outer(from.key) : keys_.outer_begin(from.key));
  request.set_range_end(keys_.outer_end(from.end));
  request.set_limit(static_cast<int64_t>(from.limit));
  request.set_revision(from.revision);
  request.set_count_only(from.count_only);
  call<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse>(
      "/etcdserverpb.KV/Range", std::move(request), true,
      [this, revision = from.revision, done](const grpc::Status& status,
                                             etcdserverpb::RangeResponse& response) {
        if (!status.ok()) return done(from_grpc(status, "read"));
        RangeResult result;
        result.revision = revision;
        result.more = response.more();
        result.count = static_cast<size_t>(response.count());
        for (mvccpb::KeyValue& each : *response.mutable_kvs()) {
          Result<EntryPtr> entry = take_entry(each, keys_);
          if (!entry) return done(entry.status());
          result.entries.push_back(std::move(entry).value());
        }
        done(std::move(result));
      });
}

Result<std::unique_ptr<Watch>> EtcdStore::watch(WatchRequest request, std::function<void()> ready) {
  return view_->watch(std::move(request), std::move(ready));
}

void EtcdStore::grant_lease(std::chrono::seconds ttl, Done<Lease> done) {
  if (Status status = check_ttl(ttl); !status) return done(status);
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl.count());
  call<etcdserverpb::LeaseGrantRequest, etcdserverpb::LeaseGrantResponse>(
      "/etcdserverpb.Lease/LeaseGrant", std::move(request), false,
      [done = std::move(done)](const grpc::Status& status,
                               etcdserverpb::LeaseGrantResponse& response) {
        if (!status.ok()) return done(from_grpc(status, "grant lease"));
        done(Lease{response.id(), std::chrono::seconds(response.ttl())});
      });
}

void EtcdStore::keep_alive(LeaseId id, Done<Lease> done) {
  using Call =
      StreamCall<etcdserverpb::LeaseKeepAliveRequest, etcdserverpb::LeaseKeepAliveResponse>;
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(id);
  auto lease = std::make_shared<Lease>();  // of the answer; id 0: there was none
  const size_t endpoint = endpoints_->current();
  loop_->start(std::make_unique<Call>(
      endpoints_->channel(endpoint), "/etcdserverpb.Lease/LeaseKeepAlive", std::move(request),
      timeout_,
      [lease](etcdserverpb::LeaseKeepAliveResponse& response) {
        lease->id = response.id();
        lease->ttl = std::chrono::seconds(response.ttl());
        return false;
      },
      [this, id, lease, endpoint, done = std::move(done)](const grpc::Status& status) {
        if (lease->id == 0) {
          endpoints_->move_on_from(endpoint);
          return done(status.ok() ? Status::error(StatusCode::kUnavailable, "keep alive", "etcd",
                                                  "the stream has ended")
                                  : from_grpc(status, "keep lease alive"));
        }
        if (lease->ttl.count() <= 0) {
          return done(Status::error(StatusCode::kNotFound, "keep alive",
                                    fmt::format("lease {}", id),
                                    "there is none of this id; it may have expired"));
        }
        done(*lease);
      }));
}

void EtcdStore::revoke_lease(LeaseId id, DoneStatus done) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(id);
  call<etcdserverpb::LeaseRevokeRequest, etcdserverpb::LeaseRevokeResponse>(
      "/etcdserverpb.Lease/LeaseRevoke", std::move(request), false,
      [this, done = std::move(done)](const grpc::Status& status,
                                     etcdserverpb::LeaseRevokeResponse& response) {
        if (!status.ok()) return done(from_grpc(status, "revoke lease"));
        when_reached(response.header().revision(), std::chrono::steady_clock::now() + timeout_,
                     [done](bool /*reached*/) { done(Status()); });
      });
}

void EtcdStore::compact(Revision revision, DoneStatus done) {
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision);
  call<etcdserverpb::CompactionRequest, etcdserverpb::CompactionResponse>(
      "/etcdserverpb.KV/Compact", std::move(request), false,
      [this, revision, done = std::move(done)](const grpc::Status& status,
                                               etcdserverpb::CompactionResponse&) {
        // What etcd has forgotten, the view forgets as well, unless it began later or is behind.
        if (status.ok() && view_->compacted() < revision) {
          [[maybe_unused]] const auto forgotten = view_->compact(revision);
        }
        done(from_grpc(status, "compact"));
      });
}

Revision EtcdStore::revision() const {
  return view_->revision();
}

Status EtcdStore::health() const {
  return feed_->health();
}

}  // namespace fairlead::store
