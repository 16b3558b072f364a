#include "control/server/compactor.h"

#include "base/log.h"

namespace fairlead::server {

Compactor::Compactor(store::Store& store, std::chrono::seconds interval)
    : store_(store), interval_(interval), thread_([this] { run(); }) {}

Compactor::~Compactor() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Compactor::run() {
  store::Revision before = store_.revision();
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, interval_, [this] { return stopping_; })) {
    const store::Revision now = store_.revision();
    if (before > 0 && before < now) {
      store_.compact(before, [](const Status& status) {
        // Another server may have been first.
        if (!status && status.code() != StatusCode::kExpired) LOG_WARNING("{}", status.message());
      });
    }
    before = now;
  }
}

}  // namespace fairlead::server
