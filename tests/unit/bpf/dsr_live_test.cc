// Direct server return over real sockets: two nodes, each with programs and maps of its own.
//
//   client (203.0.113.2) --+
//   node A (203.0.113.3) --+-- one network
//   node B (203.0.113.4) --+
//                          +-- B has the pods 10.9.0.2 and 10.9.0.3
//
// The load balancer's address leads to A, which has no endpoint; node ports are A's.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>

#include "tests/harness/endpoints.h"
#include "tests/harness/probe.h"
#include "tests/unit/bpf/packet_fixture.h"

namespace fairlead::bpf::testing {
namespace {

using dataplane::Protocol;
using harness::Conversation;
using harness::Namespace;

void must(const Status& status) {
  EXPECT_TRUE(status) << status.message();
}

// A node with programs at tc.
class LiveNode {
 public:
  LiveNode(const std::string& name, int host) {
    auto made = Namespace::create(name);
    EXPECT_TRUE(made) << made.status().message();
    netns = std::move(*made);
    auto loaded = Object::load(Datapath::sizes(), "");
    EXPECT_TRUE(loaded) << loaded.status().message();
    object = std::move(*loaded);
    for (const char* key : {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}) {
      must(netns->sysctl(key, "1"));
    }
    fl_config config = {};
    config.source_v4 = wire("203.0.113." + std::to_string(host));
    config.source_v6 = wire("fd20::" + std::to_string(host));
    config.hz = Datapath::get()->hz();
    config.return_classes = Datapath::kReturnClasses;
    config.cpus = 1;
    config.tcp_established_seconds = 86400;
    config.tcp_closing_seconds = 60;
    config.udp_seconds = config.udp_stream_seconds = 180;
    config.snat_first = 20000;
    config.snat_last = 29999;
    config.dsr = FL_DSR_IPIP;
    put(Map::kConfig, uint32_t{0}, config);
    for (const fl_addr& own : {config.source_v4, config.source_v6}) {
      put(Map::kNodeAddresses, own, fl_node_address{FL_NODE_ADDRESS_NODE_PORTS});
    }
  }

  template <typename Key, typename Value>
  void put(Map map, const Key& key, const Value& value) {
    EXPECT_EQ(::bpf_map_update_elem(object->fd(map), &key, &value, BPF_ANY), 0);
  }
  void attach(const std::string& device) {
    const uint32_t index = netns->run([&] { return ::if_nametoindex(device.c_str()); });
    put(Map::kDevices, index, fl_device{.source_v4 = {}, .source_v6 = {}, .flags = 0, .mtu = 1500});
    netns->run([&] {
      for (const auto& [point, program] : {std::pair{BPF_TC_INGRESS, Program::kIngress},
                                           std::pair{BPF_TC_EGRESS, Program::kEgress}}) {
        LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(index), .attach_point = point);
        const int created = ::bpf_tc_hook_create(&hook);
        EXPECT_TRUE(created == 0 || created == -EEXIST) << created;
        LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = object->fd(program));
        EXPECT_EQ(::bpf_tc_attach(&hook, &options), 0);
      }
    });
  }
  // Service number `entry`, at `at`, of `count` endpoints.
  void serve(uint32_t entry, std::string_view at, fl_kind kind, Protocol protocol,
             const std::vector<std::string>& endpoints, size_t count, bool here) {
    const auto number = static_cast<fl_u8>(protocol);
    fl_ring_block block = {};
    for (uint32_t i = 0; i < FL_RING_BLOCK; ++i) {
      block.endpoint[i] = entry * 4 + i % static_cast<uint32_t>(count);
    }
    for (uint32_t i = 0; i < endpoints.size(); ++i) {
      const auto to = harness::socket_address_of(endpoints[i]);
      const auto flags =
          static_cast<fl_u8>(FL_ENDPOINT_CLUSTER | (here ? FL_ENDPOINT_MAYBE_HERE : 0));
      put(Map::kEndpoints, entry * 4 + i,
          fl_endpoint{wire(to.address), entry, 1, wire(to.port), flags, {}});
    }
    put(Map::kRings, entry, block);
    fl_entry value = {};
    value.ring[FL_CHOICE_CLUSTER] = FL_RING(entry * FL_RING_BLOCK, FL_RING_BLOCK);
    value.live = 1;
    value.protocol = number;
    put(Map::kEntries, entry, value);
    fl_frontend frontend = {};
    frontend.id = frontend.entry = entry;
    frontend.kind = static_cast<fl_u8>(kind);
    frontend.route[FL_SOURCE_OTHER] = FL_ROUTE_MASQUERADE;
    const auto address = harness::socket_address_of(at);
    put(Map::kFrontends, fl_frontend_key{wire(address.address), wire(address.port), number, 0},
        frontend);
  }
  uint64_t counted(uint32_t counter) const {
    std::vector<uint64_t> values(static_cast<size_t>(::libbpf_num_possible_cpus()));
    EXPECT_EQ(::bpf_map_lookup_elem(object->fd(Map::kCounters), &counter, values.data()), 0);
    uint64_t sum = 0;
    for (const uint64_t value : values) sum += value;
    return sum;
  }

  std::unique_ptr<Namespace> netns;
  std::unique_ptr<Object> object;
};

// Bytes received by the node's device on the common network.
uint64_t received(Namespace& where) {
  return where.run([] {
    std::ifstream file("/proc/thread-self/net/dev");
    for (std::string line; std::getline(file, line);) {
      const size_t name = line.find("lan0:");
      if (name != line.npos) return std::stoull(line.substr(name + 5));
    }
    return 0ULL;
  });
}

struct At {
  Protocol protocol;
  std::string address;
  uint16_t port;
};

class DsrLive : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Datapath::get() == nullptr && Datapath::lacks_features()) GTEST_SKIP() << Datapath::why();
    ASSERT_NE(Datapath::get(), nullptr) << Datapath::why();
    auto wires = Namespace::create("wires");
    ASSERT_TRUE(wires) << wires.status().message();
    wires_ = std::move(*wires);
    must(wires_->ip("link add bridge type bridge\nlink set bridge up"));
    auto client = Namespace::create("client");
    ASSERT_TRUE(client) << client.status().message();
    client_ = std::move(*client);
    a_ = std::make_unique<LiveNode>("node A", 3);
    b_ = std::make_unique<LiveNode>("node B", 4);
    plug(*client_, 2);
    plug(*a_->netns, 3);
    plug(*b_->netns, 4);
    auto servers = harness::EchoServers::start();
    ASSERT_TRUE(servers) << servers.status().message();
    servers_ = std::move(*servers);
    for (int host = 2; host < 4; ++host) pods_.push_back(pod(host));
    must(client_->ip("route add 192.0.2.80 via 203.0.113.3\nroute add 2001:db8:80::1 via fd20::3"));
    must(a_->netns->ip("route add 10.9.0.0/24 via 203.0.113.4\nroute add fd09::/64 via fd20::4"));
    must(
        b_->netns->ip("route add 10.9.0.2 dev pod2\nroute add 10.9.0.3 dev pod3\n"
                      "route add fd09::2 dev pod2\nroute add fd09::3 dev pod3"));
    a_->attach("lan0");
    for (const char* device : {"lan0", "pod2", "pod3"}) b_->attach(device);
    serve(1);
  }

  void plug(Namespace& who, int host) {
    const std::string number = std::to_string(host);
    must(connect(who, "lan0", *wires_, "port" + number));
    must(wires_->ip("link set port" + number + " master bridge"));
    must(who.ip("address add 203.0.113." + number + "/24 dev lan0\naddress add fd20::" + number +
                "/64 dev lan0 nodad"));
  }
  std::unique_ptr<Namespace> pod(int host) {
    const std::string number = std::to_string(host);
    auto made = Namespace::create("pod " + number);
    EXPECT_TRUE(made) << made.status().message();
    must(connect(*b_->netns, "pod" + number, **made, "eth0"));
    must(b_->netns->ip("address add 169.254.0.1/32 dev pod" + number +
                       "\naddress add fd0a::1/128 dev pod" + number + " nodad"));
    must((*made)->ip("address add 10.9.0." + number + "/32 dev eth0\naddress add fd09::" + number +
                     "/128 dev eth0 nodad\nroute add 169.254.0.1 dev eth0\nroute add default via "
                     "169.254.0.1\nroute add fd0a::1 dev eth0\nroute add default via fd0a::1"));
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      for (const std::string& address : {"10.9.0." + number, "fd09::" + number}) {
        must(servers_->listen(**made, "pod" + number, protocol, address, 8080));
      }
    }
    return std::move(*made);
  }
  // Every service with its first `count` endpoints.
  void serve(size_t count) {
    uint32_t entry = 1;
    const std::vector<std::string> v4 = {"10.9.0.2:8080", "10.9.0.3:8080"};
    const std::vector<std::string> v6 = {"[fd09::2]:8080", "[fd09::3]:8080"};
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      for (LiveNode* node : {a_.get(), b_.get()}) {
        const bool here = node == b_.get();
        node->serve(entry, "192.0.2.80:80", FL_KIND_LOAD_BALANCER, protocol, v4, count, here);
        node->serve(entry + 1, "[2001:db8:80::1]:80", FL_KIND_LOAD_BALANCER, protocol, v6, count,
                    here);
        node->serve(entry + 2, "0.0.0.0:30080", FL_KIND_NODE_PORT, protocol, v4, count, here);
        node->serve(entry + 3, "[::]:30080", FL_KIND_NODE_PORT, protocol, v6, count, here);
      }
      entry += 4;
    }
  }
  static std::vector<At> services() {
    std::vector<At> all;
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      all.push_back({protocol, "192.0.2.80", 80});
      all.push_back({protocol, "2001:db8:80::1", 80});
      all.push_back({protocol, "203.0.113.3", 30080});
      all.push_back({protocol, "fd20::3", 30080});
    }
    return all;
  }
  Conversation begin(const At& at) {
    return Conversation({.from = client_.get(),
                         .target = {at.protocol, at.address, at.port},
                         .source_address = {}});
  }

  std::unique_ptr<Namespace> wires_, client_;
  std::unique_ptr<LiveNode> a_, b_;
  std::vector<std::unique_ptr<Namespace>> pods_;
  std::unique_ptr<harness::EchoServers> servers_;
};

TEST_F(DsrLive, TheEndpointSeesItsClientAndAnswersPastTheFirstNode) {
  for (const At& at : services()) {
    const harness::Answer answer = begin(at).exchange();
    EXPECT_EQ(answer.fate, harness::Fate::kAnswered) << at.address << " " << answer.to_string();
    EXPECT_EQ(answer.source, at.address.find(':') == at.address.npos ? "203.0.113.2" : "fd20::2");
  }
  EXPECT_EQ(a_->counted(FL_COUNT_returned), 0U);
  EXPECT_EQ(a_->counted(FL_COUNT_tunnelled), b_->counted(FL_COUNT_untunnelled));
  EXPECT_GT(b_->counted(FL_COUNT_returned), 0U);
}

// A hundred conversations; then another endpoint, which takes over half of the ring.
TEST_F(DsrLive, AnEndpointMoreBreaksNoConversation) {
  std::vector<Conversation> open;
  for (int i = 0; i < 100; ++i) open.push_back(begin(services()[static_cast<size_t>(i) % 8]));
  for (Conversation& each : open) EXPECT_EQ(each.exchange().endpoint, "pod2");
  serve(2);
  for (int again = 0; again < 2; ++again) {
    for (Conversation& each : open) {
      EXPECT_EQ(each.exchange().endpoint, "pod2");
      EXPECT_EQ(each.reconnections(), 0);
    }
  }
  std::map<std::string, int> share;
  for (int i = 0; i < 40; ++i)
    share[begin(services()[static_cast<size_t>(i) % 8]).exchange().endpoint]++;
  EXPECT_EQ(share.size(), 2U);
  EXPECT_EQ(share["pod2"] + share["pod3"], 40);
}

// Both ways in bulk: segments that the device takes apart, and the client learns what fits.
TEST_F(DsrLive, ABulkOfBytes) {
  constexpr size_t kBytes = 4 << 20;
  for (const bool v4 : {true, false}) {
    const auto name = [&](std::string_view text) {
      const auto end = harness::socket_address_of(text);
      sockaddr_storage storage = {};
      const auto bytes = end.address.bytes();
      if (v4) {
        auto& in = reinterpret_cast<sockaddr_in&>(storage);
        in = {.sin_family = AF_INET, .sin_port = htons(end.port), .sin_addr = {}, .sin_zero = {}};
        std::memcpy(&in.sin_addr, bytes.data(), 4);
      } else {
        auto& in = reinterpret_cast<sockaddr_in6&>(storage);
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(end.port);
        std::memcpy(&in.sin6_addr, bytes.data(), 16);
      }
      return storage;
    };
    const auto open = [&](Namespace& where, std::string_view text, bool listens) {
      return where.run([&] {
        Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_storage to = name(text);
        const auto* address = reinterpret_cast<const sockaddr*>(&to);
        const socklen_t size = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        const timeval patience = {5, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (listens) {
          EXPECT_EQ(::bind(fd.get(), address, size), 0) << std::strerror(errno);
          EXPECT_EQ(::listen(fd.get(), 1), 0);
        } else {
          EXPECT_EQ(::connect(fd.get(), address, size), 0) << std::strerror(errno);
        }
        return fd;
      });
    };
    const std::string pod = v4 ? "10.9.0.2:9000" : "[fd09::2]:9000";
    const std::string at = v4 ? "192.0.2.80:9000" : "[2001:db8:80::1]:9000";
    for (LiveNode* node : {a_.get(), b_.get()}) {
      node->serve(20, at, FL_KIND_LOAD_BALANCER, Protocol::kTcp, {pod}, 1, node == b_.get());
    }
    const Fd listening = open(*pods_[0], pod, true);
    const Fd client = open(*client_, at, false);
    const Fd server(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(server.valid());
    const auto pump = [&](const Fd& from, const Fd& to) {
      std::vector<char> buffer(1 << 16, 'x');
      size_t sent = 0, got = 0;
      while (got < kBytes) {
        pollfd both[2] = {{from.get(), static_cast<short>(sent < kBytes ? POLLOUT : 0), 0},
                          {to.get(), POLLIN, 0}};
        if (::poll(both, 2, 5000) <= 0) break;
        if (both[0].revents & POLLOUT) {
          const ssize_t some = ::send(from.get(), buffer.data(),
                                      std::min(buffer.size(), kBytes - sent), MSG_DONTWAIT);
          if (some > 0) sent += static_cast<size_t>(some);
        }
        if (both[1].revents & POLLIN) {
          const ssize_t some = ::recv(to.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
          if (some <= 0) break;
          got += static_cast<size_t>(some);
        }
      }
      return got;
    };
    EXPECT_EQ(pump(client, server), kBytes);
    const uint64_t before = received(*a_->netns);
    EXPECT_EQ(pump(server, client), kBytes);
    EXPECT_LT(received(*a_->netns) - before, kBytes / 4);  // acknowledgements
  }
  EXPECT_GT(a_->counted(FL_COUNT_too_big_sent), 0U);
  EXPECT_EQ(a_->counted(FL_DROP_rewrite_failed) + b_->counted(FL_DROP_rewrite_failed), 0U);
}

}  // namespace
}  // namespace fairlead::bpf::testing
