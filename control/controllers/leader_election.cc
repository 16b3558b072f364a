#include "control/controllers/leader_election.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

const schema::Resource& lease_row() {
  return resource("coordination.k8s.io", "v1", "leases");
}

}  // namespace

LeaderElector::LeaderElector(Cluster& cluster, Loop& loop, ElectionOptions options,
                             std::function<void()> started, std::function<void()> stopped)
    : cluster_(cluster),
      loop_(loop),
      options_(std::move(options)),
      started_(std::move(started)),
      stopped_(std::move(stopped)) {}

void LeaderElector::start() {
  tick();
}

// The next one is due whatever becomes of this one's requests.
void LeaderElector::tick() {
  if (released_) return;
  loop_.after(options_.retry, token_.guard(std::function<void()>([this] { tick(); })));
  cluster_.get({&lease_row(), options_.space, options_.name},
               token_.guard(std::function<void(Result<ObjectPtr>)>(
                   [this](Result<ObjectPtr> lease) { found(std::move(lease)); })));
}

void LeaderElector::found(Result<ObjectPtr> lease) {
  if (released_) return;
  if (!lease) {
    if (lease.status().code() == StatusCode::kNotFound) {
      write(nullptr);
    } else {
      LOG_V(2, "leader election: {}", lease.status().message());
    }
    return;
  }
  // An answer from before what is known already says nothing.
  if (!observe(*lease)) return;
  if (leading_ && !leader_.empty() && leader_ != options_.identity) {
    leading_ = false;
    LOG_WARNING("controllers: {} has lost its lease to {} and stops", options_.identity, leader_);
    stopped_();
    return;
  }
  if (free_to_take(**lease)) write(lease->get());
}

bool LeaderElector::observe(const ObjectPtr& lease) {
  if (lease_ && revision_of(*lease_) == revision_of(*lease)) return true;
  if (lease_ && is_older(revision_of(*lease), revision_of(*lease_))) return false;
  lease_ = lease;
  seen_ = loop_.now();
  leader_ = lease->get("spec").get("holderIdentity").as_string();
  return true;
}

bool LeaderElector::free_to_take(const Value& lease) {
  const Value& spec = lease.get("spec");
  const std::string_view holder = spec.get("holderIdentity").as_string();
  if (holder.empty() || holder == options_.identity) return true;
  const Duration valid = std::chrono::seconds(spec.get("leaseDurationSeconds").as_int());
  return loop_.now() - seen_ >= valid;
}

void LeaderElector::write(const Value* lease) {
  const TimePoint asked = loop_.now();
  const std::string now = rfc3339_micro(loop_.unix_microseconds());
  Document body = lease ? copy_of(*lease) : new_object(lease_row(), options_.space, options_.name);
  Arena& arena = body.arena;
  Value& spec = body.root.ensure(arena, "spec");
  const std::string_view holder = spec.get("holderIdentity").as_string();
  if (holder != options_.identity) {
    const int64_t transitions = spec.get("leaseTransitions").as_int();
    spec.set(arena, "leaseTransitions", Value::integer(lease ? transitions + 1 : 0));
    spec.set(arena, "acquireTime", text(arena, now));
    spec.set(arena, "holderIdentity", text(arena, options_.identity));
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(options_.lease).count();
  spec.set(arena, "leaseDurationSeconds", Value::integer(std::max<int64_t>(seconds, 1)));
  spec.set(arena, "renewTime", text(arena, now));
  auto done = token_.guard(std::function<void(Result<ObjectPtr>)>(
      [this, asked](Result<ObjectPtr> answer) { written(asked, std::move(answer)); }));
  const Reference what{&lease_row(), options_.space, options_.name};
  if (lease) {
    cluster_.update(what, "", std::move(body), std::move(done));
  } else {
    cluster_.create(what, std::move(body), std::move(done));
  }
}

void LeaderElector::written(TimePoint asked, Result<ObjectPtr> lease) {
  if (!lease || !*lease) {
    if (!lease) LOG_V(2, "leader election: {}", lease.status().message());
    return;
  }
  if (!observe(*lease) || released_) return;
  // An answer that comes after the deadline renews nothing: another may lead by then.
  if (loop_.now() - asked >= options_.renew) return;
  renewed_ = asked;
  watch_deadline();
  if (leading_) return;
  leading_ = true;
  LOG_INFO("controllers: {} leads", options_.identity);
  started_();
}

void LeaderElector::watch_deadline() {
  const TimePoint renewed = renewed_;
  loop_.after(renewed + options_.renew - loop_.now(),
              token_.guard(std::function<void()>([this, renewed] {
                if (!leading_ || renewed_ != renewed) return;
                leading_ = false;
                LOG_WARNING("controllers: {} could not renew its lease in time and stops",
                            options_.identity);
                stopped_();
              })));
}

void LeaderElector::release(std::function<void()> done) {
  released_ = true;
  if (!leading_ || !lease_) {
    leading_ = false;
    done();
    return;
  }
  leading_ = false;
  stopped_();
  Document body = copy_of(*lease_);
  Value& spec = body.root.ensure(body.arena, "spec");
  spec.set(body.arena, "holderIdentity", Value::string(""));
  spec.set(body.arena, "leaseDurationSeconds", Value::integer(1));
  cluster_.update({&lease_row(), options_.space, options_.name}, "", std::move(body),
                  token_.guard(std::function<void(Result<ObjectPtr>)>(
                      [done = std::move(done)](Result<ObjectPtr>) { done(); })));
}

}  // namespace fairlead::controllers
