// What api_bench times, of a running API server over loopback HTTP: durable creates, lists, the way
// from a write to watches.
//
// Threads: one caller; each function starts and joins its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace fairlead::bench {

// One keep-alive connection of HTTP/1.1, blocking. A failure ends the benchmark with a message.
class ApiClient {
 public:
  explicit ApiClient(uint16_t port);

  struct Answer {
    int status = 0;
    std::string body;
    std::chrono::steady_clock::time_point began;  // its head was there
  };
  Answer send(std::string_view method, std::string_view path, std::string_view body = {});
  // Sends the request of a watch and reads its head; what follows is the caller's to read.
  void begin_watch(std::string_view path);
  int fd() const { return fd_.get(); }

 private:
  void fill();
  size_t take_chunk(std::string* body);

  Fd fd_;
  std::string buffer_;
};

// A pod as a deployment makes it, about 1.5 KB when it has its defaults.
std::string pod_json(std::string_view name);

struct ApiCreates {
  double per_second = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};
ApiCreates measure_api_creates(uint16_t port, const std::string& prefix, int clients,
                               std::chrono::milliseconds duration);

// Pods p-0 and so on in the namespace `listed`, from 32 connections.
void fill_pods(uint16_t port, size_t count);
// Milliseconds for a list of them all. Long answers come in pieces, made while the first are on
// their way: their beginning tells little of their end.
struct ApiList {
  double begins_ms = 0;
  double ends_ms = 0;
};
ApiList measure_api_list(uint16_t port, size_t expected);

// From before each write until every one of `watchers` connections has its event, in milliseconds.
std::vector<double> measure_api_watch(uint16_t port, int watchers, int writes);

}  // namespace fairlead::bench
