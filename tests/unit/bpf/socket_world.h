// The socket programs attached to a cgroup that holds this thread's sockets and nobody else's, over
// maps of their own, in a network namespace of its own: what connect() and sendto() do is tried
// with real sockets on loopback.
//
// No route leads to a virtual address. So what the programs leave alone fails with ENETUNREACH,
// and what they translate arrives at an endpoint on loopback: 127.0.0.0/8 or fd00:e::/64.
//
// Threads: gtest's. One world for the tests of a suite, since loading takes long; each begins with
// empty maps.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "bpf/layout.h"
#include "bpf/object.h"
#include "tests/harness/bpf_sandbox.h"
#include "tests/harness/netns.h"

namespace fairlead::bpf::testing {

// "10.96.0.1:80", "[fd00::1]:80", "[::ffff:10.96.0.1]:80".
struct Spot {
  std::string host;
  uint16_t port = 0;
};

struct Service {
  uint32_t entry = 1;
  uint8_t protocol = IPPROTO_TCP;
  std::vector<Spot> endpoints = {};  // of the cluster choice
  uint32_t affinity_seconds = 0;
  uint8_t when_empty = FL_EMPTY_REJECT;
  std::vector<Spot> local = {};  // of the local choice
};

class SocketWorld : public ::testing::Test {
 protected:
  static void TearDownTestSuite();
  void SetUp() override;

  // ---- Maps ----
  void put(const Service& service);
  // An entry's virtual address; the id is the return value.
  uint32_t put(const Spot& frontend, uint32_t entry, uint8_t protocol, uint8_t flags = 0,
               std::vector<uint8_t> routes = {0, 0, 0});
  void put_cluster_address(std::string_view host);
  void put_source_range(uint32_t entry, std::string_view host, uint32_t bits);
  void put_node_address(std::string_view host, uint32_t flags);
  // Takes an endpoint out of every choice: the rest of the entry's stays.
  void leave(const Spot& endpoint);
  fl_config& config() { return config_; }
  void put_config();
  void clear(Map map);
  uint64_t counted(uint32_t counter) const;
  int fd(Map map) const { return kernel_->object->fd(map); }
  int fd(Program program) const { return kernel_->object->fd(program); }

  // ---- Sockets ----
  static Fd open(int family, int type);
  // A server on `where`; its calls give up after a while.
  static Fd serve(const Spot& where, int type);
  // 0 or errno. An IPv4 address on an IPv6 socket is written mapped.
  static int connect(const Fd& socket, const Spot& where);
  static int bind(const Fd& socket, std::string_view host);
  static int disconnect(const Fd& socket);
  static int send(const Fd& socket, const Spot& where);  // a datagram
  static std::string peer(const Fd& socket);             // what getpeername() says
  static bool knocked(const Fd& server);                 // takes a connection or a datagram
  // Answers one datagram; what the sender of the answer is to `client`. Empty: nothing came.
  static std::string exchange(const Fd& server, const Fd& client);

  const harness::BpfSandbox& sandbox() const { return *kernel_->sandbox; }
  uint64_t netns_cookie() const { return kernel_->netns_cookie; }

 private:
  struct Kernel {
    Fd home;  // the network namespace that the tests came from
    std::unique_ptr<harness::BpfSandbox> sandbox;
    std::unique_ptr<Object> object;
    std::vector<Fd> links;
    uint64_t netns_cookie = 0;
  };
  static void make(Kernel& kernel);
  static void attach(Kernel& kernel);

  static std::unique_ptr<Kernel> kernel_;
  fl_config config_{};
  uint32_t next_endpoint_ = 1;
  uint32_t next_slot_ = FL_RING_BLOCK;
  uint32_t next_frontend_ = 1;
  std::vector<Service> services_;
};

fl_addr to_wide(std::string_view host);
std::string text(const Spot& spot);

}  // namespace fairlead::bpf::testing
