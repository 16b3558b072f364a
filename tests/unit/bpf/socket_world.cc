#include "tests/unit/bpf/socket_world.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tests/harness/features.h"
#include "tests/harness/socket_address.h"

namespace fairlead::bpf::testing {
namespace {

constexpr int kPatienceMs = 2000;

struct Place {
  Program program;
  bpf_attach_type type;
};
constexpr std::array<Place, 8> kPlaces = {{
    {Program::kConnect4, BPF_CGROUP_INET4_CONNECT},
    {Program::kConnect6, BPF_CGROUP_INET6_CONNECT},
    {Program::kSendmsg4, BPF_CGROUP_UDP4_SENDMSG},
    {Program::kSendmsg6, BPF_CGROUP_UDP6_SENDMSG},
    {Program::kRecvmsg4, BPF_CGROUP_UDP4_RECVMSG},
    {Program::kRecvmsg6, BPF_CGROUP_UDP6_RECVMSG},
    {Program::kGetpeername4, BPF_CGROUP_INET4_GETPEERNAME},
    {Program::kGetpeername6, BPF_CGROUP_INET6_GETPEERNAME},
}};

Sizes few() {
  Sizes sizes;
  sizes.frontends = 1024;
  sizes.entries = 64;
  sizes.endpoints = 256;
  sizes.ring_slots = 4096;
  sizes.prefixes = 64;
  sizes.flows = 1024;
  sizes.new_flows = 1024;
  sizes.return_classes = 2;
  sizes.affinity = 1024;
  sizes.fragments = 64;
  return sizes;
}

template <typename Key, typename Value>
void write(int map, const Key& key, const Value& value) {
  ASSERT_EQ(::bpf_map_update_elem(map, &key, &value, BPF_ANY), 0) << std::strerror(errno);
}

int family_of(const Fd& socket) {
  int family = 0;
  socklen_t size = sizeof family;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &family, &size);
  return family;
}

harness::KernelAddress address_for(const Fd& socket, std::string_view host, uint16_t port) {
  const bool v4 = host.find(':') == std::string_view::npos;
  const std::string mapped = "::ffff:" + std::string(host);
  return harness::kernel_address(v4 && family_of(socket) == AF_INET6 ? mapped : host, port);
}

bool readable(const Fd& socket) {
  pollfd wait = {socket.get(), POLLIN, 0};
  return ::poll(&wait, 1, kPatienceMs) == 1;
}

}  // namespace

fl_addr to_wide(std::string_view host) {
  fl_addr wide = {};
  const std::string text(host);
  if (::inet_pton(AF_INET6, text.c_str(), &wide) == 1) return wide;
  wide.word[2] = htonl(0xffff);
  EXPECT_EQ(::inet_pton(AF_INET, text.c_str(), &wide.word[3]), 1) << text;
  return wide;
}

std::string text(const Spot& spot) {
  return harness::host_and_port(spot.host, spot.port);
}

std::unique_ptr<SocketWorld::Kernel> SocketWorld::kernel_;

void SocketWorld::make(Kernel& kernel) {
  kernel.home.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  auto sandbox = harness::BpfSandbox::create();
  ASSERT_TRUE(sandbox.ok()) << sandbox.status().message();
  kernel.sandbox = *std::move(sandbox);
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  std::string commands = "ip link set lo up";
  for (int host = 1; host < 12; ++host) {
    commands += "&& ip addr add fd00:e::" + std::to_string(host) + "/128 dev lo";
  }
  ASSERT_EQ(std::system(commands.c_str()), 0);

  auto object = Object::load(few(), "");
  ASSERT_TRUE(object.ok()) << object.status().message();
  kernel.object = *std::move(object);
  attach(kernel);
  const Status entered = kernel.sandbox->enter();
  ASSERT_TRUE(entered.ok()) << entered.message();
  const Fd any = open(AF_INET, SOCK_DGRAM);
  socklen_t size = sizeof kernel.netns_cookie;
  ASSERT_EQ(::getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &kernel.netns_cookie, &size), 0);
}

void SocketWorld::attach(Kernel& kernel) {
  const Fd cgroup(::open(kernel.sandbox->inside_path().c_str(), O_DIRECTORY | O_CLOEXEC));
  for (const Place& place : kPlaces) {
    kernel.links.emplace_back(
        ::bpf_link_create(kernel.object->fd(place.program), cgroup.get(), place.type, nullptr));
    ASSERT_TRUE(kernel.links.back().valid()) << to_string(place.program) << std::strerror(errno);
  }
}

void SocketWorld::SetUp() {
  using harness::Feature;
  const std::string missing = harness::missing_features(
      {Feature::kRoot, Feature::kNetns, Feature::kIPv6, Feature::kBpf, Feature::kCgroup2});
  if (!missing.empty()) GTEST_SKIP() << missing;
  if (!kernel_) {
    auto kernel = std::make_unique<Kernel>();
    make(*kernel);
    if (HasFatalFailure()) return;
    kernel_ = std::move(kernel);
  }
  for (const Map map : {Map::kFrontends, Map::kPrefixes, Map::kNodeAddresses, Map::kAffinity,
                        Map::kFlows, Map::kNewFlows}) {
    clear(map);
  }
  const std::vector<uint64_t> zeros(::libbpf_num_possible_cpus());
  for (uint32_t counter = 0; counter < FL_COUNTERS; ++counter) {
    ASSERT_EQ(::bpf_map_update_elem(fd(Map::kCounters), &counter, zeros.data(), BPF_ANY), 0);
  }
  config_.hz = 250;
  config_.host_netns_cookie = netns_cookie();
  config_.return_classes = 1;
  put_config();
}

void SocketWorld::TearDownTestSuite() {
  if (!kernel_) return;
  const Fd home = std::move(kernel_->home);
  kernel_.reset();
  EXPECT_EQ(::setns(home.get(), CLONE_NEWNET), 0);
}

void SocketWorld::clear(Map map) {
  std::array<char, 64> key;
  while (::bpf_map_get_next_key(fd(map), nullptr, key.data()) == 0) {
    ASSERT_EQ(::bpf_map_delete_elem(fd(map), key.data()), 0) << to_string(map);
  }
}

void SocketWorld::put(const Service& service) {
  fl_entry entry = {.affinity_seconds = service.affinity_seconds,
                    .when_empty = {service.when_empty, service.when_empty},
                    .live = 1,
                    .protocol = service.protocol};
  const std::array<const std::vector<Spot>*, FL_CHOICES> choices = {&service.endpoints,
                                                                    &service.local};
  for (size_t choice = 0; choice < FL_CHOICES; ++choice) {
    fl_ring_block block = {};
    for (size_t i = 0; i < choices[choice]->size(); ++i) {
      const Spot& spot = (*choices[choice])[i];
      block.endpoint[i] = next_endpoint_++;
      write(fd(Map::kEndpoints), block.endpoint[i],
            fl_endpoint{.address = to_wide(spot.host),
                        .entry = service.entry,
                        .generation = 1,
                        .port = htons(spot.port),
                        .flags = static_cast<fl_u8>(
                            choice == FL_CHOICE_LOCAL ? FL_ENDPOINT_LOCAL : FL_ENDPOINT_CLUSTER)});
    }
    write(fd(Map::kRings), next_slot_ / FL_RING_BLOCK, block);
    entry.ring[choice] = FL_RING(next_slot_, choices[choice]->size());
    next_slot_ += FL_RING_BLOCK;
  }
  write(fd(Map::kEntries), service.entry, entry);
  std::erase_if(services_, [&](const Service& old) { return old.entry == service.entry; });
  services_.push_back(service);
}

uint32_t SocketWorld::put(const Spot& spot, uint32_t entry, uint8_t protocol, uint8_t flags,
                          std::vector<uint8_t> routes) {
  fl_frontend frontend = {.id = next_frontend_++, .entry = entry, .flags = flags};
  std::copy(routes.begin(), routes.end(), frontend.route);
  write(fd(Map::kFrontends), fl_frontend_key{to_wide(spot.host), htons(spot.port), protocol, 0},
        frontend);
  return frontend.id;
}

void SocketWorld::put_cluster_address(std::string_view host) {
  write(fd(Map::kFrontends), fl_frontend_key{.address = to_wide(host)},
        fl_frontend{.id = next_frontend_++, .kind = FL_KIND_CLUSTER_ADDRESS});
}

void SocketWorld::put_source_range(uint32_t entry, std::string_view host, uint32_t bits) {
  write(fd(Map::kPrefixes), fl_prefix_key{FL_PREFIX_FIXED_BITS + bits, htonl(entry), to_wide(host)},
        uint32_t{1});
}

void SocketWorld::put_node_address(std::string_view host, uint32_t flags) {
  write(fd(Map::kNodeAddresses), to_wide(host), fl_node_address{flags});
}

void SocketWorld::leave(const Spot& gone) {
  const fl_addr address = to_wide(gone.host);
  for (uint32_t index = 1; index < next_endpoint_; ++index) {
    fl_endpoint endpoint = {};
    ASSERT_EQ(::bpf_map_lookup_elem(fd(Map::kEndpoints), &index, &endpoint), 0);
    if (std::memcmp(&endpoint.address, &address, sizeof address) != 0) continue;
    endpoint.flags = 0;
    write(fd(Map::kEndpoints), index, endpoint);
  }
  for (const Service& service : std::vector(services_)) {
    fl_entry entry = {};
    ASSERT_EQ(::bpf_map_lookup_elem(fd(Map::kEntries), &service.entry, &entry), 0);
    const uint32_t number = FL_RING_OFFSET(entry.ring[FL_CHOICE_CLUSTER]) / FL_RING_BLOCK;
    fl_ring_block block = {};
    ASSERT_EQ(::bpf_map_lookup_elem(fd(Map::kRings), &number, &block), 0);
    uint32_t stay = 0;
    for (uint32_t i = 0; i < FL_RING_SIZE(entry.ring[FL_CHOICE_CLUSTER]); ++i) {
      fl_endpoint endpoint = {};
      ASSERT_EQ(::bpf_map_lookup_elem(fd(Map::kEndpoints), &block.endpoint[i], &endpoint), 0);
      if (endpoint.flags != 0) block.endpoint[stay++] = block.endpoint[i];
    }
    write(fd(Map::kRings), number, block);
    entry.ring[FL_CHOICE_CLUSTER] = FL_RING(number * FL_RING_BLOCK, stay);
    write(fd(Map::kEntries), service.entry, entry);
  }
}

void SocketWorld::put_config() {
  write(fd(Map::kConfig), uint32_t{0}, config_);
}

uint64_t SocketWorld::counted(uint32_t counter) const {
  std::vector<uint64_t> each(::libbpf_num_possible_cpus());
  EXPECT_EQ(::bpf_map_lookup_elem(fd(Map::kCounters), &counter, each.data()), 0);
  uint64_t sum = 0;
  for (const uint64_t one : each) sum += one;
  return sum;
}

Fd SocketWorld::open(int family, int type) {
  Fd socket(::socket(family, type | SOCK_CLOEXEC, 0));
  EXPECT_TRUE(socket.valid()) << std::strerror(errno);
  const timeval patience = {kPatienceMs / 1000, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return socket;
}

Fd SocketWorld::serve(const Spot& where, int type) {
  const harness::KernelAddress address = harness::kernel_address(where.host, where.port);
  Fd socket = open(address.family(), type);
  const int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  EXPECT_EQ(::bind(socket.get(), address.get(), address.length), 0) << text(where);
  if (type == SOCK_STREAM) {
    EXPECT_EQ(::listen(socket.get(), 64), 0);
  }
  return socket;
}

int SocketWorld::connect(const Fd& socket, const Spot& where) {
  const harness::KernelAddress address = address_for(socket, where.host, where.port);
  return ::connect(socket.get(), address.get(), address.length) == 0 ? 0 : errno;
}

int SocketWorld::bind(const Fd& socket, std::string_view host) {
  const harness::KernelAddress address = address_for(socket, host, 0);
  return ::bind(socket.get(), address.get(), address.length) == 0 ? 0 : errno;
}

int SocketWorld::disconnect(const Fd& socket) {
  sockaddr none = {};
  none.sa_family = AF_UNSPEC;
  return ::connect(socket.get(), &none, sizeof none) == 0 ? 0 : errno;
}

int SocketWorld::send(const Fd& socket, const Spot& where) {
  const harness::KernelAddress address = address_for(socket, where.host, where.port);
  return ::sendto(socket.get(), "?", 1, 0, address.get(), address.length) == 1 ? 0 : errno;
}

namespace {

// Mapped addresses are written as what they stand for.
std::string plain(const harness::KernelAddress& address) {
  const std::string host = address.host();
  return harness::host_and_port(host.starts_with("::ffff:") ? host.substr(7) : host,
                                address.port());
}

}  // namespace

std::string SocketWorld::peer(const Fd& socket) {
  harness::KernelAddress address;
  address.length = sizeof address.storage;
  if (::getpeername(socket.get(), address.get(), &address.length) != 0) {
    return std::strerror(errno);
  }
  return plain(address);
}

bool SocketWorld::knocked(const Fd& server) {
  if (!readable(server)) return false;
  char byte = 0;
  if (::recv(server.get(), &byte, 1, MSG_DONTWAIT) == 1) return true;
  return Fd(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC)).valid();
}

std::string SocketWorld::exchange(const Fd& server, const Fd& client) {
  harness::KernelAddress address;
  address.length = sizeof address.storage;
  char byte = 0;
  if (::recvfrom(server.get(), &byte, 1, 0, address.get(), &address.length) != 1) return "";
  if (::sendto(server.get(), "!", 1, 0, address.get(), address.length) != 1) return "";
  address.length = sizeof address.storage;
  if (::recvfrom(client.get(), &byte, 1, 0, address.get(), &address.length) != 1) return "";
  return plain(address);
}

}  // namespace fairlead::bpf::testing
