#include "control/apiserver/compactor.h"

#include <future>
#include <string>
#include <utility>

namespace fairlead::apiserver {

namespace {

constexpr const char* kMark = "/coordination/compaction";

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

}  // namespace fairlead::apiserver
