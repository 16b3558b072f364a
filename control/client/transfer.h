// One request on its way through libcurl: its easy handle, what it may still call, and its answer
// so far.
//
// Threads: the client's loop thread. Include only from .cc files of control/client.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/client/client.h"

namespace fairlead::client {

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using EasyPtr = std::unique_ptr<CURL, EasyDeleter>;
using ListPtr = std::unique_ptr<curl_slist, ListDeleter>;

// The parts of a ClientConfig as libcurl wants them, worked out once.
struct Target {
  explicit Target(const ClientConfig& config);

  std::string base_url;    // what request paths are appended to
  std::string host;        // "10.0.0.1:6443", for metrics and the Host header
  std::string connect_to;  // CURLOPT_CONNECT_TO entry when the TLS name is not the host
  bool tls = false;
  bool loopback = false;
};

class Transfer {
 public:
  using Clock = std::chrono::steady_clock;

  Transfer(uint64_t request_id, Request request, ResponseCallback done);
  Transfer(uint64_t request_id, Request request, StreamCallbacks callbacks);
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Sets everything up; `config` and `target` must outlive the transfer.
  Status prepare(const ClientConfig& config, const Target& target, const std::string& token);
  // Hands the end to whoever waits for it: `code` is libcurl's, or `failure` overrides it.
  void finish(CURLcode code, const Status& failure = {});

  CURL* easy() const { return easy_.get(); }
  uint64_t id() const { return id_; }
  const Request& request() const { return request_; }
  int status() const { return head_done_ ? response_.status : 0; }
  bool streaming() const { return streaming_; }
  bool head_done() const { return head_done_; }
  bool cancelled() const { return cancelled_; }
  void cancel() { cancelled_ = true; }
  Clock::time_point started_at() const { return started_at_; }
  Clock::time_point last_byte_at() const { return last_byte_at_; }
  // "GET https://host/path", for errors.
  std::string object() const;
  // Called when the head of a stream has arrived.
  void set_head_observer(std::function<void()> observer) { head_observer_ = std::move(observer); }

 private:
  static size_t on_header(char* bytes, size_t size, size_t count, void* self);
  static size_t on_body(char* bytes, size_t size, size_t count, void* self);
  static int on_socket(void* self, curl_socket_t fd, curlsocktype purpose);
  bool take_header(std::string_view line);
  bool take_body(std::string_view bytes);
  void add_header(const std::string& line);
  void set_body();
  void set_tls(const ClientConfig& config);
  Status failure_of(CURLcode code) const;

  const uint64_t id_;
  Request request_;
  const bool streaming_;
  ResponseCallback done_;
  StreamCallbacks callbacks_;
  std::function<void()> head_observer_;

  EasyPtr easy_;
  ListPtr headers_;
  ListPtr connect_to_;
  std::string url_;
  char error_text_[CURL_ERROR_SIZE] = {};

  Response response_;
  bool head_done_ = false;
  bool cancelled_ = false;
  bool body_too_large_ = false;
  size_t head_bytes_ = 0;
  Clock::time_point started_at_;
  Clock::time_point last_byte_at_;
};

}  // namespace fairlead::client
