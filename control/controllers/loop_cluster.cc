#include "control/controllers/loop_cluster.h"

#include <utility>

namespace fairlead::controllers {

namespace {

// An event that was posted before the watch ended finds the token gone.
class LoopWatch final : public Watch {
 public:
  explicit LoopWatch(Token token) : token_(std::move(token)) {}
  void hold(std::unique_ptr<Watch> watch) { watch_ = std::move(watch); }

 private:
  Token token_;
  std::unique_ptr<Watch> watch_;
};

}  // namespace

template <typename T>
Cluster::Done<T> LoopCluster::on_loop(Done<T> done) {
  return [loop = loop_, alive = token_.weak(), done = std::move(done)](Result<T> result) mutable {
    loop->post([alive, done = std::move(done), result = std::move(result)]() mutable {
      if (!alive.expired()) done(std::move(result));
    });
  };
}

void LoopCluster::get(Reference what, Done<ObjectPtr> done) {
  cluster_.get(std::move(what), on_loop(std::move(done)));
}

void LoopCluster::list(Scope scope, Done<Listing> done) {
  cluster_.list(std::move(scope), on_loop(std::move(done)));
}

std::unique_ptr<Watch> LoopCluster::watch(Scope scope, std::string from, WatchHandler handler) {
  Token token;
  auto shared = std::make_shared<WatchHandler>(std::move(handler));
  WatchHandler posting;
  posting.events = [loop = loop_, alive = token.weak(), shared](std::vector<Event> events) {
    loop->post([alive, shared, events = std::move(events)]() mutable {
      if (!alive.expired()) shared->events(std::move(events));
    });
  };
  posting.end = [loop = loop_, alive = token.weak(), shared](Status status) {
    loop->post([alive, shared, status = std::move(status)]() mutable {
      if (!alive.expired()) shared->end(std::move(status));
    });
  };
  auto made = std::make_unique<LoopWatch>(std::move(token));
  made->hold(cluster_.watch(std::move(scope), std::move(from), std::move(posting)));
  return made;
}

void LoopCluster::create(Reference where, schema::Document body, Done<ObjectPtr> done) {
  cluster_.create(std::move(where), std::move(body), on_loop(std::move(done)));
}

void LoopCluster::update(Reference what, std::string subresource, schema::Document body,
                         Done<ObjectPtr> done) {
  cluster_.update(std::move(what), std::move(subresource), std::move(body),
                  on_loop(std::move(done)));
}

void LoopCluster::merge_patch(Reference what, std::string subresource, schema::Document patch,
                              Done<ObjectPtr> done) {
  cluster_.merge_patch(std::move(what), std::move(subresource), std::move(patch),
                       on_loop(std::move(done)));
}

void LoopCluster::remove(Reference what, RemoveOptions options, Done<ObjectPtr> done) {
  cluster_.remove(std::move(what), std::move(options), on_loop(std::move(done)));
}

void LoopCluster::remove_all(Scope scope, Done<bool> done) {
  cluster_.remove_all(std::move(scope), on_loop(std::move(done)));
}

}  // namespace fairlead::controllers
