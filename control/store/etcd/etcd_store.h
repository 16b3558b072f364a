// A store whose keys live in etcd (v3 API, from 3.4 on), for several API servers over one store.
//
// Reads and watches are served from memory that one watch of etcd keeps current: a read first asks
// etcd for its newest revision (many reads share one question) and is answered when the memory has
// come so far, so that it sees every acknowledged write of every server. Writes are transactions,
// acknowledged when the memory shows them as well: a watch begun afterwards begins behind them.
// A revision that this server has forgotten is asked of etcd itself.
//
// Threads: as store.h says. open() blocks. Completions run on the thread of the store's loop.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_annotations.h"
#include "control/store/etcd/address.h"
#include "control/store/etcd/endpoints.h"
#include "control/store/etcd/translate.h"
#include "control/store/store.h"
#include "control/store/view.h"

namespace fairlead::store {

class Feed;
class Loop;

struct EtcdOptions {
  EtcdAddress address;
  EtcdTls tls;
  HistoryLimits history;
  std::chrono::milliseconds request_timeout{5000};
  std::chrono::milliseconds connect_timeout{10'000};  // until the first list is there
};

class EtcdStore : public Store {
 public:
  // Errors: kInvalid (TLS files), kUnavailable (no endpoint has answered in time, and why).
  static Result<std::unique_ptr<EtcdStore>> open(const EtcdOptions& options);
  ~EtcdStore() override;

  void put(std::string key, std::string value, Expect expect, LeaseId lease,
           Done<WriteOutcome> done) override;
  void remove(std::string key, Expect expect, Done<WriteOutcome> done) override;
  void range(RangeRequest request, Done<RangeResult> done) override;
  Result<std::unique_ptr<Watch>> watch(WatchRequest request, std::function<void()> ready) override;
  void grant_lease(std::chrono::seconds ttl, Done<Lease> done) override;
  void keep_alive(LeaseId id, Done<Lease> done) override;
  void revoke_lease(LeaseId id, DoneStatus done) override;
  void compact(Revision revision, DoneStatus done) override;
  Revision revision() const override;
  Status health() const override;

 private:
  using Time = std::chrono::steady_clock::time_point;

  struct Reader {
    RangeRequest request;
    Done<RangeResult> done;
    Time deadline;
  };
  // Something that goes on when the view has come to a revision; told whether it has.
  struct Waiter {
    Time deadline;
    std::function<void(bool reached)> then;
  };

  EtcdStore(const EtcdOptions& options, std::unique_ptr<Endpoints> endpoints);

  template <typename Request, typename Response, typename Then>
  void call(const char* method, Request request, bool changes_nothing, Then then);
  void answer(const RangeRequest& request, const Done<RangeResult>& done);
  void range_in_etcd(const RangeRequest& request, const Done<RangeResult>& done);
  void ask_revision() EXCLUDES(mutex_);
  void acknowledge(Result<WriteOutcome> outcome, const Done<WriteOutcome>& done);
  void when_reached(Revision revision, Time deadline, std::function<void(bool reached)> then);
  void reached(Revision revision);
  void expire_waiters();

  const std::chrono::milliseconds timeout_;
  const KeySpace keys_;
  const std::shared_ptr<View> view_;
  const std::unique_ptr<Endpoints> endpoints_;
  std::multimap<Revision, Waiter> waiters_;  // the loop's
  bool expiring_ = false;
  Mutex mutex_;
  bool asking_ GUARDED_BY(mutex_) = false;
  std::vector<Reader> next_readers_ GUARDED_BY(mutex_);  // came while a question was on its way
  const std::unique_ptr<Loop> loop_;
  std::unique_ptr<Feed> feed_;
};

}  // namespace fairlead::store
