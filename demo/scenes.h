// The scenes of the demo, in order. Each does one thing to the cluster, looks at what real packets
// meet afterwards, prints that, and ends with an error when it is not what it says.
//
// Threads: one owner.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "demo/page.h"
#include "demo/stage.h"

namespace fairlead::demo {

class Scenes {
 public:
  Scenes(Stage& stage, Page& page);

  // All of them, up to the first that fails.
  Status play();

 private:
  Status start_the_server();
  Status start();
  Status reach_the_server();
  Status reach_a_service();
  Status share_evenly();
  Status change_endpoints();
  Status lose_all_endpoints();
  Status keep_the_source();
  Status stick_to_an_endpoint();
  Status kill_the_api_server();
  Status kill_the_proxy();
  Status look_into_the_kernel();
  Status leave_nothing();

  Status show_rows();
  Status show_slices();
  Status lose_readiness(const std::string& pod);
  Status resume(harness::Traffic& traffic);
  // What must survive the server: who is who, at which revision.
  Result<std::string> objects();
  Status show_silence_and_health();
  Result<std::string> look_up(std::string_view map, std::string_view key);
  // Labels the pods and waits until `pod` answers the client: how long that took after kubectl.
  Result<Milliseconds> endpoints_until(std::vector<std::string> pods, std::string_view pod);
  // Waits until no pod answers that is not one of web_.pods.
  Status settle();
  // New connections of every kind from everywhere.
  std::vector<harness::Question> steady_questions();
  std::vector<harness::Answer> ask_times(const harness::Question& question, size_t times);

  Stage& stage_;
  Page& page_;
  DemoService web_;
};

}  // namespace fairlead::demo
