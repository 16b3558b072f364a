// A queue from any number of threads to the one thread that owns a piece of state.
//
// The reader sleeps in poll/epoll on wake_fd(), which is readable while messages wait. Taking the
// messages takes all of them at once, so a burst costs one wake-up. Not bounded here: senders bound
// themselves (the reflectors by the size of a page, the others by what they own).
//
// Threads: post() from any thread; take() and wake_fd() from the owner only.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/thread_annotations.h"

namespace fairlead {

template <typename Message>
class Mailbox {
 public:
  Mailbox() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void post(Message message) EXCLUDES(mutex_) {
    bool was_empty = false;
    {
      MutexLock lock(mutex_);
      was_empty = messages_.empty();
      messages_.push_back(std::move(message));
    }
    if (was_empty) {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
    }
  }

  // Everything posted so far, oldest first; empties the mailbox and rearms wake_fd().
  std::vector<Message> take() EXCLUDES(mutex_) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(wake_.get(), &count, sizeof count);
    std::vector<Message> taken;
    MutexLock lock(mutex_);
    taken.swap(messages_);
    return taken;
  }

  int wake_fd() const { return wake_.get(); }

 private:
  Fd wake_;
  Mutex mutex_;
  std::vector<Message> messages_ GUARDED_BY(mutex_);
};

}  // namespace fairlead
