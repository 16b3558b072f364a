// Virtual servers and their destinations, as values: what IPVS calls a service and its real
// servers.
//
// A virtual server is told by protocol, address and port, or by a packet mark. Forwarding is always
// masquerading (NAT): nothing else works for pods.
//
// Threads: values.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"

namespace fairlead::ipvs {

struct ServerKey {
  dataplane::Family family = dataplane::Family::kIPv4;
  uint32_t mark = 0;  // not 0: all packets with exactly this mark; what follows is then the default
  dataplane::Protocol protocol = dataplane::Protocol::kTcp;
  dataplane::SocketAddress address;

  static ServerKey at(dataplane::Protocol protocol, const dataplane::SocketAddress& address) {
    return {address.address.family(), 0, protocol, address};
  }
  static ServerKey marked(dataplane::Family family, uint32_t mark);

  std::string to_string() const;  // "TCP 10.96.0.10:80", "IPv4 mark 0x7a000001"
  friend auto operator<=>(const ServerKey&, const ServerKey&) = default;
};

struct ServerKeyHash {
  size_t operator()(const ServerKey& key) const;
};

// IP_VS_SVC_F_*, of linux/ip_vs.h.
inline constexpr uint32_t kPersistent = 0x1;
inline constexpr uint32_t kHashFallback = 0x8;  // sh, mh: another one when the chosen has weight 0
inline constexpr uint32_t kHashSourcePort = 0x10;  // sh, mh: the source port is hashed, too

struct ServerSettings {
  std::string scheduler = "rr";      // at most 15 characters, as IP_VS_SCHEDNAME_MAXLEN has it
  uint32_t flags = 0;                // of the three above
  uint32_t persistence_seconds = 0;  // counts with kPersistent

  friend bool operator==(const ServerSettings&, const ServerSettings&) = default;
};

struct Destination {
  dataplane::SocketAddress address;
  uint32_t weight = 1;  // 0: no new connections

  friend auto operator<=>(const Destination&, const Destination&) = default;
};

struct ListedServer {
  ServerKey key;
  ServerSettings settings;
};

struct ListedDestination {
  Destination destination;
  uint32_t connections = 0;  // active and inactive ones
  bool masquerading = true;  // false: some other way of forwarding, so not ours
};

// One change of the kernel's table.
struct Operation {
  enum class Kind : uint8_t {
    kAddServer,
    kChangeServer,
    kRemoveServer,  // with all of its destinations
    kAddDestination,
    kChangeDestination,
    kRemoveDestination,
  };
  Kind kind = Kind::kAddServer;
  ServerKey server;
  ServerSettings settings;  // counts where a server is added or changed
  Destination destination;  // counts where it is about one

  std::string to_string() const;  // "add destination 10.244.1.2:8080 of TCP 10.96.0.10:80"
};

// What a refusal of the kernel means. Of a scheduler that it lacks it says only ENOENT: that is
// kUnsupported here, with the module's name.
Status refusal_of(const Operation& operation, int system_errno);

// Idle times of connections; 0: as it is.
struct Timeouts {
  uint32_t tcp_seconds = 0;
  uint32_t tcp_fin_seconds = 0;
  uint32_t udp_seconds = 0;

  bool any() const { return tcp_seconds != 0 || tcp_fin_seconds != 0 || udp_seconds != 0; }
};

// The `index`-th thing that was asked for did not come about.
struct Failure {
  size_t index = 0;
  Status status;
};

}  // namespace fairlead::ipvs
