#include "control/controllers/controller.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace fairlead::controllers {

// The writes of one plan, on their way.
struct Controller::Performing {
  std::vector<Write> writes;
  size_t next = 0;
  Duration again{};
  DoneWorking done;
};

Controller::Controller(Context context, std::string name, WorkQueue::Limits limits)
    : context_(context),
      name_(std::move(name)),
      queue_(context.loop, limits, [this](const std::string& key) {
        work(key, [this, alive = token_.weak(), key](Worked worked) {
          if (!alive.expired()) finished(key, std::move(worked));
        });
      }) {}

Informer& Controller::needs(const schema::Resource& resource) {
  Informer& informer = context_.informers.of(resource);
  if (std::find(needed_.begin(), needed_.end(), &informer) == needed_.end()) {
    needed_.push_back(&informer);
  }
  return informer;
}

void Controller::start() {
  unsynced_ = needed_.size();
  if (unsynced_ == 0) queue_.resume();
  for (Informer* informer : needed_) {
    informer->on_synced(token_.guard(std::function<void()>([this] {
      if (--unsynced_ == 0) queue_.resume();
    })));
  }
}

ControllerMetrics Controller::metrics() const {
  ControllerMetrics made;
  made.name = name_;
  made.depth = queue_.depth();
  made.in_flight = queue_.in_flight();
  made.adds = queue_.added();
  made.worked = worked_;
  made.retries = retries_;
  made.writes = writes_;
  made.last_error = last_error_;
  return made;
}

void Controller::work(const std::string& key, DoneWorking done) {
  perform(plan(key), std::move(done));
}

void Controller::perform(Plan plan, DoneWorking done) {
  auto performing = std::make_shared<Performing>();
  performing->writes = std::move(plan.writes);
  performing->again = plan.again;
  performing->done = std::move(done);
  step(std::move(performing));
}

void Controller::step(std::shared_ptr<Performing> performing) {
  if (performing->next == performing->writes.size()) {
    performing->done({Status(), performing->again});
    return;
  }
  Write& write = performing->writes[performing->next++];
  ++writes_;
  const Write::Verb verb = write.verb;
  const Reference what = write.what;
  const std::string uid = write.options.uid;
  Cluster::Done<ObjectPtr> answered = token_.guard(std::function<void(Result<ObjectPtr>)>(
      [this, performing, verb, what, uid](Result<ObjectPtr> answer) {
        if (answer && *answer) {
          context_.informers.learn(*what.resource, *answer);
        } else if (verb == Write::Verb::kRemove &&
                   (answer || answer.status().code() == StatusCode::kNotFound)) {
          // Gone, by us or by others.
          context_.informers.learn_gone(what, uid);
        } else if (verb == Write::Verb::kCreate &&
                   answer.status().code() == StatusCode::kPermission) {
          // The namespace terminates: nothing that trying again would change, and nothing that
          // keeps the rest of the plan from being done.
          last_error_ = answer.status().message();
        } else if (!answer) {
          performing->done({answer.status(), performing->again});
          return;
        }
        step(performing);
      }));
  switch (verb) {
    case Write::Verb::kCreate:
      context_.cluster.create(what, std::move(write.body), std::move(answered));
      return;
    case Write::Verb::kUpdate:
      context_.cluster.update(what, std::move(write.subresource), std::move(write.body),
                              std::move(answered));
      return;
    case Write::Verb::kMergePatch:
      context_.cluster.merge_patch(what, std::move(write.subresource), std::move(write.body),
                                   std::move(answered));
      return;
    case Write::Verb::kRemove:
      context_.cluster.remove(what, std::move(write.options), std::move(answered));
      return;
  }
}

void Controller::finished(const std::string& key, Worked worked) {
  ++worked_;
  if (!worked.status.ok()) {
    ++retries_;
    last_error_ = worked.status.message();
    // Somebody else was faster: no news.
    if (worked.status.code() == StatusCode::kConflict) {
      LOG_V(2, "{} {}: {}", name_, key, last_error_);
    } else {
      LOG_WARNING("{} {}: {}", name_, key, last_error_);
    }
    queue_.retry(key);
    return;
  }
  queue_.forget(key);
  if (worked.again > Duration::zero()) queue_.add_after(key, worked.again);
  queue_.finish(key);
}

}  // namespace fairlead::controllers
