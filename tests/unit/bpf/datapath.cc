#include "tests/unit/bpf/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/fd.h"
#include "tests/harness/features.h"

namespace fairlead::bpf::testing {
namespace {

constexpr uint32_t kZero = 0;

std::string counter_name(uint32_t counter) {
  static const std::vector<std::string> names = {
#define FL_COUNT(name, help) #name,
#define FL_DROP(name, help) "drop_" #name,
#include "bpf/counters.def"
#undef FL_COUNT
#undef FL_DROP
  };
  return names[counter];
}

std::string tc_verdict(int code) {
  switch (code) {
    case 0:   // TC_ACT_OK
    case -1:  // TC_ACT_UNSPEC
      return std::string(kPass);
    case 2:
      return std::string(kDrop);
    case 7:
      return std::string(kRedirect);
    default:
      return "tc action " + std::to_string(code);
  }
}

std::string xdp_verdict(uint32_t code) {
  switch (code) {
    case XDP_PASS:
      return std::string(kPass);
    case XDP_DROP:
      return std::string(kDrop);
    case XDP_TX:
      return std::string(kTransmit);
    case XDP_REDIRECT:
      return std::string(kRedirect);
    default:
      return "XDP action " + std::to_string(code);
  }
}

struct Singleton {
  Datapath* datapath = nullptr;
  std::string why;
  bool lacks_features = false;
};
Singleton& singleton() {
  static Singleton instance;
  return instance;
}

void broken(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::abort();
}

}  // namespace

fl_addr wire(const dataplane::Address& address) {
  uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const std::span<const uint8_t> from = address.bytes();
  std::copy(from.begin(), from.end(), address.is_v4() ? bytes + 12 : bytes);
  fl_addr out;
  std::memcpy(&out, bytes, sizeof(out));
  return out;
}
fl_addr wire(std::string_view address) {
  return wire(harness::address_of(address));
}
fl_be16 wire(uint16_t port) {
  return static_cast<fl_be16>(port << 8 | port >> 8);
}
dataplane::Address address(const fl_addr& wire) {
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &wire, sizeof(wire));
  return dataplane::Address::v6(bytes);  // mapped ones are IPv4
}

std::string Outcome::describe() const {
  std::string text = verdict + " " + packet.describe();
  for (const auto& [name, times] : counted) text += " " + name + "=" + std::to_string(times);
  return text;
}

// ---- Starting ----

Datapath* Datapath::get() {
  static const bool started = [] {
    Singleton& self = singleton();
    using enum harness::Feature;
    self.why = harness::missing_features({kRoot, kNetns, kVeth, kIPv6, kBpf});
    self.lacks_features = !self.why.empty();
    if (self.lacks_features) return true;
    static Datapath datapath;
    const Status status = datapath.start();
    self.why = status.message();
    if (status) self.datapath = &datapath;
    return true;
  }();
  (void)started;
  return singleton().datapath;
}
const std::string& Datapath::why() {
  return singleton().why;
}
bool Datapath::lacks_features() {
  return singleton().lacks_features;
}

Sizes Datapath::sizes() {
  return {.frontends = 4096,
          .entries = 1024,
          .endpoints = 8192,
          .ring_slots = 1 << 18,
          .prefixes = 1024,
          .flows = 8192,
          .new_flows = 8192,
          .return_classes = kReturnClasses,
          .affinity = 4096,
          .fragments = 1024};
}

Status Datapath::start() {
  // Per-CPU state, the masquerading ports above all, is one CPU's.
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(::sched_getcpu(), &cpus);
  if (::sched_setaffinity(0, sizeof(cpus), &cpus) != 0) {
    return Status::from_errno(errno, "stay on", "one CPU");
  }
  ASSIGN_OR_RETURN(object_, Object::load(sizes(), ""));
  RETURN_IF_ERROR(make_network());
  return measure_clock();
}

Status Datapath::make_network() {
  ASSIGN_OR_RETURN(netns_, harness::Namespace::create("packets"));
  RETURN_IF_ERROR(netns_->enter());
  for (const char* key : {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}) {
    RETURN_IF_ERROR(netns_->sysctl(key, "1"));
  }
  for (const char* key : {"net.ipv6.conf.all.accept_dad", "net.ipv6.conf.default.accept_dad"}) {
    RETURN_IF_ERROR(netns_->sysctl(key, "0"));
  }
  const std::vector<std::array<std::string, 3>> cables = {{"out0", "192.168.7.", "fd07::"},
                                                          {"pod0", "10.1.0.", "fd01::"},
                                                          {"thin0", "10.3.0.", "fd03::"}};
  for (const auto& [name, v4, v6] : cables) {
    RETURN_IF_ERROR(netns_->ip(
        "link add " + name + " address 02:00:00:00:00:02 type veth peer name " + name +
        "x\nlink set " + name + "x up\nlink set " + name + " up\n" + "address add " + v4 +
        "1/24 dev " + name + "\naddress add " + v6 + "1/64 dev " + name + " nodad"));
    for (int host = 2; host < 10; ++host) {
      const std::string last = std::to_string(host);
      for (const std::string& neighbour : {v4 + last, v6 + last}) {
        RETURN_IF_ERROR(netns_->ip("neighbour replace " + neighbour + " lladdr 02:00:00:00:00:0" +
                                   last + " nud permanent dev " + name));
      }
    }
    devices_[name] = ::if_nametoindex(name.c_str());
  }
  RETURN_IF_ERROR(netns_->ip(R"(link set thin0 mtu 1280
route add default via 192.168.7.2
route add 10.2.0.0/16 via 192.168.7.3
route add unreachable 10.4.0.0/16
route add default via fd07::2
route add fd02::/64 via fd07::3
route add unreachable fd04::/64)"));
  // A virtual Ethernet device tells XDP where a packet came from only while it runs a program.
  const int xdp = object_->fd(Program::kXdp);
  if (xdp >= 0 &&
      ::bpf_xdp_attach(static_cast<int>(device("out0")), xdp, XDP_FLAGS_DRV_MODE, nullptr) != 0) {
    return Status::from_errno(errno, "attach fl_xdp to", "out0");
  }
  return {};
}

// Ticks of the kernel's clock in a second: not to be had from user space but by looking twice.
Status Datapath::measure_clock() {
  const bpf_insn look[] = {
      {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_jiffies64},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  const Fd program(
      ::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "ticks", "GPL", look, std::size(look), nullptr));
  if (!program.valid()) return Status::from_errno(errno, "load", "a program that reads the clock");
  uint32_t ticks[2] = {};
  std::chrono::steady_clock::time_point at[2];
  for (int i = 0; i < 2; ++i) {
    uint8_t frame[64] = {};
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame));
    const int error = ::bpf_prog_test_run_opts(program.get(), &options);
    if (error != 0) return Status::from_errno(-error, "run", "a program that reads the clock");
    ticks[i] = options.retval;
    at[i] = std::chrono::steady_clock::now();
    ::usleep(100'000);
  }
  const double measured =
      (ticks[1] - ticks[0]) / std::chrono::duration<double>(at[1] - at[0]).count();
  for (const uint32_t known : {100U, 250U, 300U, 1000U}) {
    if (measured > known * 0.85 && measured < known * 1.15) hz_ = known;
  }
  if (hz_ != 0) return {};
  return Status::error(StatusCode::kInternal, "measure", "the kernel's clock",
                       std::to_string(measured) + " ticks in a second");
}

uint32_t Datapath::device(const std::string& name) const {
  const auto found = devices_.find(name);
  return found == devices_.end() ? 0 : found->second;
}

// ---- Maps ----

bool Datapath::try_write(Map map, const void* key, const void* value) {
  return ::bpf_map_update_elem(object_->fd(map), key, value, BPF_ANY) == 0;
}
void Datapath::write(Map map, const void* key, const void* value) {
  if (!try_write(map, key, value)) broken("map update");
}
void Datapath::erase(Map map, const void* key) {
  if (::bpf_map_delete_elem(object_->fd(map), key) != 0 && errno != ENOENT) broken("map delete");
}
bool Datapath::read(Map map, const void* key, void* value) const {
  return ::bpf_map_lookup_elem(object_->fd(map), key, value) == 0;
}
bool Datapath::next_key(Map map, const void* key, void* next) const {
  return ::bpf_map_get_next_key(object_->fd(map), key, next) == 0;
}

void Datapath::clear(Map map) {
  uint8_t key[64];  // longer than any key
  while (next_key(map, nullptr, key)) erase(map, key);
}

void Datapath::clear_array(Map map, size_t value_size, uint32_t elements) {
  constexpr uint32_t kAtOnce = 8192;
  const std::vector<uint8_t> nothing(kAtOnce * value_size);
  std::vector<uint32_t> keys(kAtOnce);
  for (uint32_t first = 0; first < elements; first += kAtOnce) {
    for (uint32_t i = 0; i < kAtOnce; ++i) keys[i] = first + i;
    uint32_t count = std::min(kAtOnce, elements - first);
    LIBBPF_OPTS(bpf_map_batch_opts, options);
    if (::bpf_map_update_batch(object_->fd(map), keys.data(), nothing.data(), &count, &options) !=
        0) {
      broken("clear an array");
    }
  }
}

fl_config Datapath::config() const {
  fl_config out = {};
  read(Map::kConfig, &kZero, &out);
  return out;
}
void Datapath::set_config(const fl_config& config) {
  write(Map::kConfig, &kZero, &config);
}

void Datapath::forget_flows() {
  for (const Map map : {Map::kFlows, Map::kNewFlows, Map::kAffinity, Map::kFragments}) clear(map);
  if (returns_used_) clear_array(Map::kReturns, sizeof(fl_return), kReturnClasses << 16);
  returns_used_ = false;
}

void Datapath::reset() {
  for (const Map map : {Map::kFrontends, Map::kPrefixes, Map::kNodeAddresses, Map::kDevices}) {
    clear(map);
  }
  forget_flows();
  clear_array(Map::kEntries, sizeof(fl_entry), sizes().entries);
  clear_array(Map::kEndpoints, sizeof(fl_endpoint), sizes().endpoints);

  fl_config config = {};
  config.source_v4 = wire("192.168.7.1");
  config.source_v6 = wire("fd07::1");
  Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  socklen_t size = sizeof(config.host_netns_cookie);
  uint64_t cookie = 0;
  ::getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size);
  config.host_netns_cookie = cookie;
  config.hz = hz_;
  config.return_classes = kReturnClasses;
  config.cpus = 1;
  config.tcp_established_seconds = 86400;
  config.tcp_closing_seconds = 60;
  config.udp_seconds = 30;
  config.udp_stream_seconds = 180;
  config.next_frontend_id = 1;
  config.snat_first = 10000;
  config.snat_last = 29999;
  config.has_detector[0] = config.has_detector[1] = 1;
  set_config(config);

  for (const char* own : {"192.168.7.1", "fd07::1"}) {
    put(Map::kNodeAddresses, wire(own), fl_node_address{FL_NODE_ADDRESS_NODE_PORTS});
  }
  for (const char* own : {"10.1.0.1", "fd01::1", "10.3.0.1", "fd03::1"}) {
    put(Map::kNodeAddresses, wire(own), fl_node_address{0});
  }
  fl_device out = {.source_v4 = wire("192.168.7.1"),
                   .source_v6 = wire("fd07::1"),
                   .flags = FL_DEVICE_XDP,
                   .mtu = 1500};
  put(Map::kDevices, device("out0"), out);
  put(Map::kDevices, device("pod0"),
      fl_device{.source_v4 = {}, .source_v6 = {}, .flags = 0, .mtu = 1500});
  put(Map::kDevices, device("thin0"),
      fl_device{.source_v4 = {}, .source_v6 = {}, .flags = 0, .mtu = 1280});
  const uint32_t one = 1;
  const fl_be32 pods = __builtin_bswap32(FL_DOMAIN_PODS);
  for (const char* prefix : {"10.1.0.0", "10.2.0.0"}) {
    put(Map::kPrefixes, fl_prefix_key{FL_PREFIX_FIXED_BITS + 96 + 16, pods, wire(prefix)}, one);
  }
  for (const char* prefix : {"fd01::", "fd02::"}) {
    put(Map::kPrefixes, fl_prefix_key{FL_PREFIX_FIXED_BITS + 64, pods, wire(prefix)}, one);
  }
}

std::vector<Flow> Datapath::flows() const {
  std::vector<Flow> out;
  for (const Map map : {Map::kNewFlows, Map::kFlows}) {
    for (const auto& [key, value] : all<fl_flow_key, fl_flow>(map)) {
      out.push_back({key, value, map == Map::kFlows});
    }
  }
  return out;
}

void Datapath::let_pass(uint32_t seconds) {
  const uint32_t ticks = seconds * hz_;
  for (const Flow& flow : flows()) {
    fl_flow older = flow.value;
    older.last_seen -= ticks;
    put(flow.established ? Map::kFlows : Map::kNewFlows, flow.key, older);
    fl_return slot;
    if (!get(Map::kReturns, flow.value.slot, slot)) continue;
    slot.last_seen -= ticks;
    if (slot.claim != 0) slot.claim = (slot.claim - ticks) | 1;  // when it was taken; 0 is free
    put(Map::kReturns, flow.value.slot, slot);
  }
  for (auto [key, value] : all<fl_affinity_key, fl_affinity>(Map::kAffinity)) {
    value.last_seen -= ticks;
    put(Map::kAffinity, key, value);
  }
}

std::vector<uint64_t> Datapath::counter_values() const {
  static const auto cpus = static_cast<size_t>(::libbpf_num_possible_cpus());
  std::vector<uint32_t> keys(FL_COUNTERS);
  std::vector<uint64_t> values(FL_COUNTERS * cpus), out(FL_COUNTERS);
  uint32_t at = 0, count = FL_COUNTERS;
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  const int error = ::bpf_map_lookup_batch(object_->fd(Map::kCounters), nullptr, &at, keys.data(),
                                           values.data(), &count, &options);
  if ((error != 0 && errno != ENOENT) || count != FL_COUNTERS) broken("read counters");
  for (size_t i = 0; i < FL_COUNTERS; ++i) {
    for (size_t cpu = 0; cpu < cpus; ++cpu) out[keys[i]] += values[i * cpus + cpu];
  }
  return out;
}

std::map<std::string, uint64_t> Datapath::counters() const {
  const std::vector<uint64_t> values = counter_values();
  std::map<std::string, uint64_t> out;
  for (uint32_t i = 0; i < FL_COUNTERS; ++i) out[counter_name(i)] = values[i];
  return out;
}

// ---- Running ----

Outcome Datapath::run(Program program, const harness::Packet& packet, const Arrival& arrival) {
  const std::vector<uint64_t> before = counter_values();
  harness::Bytes out(packet.size() + 512);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.bytes().data(), .data_out = out.data(),
              .data_size_in = static_cast<uint32_t>(packet.size()),
              .data_size_out = static_cast<uint32_t>(out.size()), .repeat = 1);
  __sk_buff skb = {};
  xdp_md xdp = {};
  if (program == Program::kXdp) {
    xdp.data_end = static_cast<uint32_t>(packet.size());
    xdp.ingress_ifindex = device(arrival.device);
    options.ctx_in = &xdp;
    options.ctx_size_in = sizeof(xdp);
  } else {
    skb.ifindex = device(arrival.device);
    skb.ingress_ifindex = arrival.made_here ? 0 : skb.ifindex;
    skb.gso_size = arrival.segment_size;
    options.ctx_in = &skb;
    options.ctx_size_in = sizeof(skb);
  }
  const int error = ::bpf_prog_test_run_opts(object_->fd(program), &options);
  Outcome outcome;
  if (error != 0) {
    outcome.verdict = std::string("not run: ") + std::strerror(-error);
    return outcome;
  }
  outcome.verdict = program == Program::kXdp ? xdp_verdict(options.retval)
                                             : tc_verdict(static_cast<int>(options.retval));
  out.resize(options.data_size_out);
  outcome.packet = harness::Packet(std::move(out));
  const std::vector<uint64_t> now = counter_values();
  for (uint32_t i = 0; i < FL_COUNTERS; ++i) {
    if (now[i] != before[i]) outcome.counted[counter_name(i)] = now[i] - before[i];
  }
  returns_used_ = returns_used_ || outcome.counted.contains("flows_created");
  return outcome;
}

}  // namespace fairlead::bpf::testing
