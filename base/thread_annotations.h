// Names for clang's thread-safety analysis, and a mutex that it understands.
//
// A member that needs a lock says so with GUARDED_BY; the clang build in CI turns a forgotten lock
// into an error. With other compilers the annotations vanish.
// https://clang.llvm.org/docs/ThreadSafetyAnalysis.html
#pragma once

#include <mutex>

#if defined(__clang__)
#define FAIRLEAD_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define FAIRLEAD_THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(x) FAIRLEAD_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY FAIRLEAD_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) FAIRLEAD_THREAD_ANNOTATION(guarded_by(x))
#define REQUIRES(...) FAIRLEAD_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) FAIRLEAD_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) FAIRLEAD_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define EXCLUDES(...) FAIRLEAD_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))

namespace fairlead {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace fairlead
