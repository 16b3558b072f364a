// libcurl's multi handles in an epoll set: usually one, and a second one while requests linger on
// connections that are given up.
//
// A multi handle owns a pool of connections. When one of them looks dead, retire() starts a fresh
// pool for new requests; the old one stays until its last request has ended.
//
// Threads: the client's loop thread. Include only from .cc files of control/client.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/status.h"

namespace fairlead::client {

class MultiPool {
 public:
  using Clock = std::chrono::steady_clock;
  using Ended = std::function<void(CURL* easy, CURLcode code)>;

  explicit MultiPool(int epoll_fd) : epoll_fd_(epoll_fd) {}
  ~MultiPool();
  MultiPool(const MultiPool&) = delete;
  MultiPool& operator=(const MultiPool&) = delete;

  Status add(CURL* easy);
  void remove(CURL* easy);
  // New requests get new connections.
  void retire();

  // When on_time() wants to be called next.
  std::optional<Clock::time_point> next() const;
  void on_event(int fd, uint32_t epoll_events);
  void on_time(Clock::time_point now);
  // Reports every request that has ended since the last call; the callback may add and remove.
  void collect(const Ended& ended);

 private:
  struct Multi {
    MultiPool* pool = nullptr;
    CURLM* handle = nullptr;
    size_t active = 0;
    bool retired = false;
    std::optional<Clock::time_point> deadline;
    ~Multi();
  };

  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* self, void* socket);
  static int on_timer(CURLM* handle, long timeout_ms, void* self);
  Multi* current();
  void drop_unused();

  int epoll_fd_;
  std::vector<std::unique_ptr<Multi>> multis_;
  std::unordered_map<int, Multi*> sockets_;  // those in the epoll set
  std::unordered_map<CURL*, Multi*> owners_;
};

}  // namespace fairlead::client
