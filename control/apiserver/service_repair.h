// Makes reservations and services agree: what a crash, a lost answer or a restored store leaves.
//
// A key that no service wants is given back after a while, because its service may be on its way;
// a key that is missing, or that names a service that is gone, is made anew; two services with the
// same address or port are reported, for nobody can say which of them shall have it.
//
// Threads: run() from any thread, one at a time. The store and the pool must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/apiserver/registry_open.h"
#include "control/apiserver/service_reserver.h"

namespace fairlead::apiserver {

struct RepairReport {
  size_t given_back = 0;
  size_t made = 0;
  std::vector<std::string> conflicts;  // "/reserved/...: default/a, default/b"
};

class ServiceRepair {
 public:
  static constexpr int64_t kGraceSeconds = 180;

  ServiceRepair(store::Store& store, WorkerPool& pool, SecondsClock clock)
      : store_(store), pool_(pool), clock_(std::move(clock)) {}

  void run(std::function<void(Result<RepairReport>)> done);

 private:
  Task<Result<RepairReport>> repair();
  StoreCall<Result<store::RangeResult>> all_below(std::string prefix);

  store::Store& store_;
  WorkerPool& pool_;
  SecondsClock clock_;
  // Keys that nobody wants, by the revision at which they were made: since when.
  std::map<std::pair<std::string, store::Revision>, int64_t> leaks_;
};

}  // namespace fairlead::apiserver
