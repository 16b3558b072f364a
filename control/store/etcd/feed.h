// Keeps a View equal to an etcd cluster: one list of all entries, then one watch that never ends.
//
// The watch is of every key in etcd, not only of our prefix: each revision of etcd is then seen as
// at least one event, and the view's revision can be compared with the revision that any answer
// of etcd carries. (etcd 3.4.23's progress notifications come before the events that they should
// follow, and cannot be used for that.) A stream that breaks is begun again behind the last
// revision, at the next endpoint; a revision that is compacted meanwhile means a new list.
//
// Threads: start() once, from any; health() from any; the rest is the loop's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_annotations.h"
#include "control/store/etcd/translate.h"
#include "control/store/view.h"

namespace etcdserverpb {
class RangeResponse;
class WatchResponse;
}  // namespace etcdserverpb

namespace fairlead::store {

class Endpoints;
class Loop;

class Feed {
 public:
  // `reached` is called, on the loop's thread, when the view has come to a new revision.
  Feed(Loop& loop, Endpoints& endpoints, const KeySpace& keys, View& view,
       std::chrono::milliseconds timeout, std::function<void(Revision)> reached);
  ~Feed();

  // Tries until it works; `loaded` is then called once.
  void start(std::function<void()> loaded);
  // ok while the watch stands.
  Status health() const EXCLUDES(mutex_);

 private:
  void list();
  void list_page(const std::string& begin, Revision revision);
  void take_page(etcdserverpb::RangeResponse& page, Revision revision);
  void watch();
  bool take_response(etcdserverpb::WatchResponse& response);
  void again(const Status& reason);
  void set_health(Status health) EXCLUDES(mutex_);

  Loop& loop_;
  Endpoints& endpoints_;
  const KeySpace& keys_;
  View& view_;
  const std::chrono::milliseconds timeout_;
  const std::function<void(Revision)> reached_;
  std::function<void()> loaded_;  // empty once called
  std::vector<EntryPtr> listed_;
  bool must_list_ = true;
  size_t endpoint_ = 0;  // of the watch
  Status ended_;         // why take_response() wanted no more
  std::chrono::milliseconds backoff_;
  mutable Mutex mutex_;
  Status health_ GUARDED_BY(mutex_);
};

}  // namespace fairlead::store
