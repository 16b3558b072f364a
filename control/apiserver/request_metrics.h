// What the server counts about its requests, in the names of kube-apiserver.
//
// Threads: all functions from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace fairlead::apiserver {

class RequestMetrics {
 public:
  RequestMetrics();
  ~RequestMetrics();

  // Labels come from closed sets: verbs (RequestInfo's, and "apply"), served resources, status
  // codes. Empty resource: a page.
  void count(std::string_view verb, std::string_view group, std::string_view resource, int code,
             double seconds);
  void count_refused();  // for want of room
  void set_in_flight(bool mutating, size_t requests);
  void set_watches(size_t open);
  std::string page() const;  // Prometheus' text format

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fairlead::apiserver
