// The API server of the world: the test double, living inside node-a's network namespace, where the
// daemon finds it on the loopback address.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tests/harness/cluster.h"
#include "tests/harness/netns.h"

namespace fairlead::e2e {

class Api : public harness::ObjectStore {
 public:
  static Result<std::unique_ptr<Api>> start(harness::Namespace& where);
  ~Api() override;

  std::string url() const;  // "http://127.0.0.1:1234"

  void put(std::string_view resource, std::string_view name, std::string json) override;
  void remove(std::string_view resource, std::string_view name) override;

  // Events that the daemon has sent with this reason and with `about` in the object's name or the
  // note.
  int count_events(std::string_view reason, std::string_view about);

  // Refuses every connection and cuts those that exist; then serves again on the same port, with
  // all objects.
  void take_down();
  Status bring_up();

 private:
  struct State;
  explicit Api(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace fairlead::e2e
