// A libcurl client for the suites here: whole requests, and watches whose lines are waited for.
//
// Threads: owned by the test's thread; a Watcher runs one of its own.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace fairlead::api_server {

struct Answer {
  int result = 0;   // CURLcode
  long status = 0;  // NOLINT: libcurl's type
  std::string head;
  std::string body;
};

struct Ask {
  std::string url = {};
  std::string method = {};
  std::string body = {};
  std::vector<std::string> headers = {};
  std::string ca_pem = {};
  std::string certificate_pem = {};
  std::string key_pem = {};
};

Answer ask(const Ask& ask);

// One watch: reads lines until the server ends it or the watcher is destroyed.
class Watcher {
 public:
  explicit Watcher(std::string url);
  ~Watcher();

  std::string line();  // the next complete line; empty when the watch has ended or nothing comes
  bool ended();        // waits for the end
  std::string rest();  // after the end: what came after the last complete line
  int result() const { return result_; }

 private:
  void run();
  static size_t on_data(char* bytes, size_t, size_t size, void* self);

  const std::string url_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string received_;
  bool ended_ = false;
  bool stopping_ = false;
  int result_ = 0;
  std::thread thread_;
};

}  // namespace fairlead::api_server
