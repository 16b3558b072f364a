// Coroutines for requests: a write reads, decides and writes again without a thread waiting.
//
// A Task starts when it is awaited, and its awaiter goes on where it ends. start() runs one that
// nobody awaits. A store's call is awaited with StoreCall and goes on at once when the store
// answered from memory, else on a thread of the pool.
//
// Threads: a task runs on one thread at a time.
#pragma once

#include <atomic>
#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include "control/apiserver/worker_pool.h"

namespace fairlead::apiserver {

template <typename T>
class [[nodiscard]] Task {
 public:
  struct promise_type {
    std::optional<T> value;
    std::coroutine_handle<> continuation;

    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct Final {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
          return self.promise().continuation;
        }
        void await_resume() noexcept {}
      };
      return Final{};
    }
    void return_value(T result) { value.emplace(std::move(result)); }
    void unhandled_exception() { std::terminate(); }
  };

  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> continuation) noexcept {
    handle_.promise().continuation = continuation;
    return handle_;
  }
  T await_resume() { return std::move(*handle_.promise().value); }

 private:
  std::coroutine_handle<promise_type> handle_;
};

struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

// Runs the task and hands its result to `done`.
template <typename T>
Detached start(Task<T> task, std::function<void(T)> done) {
  T value = co_await task;
  done(std::move(value));
}

// Waits for a completion: `begin` is called with the function to complete with.
template <typename T>
class StoreCall {
 public:
  using Begin = std::function<void(std::function<void(T)>)>;

  StoreCall(WorkerPool& pool, Begin begin) : pool_(pool), begin_(std::move(begin)) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> self) {
    Begin begin = std::move(begin_);
    WorkerPool& pool = pool_;
    begin([this, self, &pool](T result) {
      value_.emplace(std::move(result));
      // Whoever comes second goes on: this object may be gone for the first.
      if (second_.exchange(true)) pool.post([self] { self.resume(); });
    });
    return !second_.exchange(true);
  }
  T await_resume() { return std::move(*value_); }

 private:
  WorkerPool& pool_;
  Begin begin_;
  std::optional<T> value_;
  std::atomic<bool> second_ = false;
};

}  // namespace fairlead::apiserver
