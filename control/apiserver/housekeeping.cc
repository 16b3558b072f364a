#include "control/apiserver/housekeeping.h"

#include <algorithm>
#include <future>
#include <utility>

#include "base/log.h"
#include "control/apiserver/compactor.h"

namespace fairlead::apiserver {

namespace {

constexpr std::chrono::minutes kCompactionInterval{5};
constexpr std::chrono::minutes kRepairInterval{3};

}  // namespace

Housekeeping::Housekeeping(std::vector<Chore> chores)
    : thread_([this, chores = std::move(chores)]() mutable { run(std::move(chores)); }) {}

Housekeeping::~Housekeeping() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Housekeeping::run(std::vector<Chore> chores) {
  using SteadyClock = std::chrono::steady_clock;
  std::vector<SteadyClock::time_point> due(chores.size(), SteadyClock::now());
  std::unique_lock lock(mutex_);
  while (!closing_) {
    SteadyClock::time_point next = SteadyClock::now() + std::chrono::hours(1);
    for (size_t i = 0; i < chores.size() && !closing_; ++i) {
      if (due[i] <= SteadyClock::now()) {
        lock.unlock();
        chores[i].work();
        lock.lock();
        due[i] = SteadyClock::now() + chores[i].interval;
      }
      next = std::min(next, due[i]);
    }
    changed_.wait_until(lock, next, [this] { return closing_; });
  }
}

std::vector<Housekeeping::Chore> common_chores(store::Store& store, WorkerPool& pool,
                                               SecondsClock clock) {
  auto repair = std::make_shared<ServiceRepair>(store, pool, std::move(clock));
  auto compactor = std::make_shared<Compactor>(store);
  return {
      {kRepairInterval,
       [repair] {
         std::promise<Result<RepairReport>> promise;
         repair->run(
             [&promise](Result<RepairReport> report) { promise.set_value(std::move(report)); });
         const Result<RepairReport> report = promise.get_future().get();
         if (!report) return LOG_WARNING("reservations of services: {}", report.status().message());
         for (const std::string& conflict : report->conflicts) {
           LOG_ERROR("services share what only one can have: {}", conflict);
         }
         if (report->given_back + report->made != 0) {
           LOG_INFO("reservations of services: {} given back, {} made anew", report->given_back,
                    report->made);
         }
       }},
      {kCompactionInterval,
       [compactor] {
         const Status status = compactor->run();
         if (!status) LOG_WARNING("compaction: {}", status.message());
       }},
  };
}

}  // namespace fairlead::apiserver
