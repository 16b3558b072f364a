#include "control/apiserver/housekeeping.h"

#include <algorithm>
#include <future>
#include <utility>

#include "base/log.h"

namespace fairlead::apiserver {

namespace {

constexpr const char* kMark = "/coordination/compaction";
constexpr std::chrono::minutes kCompactionInterval{5};
constexpr std::chrono::minutes kRepairInterval{3};

}  // namespace

Status Compactor::run() {
  const store::Revision then = std::exchange(then_, store_.revision());
  const store::Expect expect =
      mark_revision_ == 0 ? store::Expect::absent() : store::Expect::at(mark_revision_);
  std::promise<Result<store::WriteOutcome>> moved;
  store_.put(kMark, std::to_string(then), expect, 0, [&moved](Result<store::WriteOutcome> outcome) {
    moved.set_value(std::move(outcome));
  });
  const Result<store::WriteOutcome> outcome = moved.get_future().get();
  if (!outcome) return outcome.status();
  if (!outcome->applied) {
    // Another server was first: it forgets, this one tries again next time.
    mark_revision_ = outcome->previous ? outcome->previous->mod_revision : 0;
    return {};
  }
  mark_revision_ = outcome->revision;
  if (then == 0) return {};
  std::promise<Status> compacted;
  store_.compact(then, [&compacted](Status status) { compacted.set_value(std::move(status)); });
  const Status status = compacted.get_future().get();
  return status.code() == StatusCode::kExpired ? Status() : status;
}

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
