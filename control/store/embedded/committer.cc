#include "control/store/embedded/committer.h"

#include <fmt/core.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"

namespace fairlead::store {
namespace {

constexpr std::chrono::seconds kRetryExpiry{1};

size_t weight_of(const Operation& operation) {
  if (const auto* put = std::get_if<PutOperation>(&operation)) {
    return sizeof(Operation) + sizeof(Entry) + put->entry->key.size() + put->entry->value.size();
  }
  return sizeof(Operation);
}

void refuse(Operation& operation, const Status& reason) {
  std::visit([&reason](auto& each) { each.done(reason); }, operation);
}

Status no_lease(std::string_view operation, LeaseId id) {
  return Status::error(StatusCode::kNotFound, operation, fmt::format("lease {}", id),
                       "there is none of this id; it may have expired");
}

}  // namespace

uint64_t stored_size(const Entry* entry) {
  return entry == nullptr ? 0 : entry->key.size() + entry->value.size();
}

Committer::Committer(std::unique_ptr<Disk> disk, std::shared_ptr<View> view, uint64_t stored_bytes,
                     LeaseTable leases, DiskBatch garbage, CommitterLimits limits)
    : disk_(std::move(disk)),
      view_(std::move(view)),
      limits_(limits),
      stored_bytes_(stored_bytes),
      leases_(std::move(leases)),
      revision_(view_->revision()),
      batch_(std::move(garbage)),
      thread_([this] { run(); }) {}

Committer::~Committer() {
  close();
}

void Committer::close() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Committer::submit(Operation operation) {
  Status refused;
  {
    const std::lock_guard lock(mutex_);
    const size_t weight = weight_of(operation);
    if (!failed_) {
      refused = failed_;
    } else if (closing_) {
      refused = Status::error(StatusCode::kUnavailable, "write", "store", "is closing");
    } else if (waiting_.size() >= limits_.waiting_operations ||
               waiting_bytes_ + weight > limits_.waiting_bytes) {
      refused = Status::error(StatusCode::kExhausted, "write", "store",
                              fmt::format("{} writes wait already", waiting_.size()));
    } else {
      waiting_bytes_ += weight;
      waiting_.push_back(std::move(operation));
      if (waiting_.size() == 1) wake_.notify_one();
      return;
    }
  }
  refuse(operation, refused);
}

Status Committer::health() const {
  const std::lock_guard lock(mutex_);
  return failed_.ok() ? no_room_ : failed_;
}

void Committer::run() {
  ::pthread_setname_np(::pthread_self(), "store-commit");
  for (;;) {
    std::vector<Operation> operations = wait_for_work();
    bool closing = false;
    {
      const std::lock_guard lock(mutex_);
      closing = closing_;
    }
    if (closing) {
      for (Operation& operation : operations) {
        refuse(operation, Status::error(StatusCode::kUnavailable, "write", "store", "is closing"));
      }
      return;
    }
    commit(std::move(operations));
  }
}

// Returns with what waits, which is nothing when a lease has run out or the store closes.
std::vector<Operation> Committer::wait_for_work() {
  std::vector<Operation> operations;
  std::unique_lock lock(mutex_);
  const auto has_work = [this] { return closing_ || !waiting_.empty(); };
  if (next_deadline_ == Time::max()) {
    wake_.wait(lock, has_work);
  } else {
    wake_.wait_until(lock, next_deadline_, has_work);
  }
  operations.swap(waiting_);
  waiting_bytes_ = 0;
  return operations;
}

void Committer::commit(std::vector<Operation> operations) {
  const Time now = std::chrono::steady_clock::now();
  const Status usable = check_room();
  for (Operation& operation : operations) {
    // Keeping a lease alive writes nothing: a full disk is no reason to let it run out.
    if (usable.ok() || std::holds_alternative<KeepAliveOperation>(operation)) {
      std::visit([this](auto& each) { stage(each); }, operation);
    } else {
      refuse(operation, usable);
    }
  }
  if (usable.ok()) {
    for (const LeaseId id : leases_.expired(now)) stage_lease_end(id);
  }
  const Status written = write_group();
  if (!written) fail(written);
  for (const Completion& complete : completions_) complete(written);
  completions_.clear();
  Time deadline = leases_.next_deadline().value_or(Time::max());
  if (!usable) deadline = std::max(deadline, now + kRetryExpiry);
  const std::lock_guard lock(mutex_);
  next_deadline_ = failed_.ok() ? deadline : Time::max();
}

Status Committer::check_room() {
  Status room;
  const Result<uint64_t> free = disk_->free_bytes();
  if (free && *free < limits_.reserve_bytes) {
    room = Status::from_errno(
        ENOSPC, "write",
        fmt::format("store: the disk is full, {} bytes are free and {} are kept in reserve", *free,
                    limits_.reserve_bytes));
  }
  const std::lock_guard lock(mutex_);
  if (room.ok() != no_room_.ok()) {
    if (room.ok()) {
      LOG_INFO("store: the disk has room again; writes are taken");
    } else {
      LOG_ERROR("{}; writes are refused, reads go on", room.message());
    }
  }
  no_room_ = room;
  return room;
}

// Writes, publishes and empties the group, except for its completions.
Status Committer::write_group() {
  Status written;
  if (must_sync_) {
    written = disk_->write(batch_);
    batch_ = DiskBatch();
    must_sync_ = false;
  }
  if (written.ok() && !events_.empty()) {
    batch_.forget(view_->publish(std::move(events_), revision_));
  }
  events_.clear();
  changed_.clear();
  return written;
}

void Committer::fail(const Status& reason) {
  LOG_ERROR("{}; the store refuses writes until it is opened again, reads go on", reason.message());
  std::vector<Operation> waiting;
  {
    const std::lock_guard lock(mutex_);
    failed_ = Status::error(
        StatusCode::kUnavailable, "write", "store",
        "a write to the disk has failed, none is taken until a restart: " + reason.message());
    waiting.swap(waiting_);
    waiting_bytes_ = 0;
  }
  for (Operation& operation : waiting) refuse(operation, failed_);
}

// What makes the store smaller, or leaves it as it is, is always taken: else nobody could make
// room.
Status Committer::check_quota(const Entry& next, const Entry* previous) {
  const uint64_t size = stored_size(&next);
  const uint64_t before = stored_size(previous);
  const bool over = limits_.quota_bytes != 0 && size > before &&
                    stored_bytes_ + (size - before) > limits_.quota_bytes;
  if (over && !over_quota_) {
    LOG_ERROR("store: the quota of {} bytes is used up; writes that add are refused",
              limits_.quota_bytes);
  }
  over_quota_ = over;
  if (!over) return {};
  return Status::from_errno(
      ENOSPC, "write",
      fmt::format("store: {} of {} bytes of its quota are used, {} more are too many",
                  stored_bytes_.load(), limits_.quota_bytes, size - before));
}

EntryPtr Committer::current(const std::string& key) const {
  const auto found = changed_.find(key);
  return found != changed_.end() ? found->second : view_->find(key);
}

void Committer::add_event(Event event, const EntryPtr& previous) {
  const EntryPtr now = event.type == Event::Type::kPut ? event.entry : nullptr;
  leases_.follow(previous, now);
  stored_bytes_ += stored_size(now.get()) - stored_size(previous.get());
  changed_[event.entry->key] = now;
  batch_.put_record(event);
  must_sync_ = true;
  events_.push_back(std::move(event));
}

void Committer::stage_put(std::shared_ptr<Entry> entry, const EntryPtr& previous) {
  entry->mod_revision = ++revision_;
  entry->create_revision = previous ? previous->create_revision : revision_;
  entry->version = previous ? previous->version + 1 : 1;
  add_event(Event{Event::Type::kPut, std::move(entry), nullptr}, previous);
}

Revision Committer::stage_removal(const std::string& key, const EntryPtr& previous) {
  auto removal = std::make_shared<Entry>();
  removal->key = key;
  removal->mod_revision = ++revision_;
  add_event(Event{Event::Type::kDelete, std::move(removal), nullptr}, previous);
  return revision_;
}

void Committer::stage(PutOperation& operation) {
  WriteOutcome outcome;
  outcome.previous = current(operation.entry->key);
  Status refused;
  if (operation.entry->lease != 0 && !leases_.contains(operation.entry->lease)) {
    refused = no_lease("put", operation.entry->lease);
  } else if (operation.expect.allows(outcome.previous.get())) {
    refused = check_quota(*operation.entry, outcome.previous.get());
    if (refused.ok()) {
      outcome.applied = true;
      outcome.entry = operation.entry;
      stage_put(std::move(operation.entry), outcome.previous);
    }
  }
  outcome.revision = revision_;
  completions_.push_back([done = std::move(operation.done), outcome = std::move(outcome),
                          refused](const Status& written) {
    if (written.ok() && refused.ok()) return done(outcome);
    done(written.ok() ? refused : written);
  });
}

void Committer::stage(RemoveOperation& operation) {
  WriteOutcome outcome;
  outcome.previous = current(operation.key);
  if (outcome.previous != nullptr && operation.expect.allows(outcome.previous.get())) {
    outcome.applied = true;
    stage_removal(operation.key, outcome.previous);
  }
  outcome.revision = revision_;
  completions_.push_back(
      [done = std::move(operation.done), outcome = std::move(outcome)](const Status& written) {
        if (written.ok()) return done(outcome);
        done(written);
      });
}

void Committer::stage(GrantOperation& operation) {
  Lease lease;
  lease.ttl = operation.ttl;
  do {
    lease.id = static_cast<LeaseId>(random_() >> 1);
  } while (lease.id == 0 || leases_.contains(lease.id));
  leases_.grant(lease.id, lease.ttl, std::chrono::steady_clock::now());
  batch_.put_lease(lease.id, lease.ttl);
  must_sync_ = true;
  completions_.push_back([done = std::move(operation.done), lease](const Status& written) {
    if (written.ok()) return done(lease);
    done(written);
  });
}

void Committer::stage(KeepAliveOperation& operation) {
  const auto ttl = leases_.keep_alive(operation.id, std::chrono::steady_clock::now());
  Lease lease;
  lease.id = operation.id;
  lease.ttl = ttl.value_or(std::chrono::seconds(0));
  completions_.push_back([done = std::move(operation.done), lease](const Status& written) {
    if (!written) return done(written);
    if (lease.ttl.count() == 0) return done(no_lease("keep alive", lease.id));
    done(lease);
  });
}

void Committer::stage_lease_end(LeaseId id) {
  for (const std::string& key : leases_.remove(id)) {
    if (const EntryPtr held = current(key)) stage_removal(key, held);
  }
  batch_.drop_lease(id);
  must_sync_ = true;
}

void Committer::stage(RevokeOperation& operation) {
  const bool known = leases_.contains(operation.id);
  if (known) stage_lease_end(operation.id);
  completions_.push_back(
      [done = std::move(operation.done), known, id = operation.id](const Status& written) {
        done(written.ok() && !known ? no_lease("revoke", id) : written);
      });
}

void Committer::stage(CompactOperation& operation) {
  // What this group has staged is not in the view yet, nor can a caller know its revisions.
  Result<std::vector<Event>> forgotten = view_->compact(operation.revision);
  if (forgotten) {
    batch_.forget(*forgotten);
    batch_.set_compacted(operation.revision);
    must_sync_ = true;
  }
  completions_.push_back([done = std::move(operation.done), compacted = forgotten.status()](
                             const Status& written) { done(written.ok() ? compacted : written); });
}

}  // namespace fairlead::store
