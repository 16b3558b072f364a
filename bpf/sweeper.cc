#include "bpf/sweeper.h"

#include <bpf/bpf.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace fairlead::bpf {
namespace {

// New flows are refused from the first on, and taken again below the second: percent of capacity.
constexpr uint64_t kNearlyFull = 98;
constexpr uint64_t kRoomAgain = 95;
constexpr int64_t kNanoseconds = 1'000'000'000;

}  // namespace

Result<uint32_t> jiffies_per_second() {
  timespec tick = {};
  if (::clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0) {
    return Status::from_errno(errno, "read", "the resolution of the kernel's coarse clock");
  }
  if (tick.tv_sec != 0 || tick.tv_nsec <= 0) {
    return Status::error(StatusCode::kUnsupported, "read", "the kernel's tick", "not below 1 s");
  }
  return static_cast<uint32_t>((kNanoseconds + tick.tv_nsec / 2) / tick.tv_nsec);
}

Result<std::unique_ptr<Sweeper>> Sweeper::start(const Setup& setup) {
  uint32_t hz = 0;
  ASSIGN_OR_RETURN(hz, jiffies_per_second());
  std::atomic_ref(setup.config->hz).store(hz);
  std::unique_ptr<Sweeper> sweeper(new Sweeper(setup));
  sweeper->thread_ =
      std::jthread([raw = sweeper.get()](const std::stop_token& stop) { raw->run(stop); });
  return sweeper;
}

Sweeper::~Sweeper() = default;

Sweeper::Counts Sweeper::counts() const {
  return {sweeps_.load(),    expired_.load(),    freed_.load(), flows_.load(),
          new_flows_.load(), affinities_.load(), ports_.load()};
}

void Sweeper::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    sweep();
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, setup_.period, [] { return false; });
  }
}

void Sweeper::sweep() {
  fl_sweep result = {};
  result.first_slot = next_slot_;
  result.slots = free_slots_ ? std::min(kSlotsASweep, setup_.slots - next_slot_) : 0;
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &result, .ctx_size_in = sizeof result);
  const int error = -::bpf_prog_test_run_opts(setup_.program, &options);
  if (error != last_error_ && error != 0) {
    LOG_ERROR("cannot sweep the flow tables, which will fill up: {}", std::strerror(error));
  }
  last_error_ = error;
  if (error != 0) return;
  next_slot_ += result.slots;
  if (next_slot_ >= setup_.slots) next_slot_ = 0;
  freed_ += result.freed;
  expired_ += result.expired;
  flows_ = result.flows;
  new_flows_ = result.new_flows;
  affinities_ = result.affinities;
  ports_ = result.ports;
  guard_capacity(result.flows);
  ++sweeps_;
}

void Sweeper::guard_capacity(uint64_t flows) {
  std::atomic_ref refuse(setup_.config->refuse_new_flows);
  const uint64_t capacity = setup_.flow_capacity;
  if (refuse.load() == 0 && flows * 100 >= capacity * kNearlyFull) {
    refuse = 1;
    LOG_WARNING(
        "{} of {} flows are in use: new ones are refused until it is less than {} %"
        " (--ebpf-max-flows)",
        flows, capacity, kRoomAgain);
  } else if (refuse.load() != 0 && flows * 100 < capacity * kRoomAgain) {
    refuse = 0;
    LOG_INFO("{} of {} flows are in use: new ones are taken again", flows, capacity);
  }
}

}  // namespace fairlead::bpf
