// Echo servers that say who they are and whom they see, in any number of namespaces, on one thread.
//
// A TCP or SCTP client gets one line on connecting and one more for every line it sends; a UDP
// client gets one for every datagram. The line is "<name> <source host> <source port> <local host>
// <local port>".
//
// Threads: listen() from any thread; one internal thread serves.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "dataplane/address.h"
#include "tests/harness/netns.h"

namespace fairlead::harness {

class EchoServers {
 public:
  static Result<std::unique_ptr<EchoServers>> start();
  ~EchoServers();
  EchoServers(const EchoServers&) = delete;
  EchoServers& operator=(const EchoServers&) = delete;

  // Serves on `address` (of either family) inside `where`, answering as `name`.
  Status listen(Namespace& where, std::string name, dataplane::Protocol protocol,
                std::string_view address, uint16_t port);

 private:
  struct State;
  explicit EchoServers(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace fairlead::harness
