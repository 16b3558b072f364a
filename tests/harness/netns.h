// Network namespaces that vanish with the test, and the virtual cables between them.
//
// A namespace has no entry in /run/netns: it lives as long as somebody holds it open, and that is
// this process alone. The kernel therefore takes it down, interfaces, rules and all, even when the
// test is killed. To look inside while a test runs: nsenter --net=<path()>.
//
// Threads: create, destroy and connect from one thread; run(), ip() and sysctl() from any.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/status.h"

namespace fairlead::harness {

class Namespace {
 public:
  // `name` is for messages. The loopback interface is up.
  static Result<std::unique_ptr<Namespace>> create(std::string name);
  ~Namespace();
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;

  const std::string& name() const { return name_; }
  // A path by which tools can refer to the namespace: "/proc/12/fd/7".
  const std::string& path() const { return path_; }

  // Calls `function` on the namespace's own thread and returns what it returns. Sockets made and
  // programs started there belong to the namespace. Calls queue up: keep them short.
  template <typename Function>
  std::invoke_result_t<Function&> run(Function&& function) {
    using R = std::invoke_result_t<Function&>;
    if (on_own_thread()) return function();
    std::packaged_task<R()> task([&function]() -> R { return function(); });
    std::future<R> result = task.get_future();
    post([&task] { task(); });
    return result.get();
  }

  // Moves the calling thread into the namespace, for good.
  Status enter() const;

  // Runs lines of `ip` (8) commands, without the word ip. Stops at the first that fails.
  Status ip(std::string_view commands);
  // "net.ipv4.ip_forward", "1".
  Status sysctl(std::string_view key, std::string_view value);
  // How packets leave by `interface`. On a wire: with finished checksums, one segment each, as XDP
  // at the other end needs them, and the interface takes what XDP sends to it (GRO gives a veth the
  // queue for that). Otherwise: as a veth is made, with that left to whoever receives them.
  Status as_on_a_wire(const std::string& interface, bool wire);
  // What a cable's end does by itself, as between machines. `complete`: packets leave it with
  // finished checksums and one segment each, where XDP at the other end can change them; and it
  // takes what XDP sends to it (GRO gives a veth the queue for that). Otherwise as a veth is made.
  Status finish_packets(const std::string& interface, bool complete);

 private:
  struct Worker;
  Namespace(std::string name, std::unique_ptr<Worker> worker);
  bool on_own_thread() const;
  void post(std::function<void()> work);

  std::string name_;
  std::string path_;
  std::unique_ptr<Worker> worker_;
};

// A veth pair with one end in each namespace, both ends up.
Status connect(Namespace& left, std::string_view left_interface, Namespace& right,
               std::string_view right_interface);

}  // namespace fairlead::harness
