// The states that watches begin with, held once however many clients begin at the same time.
//
// A client that is slow in taking its initial state holds all of it until it has it. After a
// restart of the server all clients come at once, and nothing has changed between one and the next:
// they share one list.
//
// Threads: any.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

class Snapshots {
 public:
  using Shared = std::shared_ptr<const std::vector<store::EntryPtr>>;

  // `entries`, or a list of the same entries that somebody holds still. `range` names what they are
  // the whole of.
  Shared share(const std::string& range, std::vector<store::EntryPtr> entries) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::map<std::string, std::weak_ptr<const std::vector<store::EntryPtr>>> last_ GUARDED_BY(mutex_);
  size_t sweep_at_ GUARDED_BY(mutex_) = 64;  // how many ranges make it look for forgotten ones
};

}  // namespace fairlead::apiserver
