// A host without IPVS that behaves like one with it: what the kernel keeps, in memory, with the
// errors that it gives. And failures on demand.
//
// Threads: the test's thread.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ipvs/backend.h"

namespace fairlead::ipvs::testing {

// Shared by all seams of one host; survives a backend, as the kernel does.
struct Host {
  struct Server {
    ServerSettings settings;
    std::map<dataplane::SocketAddress, ListedDestination> destinations;
  };
  struct Set {
    SetSpec spec;
    uint32_t room = 0;
    std::set<SetElement> elements;
  };

  std::map<ServerKey, Server> servers;
  std::map<std::string, Set> sets;
  bool device = false;
  std::set<dataplane::Address> on_device;
  std::set<dataplane::Address> elsewhere;
  std::map<std::string, std::string> settings;
  // By "v4 nat", and "other v4 nat" for the tool of another variant: what iptables-save says.
  std::map<std::string, std::string> rules;
  std::string unreadable;      // one of those tables has rules that the tool cannot show
  std::string route_localnet;  // a file's name
  std::set<std::string> schedulers = {"rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq"};
  Timeouts timeouts;

  // Failures: each counts down and then happens; 0 is never.
  int fail_netlink = 0;  // the n-th batch of operations cannot be sent
  int fail_restore = 0;
  std::string refuse_operation;  // operations whose text contains it, with ENOMEM
  std::string refuse_element;    // elements whose text contains it
  // Of IPv6: what the host lacks.
  bool no_ip6tables = false;
  bool no_ip6_sets = false;
  bool no_ip6_servers = false;
  int batches = 0;
  int restores = 0;
  std::map<std::string, int> saves;  // by "v4 nat"
  uint64_t stamp = 1;

  // "TCP 10.96.0.1:80 rr -> 10.1.0.1:8080*1 10.1.0.2:8080*0", one line a server.
  std::string describe() const;
  // "10.96.0.1,tcp:80 ..." of one set.
  std::string elements(const std::string& set) const;
};

OwnedSeams seams_of(Host& host);
std::unique_ptr<iptables::Tool> other_tool_of(Host& host);

}  // namespace fairlead::ipvs::testing
