// What the eBPF programs cost for one packet: nanoseconds by the kernel's own test run, net of an
// empty program that is run in turn with them.
//
//   <program>/<what>/<flows>/<warm or cold>   counters: net_ns, gross_ns, empty_ns (medians)
//
// Needs root. Packets belong to `flows` different connections over 200 services, in turn. Warm is
// the mean over 1,000 packets in one system call, as under load; cold is one packet in a system
// call, which has used the caches and the branch predictor for itself.
#include <benchmark/benchmark.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/fd.h"
#include "bpf/table_maps.h"
#include "bpf/tables.h"
#include "tests/harness/parsed_packet.h"
#include "tests/unit/bpf/datapath.h"

namespace {

using fairlead::Fd;
using fairlead::bpf::Map;
using fairlead::bpf::Program;
using fairlead::bpf::testing::Datapath;
using fairlead::bpf::testing::Outcome;
using fairlead::harness::Packet;
using fairlead::harness::ParsedPacket;
namespace bpf = fairlead::bpf;
namespace dataplane = fairlead::dataplane;

constexpr uint32_t kServices = 200;
constexpr uint32_t kEndpoints = 5;

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "packet_bench: {}\n", what);
  std::exit(1);
}

std::string service_address(uint32_t service) {
  return fmt::format("10.96.{}.{}", service / 250, service % 250 + 1);
}

std::string client(uint32_t flow) {
  return fmt::format("192.168.7.{}:{}", 2 + flow / 40000, 20000 + flow % 40000);
}
std::string target(uint32_t flow) {
  return service_address(flow % kServices) + ":80";
}

// Services whose endpoints are on another node, so that every program has the whole way to go.
dataplane::Delta table() {
  dataplane::Delta delta{
      .generation = 1, .complete = true, .upserted = {}, .removed = {}, .node = {}};
  for (uint32_t i = 0; i < kServices; ++i) {
    auto entry = std::make_shared<dataplane::ForwardingEntry>();
    entry->key = {{"bench", fmt::format("service-{:04}", i)},
                  "",
                  dataplane::Protocol::kTcp,
                  dataplane::Family::kIPv4};
    const dataplane::Route masqueraded{dataplane::Choice::kCluster, true};
    entry->frontends.push_back({dataplane::FrontendKind::kExternalIp,
                                {*dataplane::Address::parse(service_address(i)), 80},
                                {masqueraded, masqueraded, masqueraded},
                                false});
    for (uint32_t k = 0; k < kEndpoints; ++k) {
      const uint32_t number = i * kEndpoints + k;
      entry->cluster.targets.push_back(
          {{dataplane::Address::v4(10U << 24 | 2U << 16 | (number + 10)), 8080}, false});
    }
    std::sort(entry->cluster.targets.begin(), entry->cluster.targets.end());
    delta.upserted.push_back(entry);
  }
  std::sort(delta.upserted.begin(), delta.upserted.end(),
            [](const auto& a, const auto& b) { return a->key < b->key; });
  return delta;
}

// ---- Small programs, by hand ----

using Code = std::vector<bpf_insn>;

bpf_insn instruction(int code, int to, int from, int offset, int value) {
  return {.code = static_cast<uint8_t>(code),
          .dst_reg = static_cast<uint8_t>(to & 15),
          .src_reg = static_cast<uint8_t>(from & 15),
          .off = static_cast<int16_t>(offset),
          .imm = value};
}
bpf_insn move(int to, int from) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}
bpf_insn set(int to, int value) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value);
}
bpf_insn load(int size, int to, int from, int offset) {
  return instruction(BPF_LDX | BPF_MEM | size, to, from, offset, 0);
}
bpf_insn store(int size, int to, int offset, int from) {
  return instruction(BPF_STX | BPF_MEM | size, to, from, offset, 0);
}
bpf_insn leave() {
  return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}
void address_of_map(Code& code, int to, const Fd& map, bool its_value) {
  code.push_back(instruction(BPF_LD | BPF_DW | BPF_IMM, to,
                             its_value ? BPF_PSEUDO_MAP_VALUE : BPF_PSEUDO_MAP_FD, 0, map.get()));
  code.push_back({});
}

Fd load_program(bpf_prog_type type, const Code& code) {
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  if (type == BPF_PROG_TYPE_XDP) options.expected_attach_type = BPF_XDP;
  Fd program(::bpf_prog_load(type, "bench", "GPL", code.data(), code.size(), &options));
  if (!program.valid()) give_up("cannot load a program of the benchmark's own");
  return program;
}

// What a test run itself costs.
Fd empty_program(bpf_prog_type type) {
  return load_program(type, {set(0, type == BPF_PROG_TYPE_XDP ? XDP_PASS : -1), leave()});
}

// One run rewrites the packet, so that a second one would meet another. This program gives the
// packet the headers of the next one of a list and goes on to `program`: one system call then runs
// `program` over all of the list.
class Replay {
 public:
  static constexpr int kHeaders = 64;  // bytes of each packet that are given anew

  Replay(bpf_prog_type type, int program, const std::vector<Packet>& packets) {
    const auto count = static_cast<int>(packets.size());
    const int list_size = 8 + count * kHeaders;  // the number of the next one, then the headers
    list_ = Fd(::bpf_map_create(BPF_MAP_TYPE_ARRAY, "list", 4, list_size, 1, nullptr));
    LIBBPF_OPTS(bpf_map_create_opts, options);
    programs_ = Fd(::bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "next", 4, 4, 1, &options));
    std::vector<uint8_t> list(list_size);
    for (int i = 0; i < count; ++i) {
      const auto bytes = packets[i].bytes();
      if (bytes.size() < kHeaders) give_up("a packet is too short");
      std::copy_n(bytes.begin(), kHeaders, list.begin() + 8 + i * kHeaders);
    }
    const uint32_t zero = 0;
    if (!list_.valid() || !programs_.valid() ||
        ::bpf_map_update_elem(list_.get(), &zero, list.data(), BPF_ANY) != 0) {
      give_up("cannot make the list of packets");
    }
    const bool xdp = type == BPF_PROG_TYPE_XDP;
    Code code = {move(6, 1)};
    address_of_map(code, 7, list_, true);
    code.insert(
        code.end(),
        {load(BPF_DW, 1, 7, 0), instruction(BPF_JMP | BPF_JLT | BPF_K, 1, 0, 1, count), set(1, 0),
         move(2, 1), instruction(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, 1), store(BPF_DW, 7, 0, 2),
         instruction(BPF_ALU64 | BPF_LSH | BPF_K, 1, 0, 0, 6),
         instruction(BPF_ALU64 | BPF_ADD | BPF_X, 7, 1, 0, 0),
         load(BPF_W, 8, 6, xdp ? offsetof(xdp_md, data) : offsetof(__sk_buff, data)),
         load(BPF_W, 9, 6, xdp ? offsetof(xdp_md, data_end) : offsetof(__sk_buff, data_end)),
         move(2, 8), instruction(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, kHeaders),
         instruction(BPF_JMP | BPF_JLE | BPF_X, 2, 9, 2, 0), set(0, 0), leave()});
    for (int at = 0; at < kHeaders; at += 8) {
      code.push_back(load(BPF_DW, 1, 7, 8 + at));
      code.push_back(store(BPF_DW, 8, at, 1));
    }
    code.push_back(move(1, 6));
    address_of_map(code, 2, programs_, false);
    code.insert(code.end(),
                {set(3, 0), instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call), set(0, 0),
                 leave()});
    program_ = load_program(type, code);
    if (::bpf_map_update_elem(programs_.get(), &zero, &program, BPF_ANY) != 0) {
      give_up("cannot go on to the program");
    }
  }

  int program() const { return program_.get(); }

 private:
  Fd list_, programs_, program_;
};

// Runs a program and an empty one over the same packets.
//   cold: one run after each system call, which has used the caches and the branch predictor
//   warm: one run after another, as under load
class Runner {
 public:
  Runner(Datapath& datapath, Program program, const std::vector<Packet>& packets)
      : packets_(packets),
        program_(datapath.object().fd(program)),
        type_(program == Program::kXdp ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS),
        empty_(empty_program(type_)),
        replay_(type_, program_, packets),
        empty_replay_(type_, empty_.get(), packets) {
    skb_.ifindex = skb_.ingress_ifindex = datapath.device("out0");
    meta_.ingress_ifindex = datapath.device("out0");
  }

  // Nanoseconds of one run, without the first packet of each list where it is run warm.
  double cold(const Packet& packet) { return run(program_, packet, 1); }
  double cold_empty(const Packet& packet) { return run(empty_.get(), packet, 1); }
  double warm(uint32_t repeat) { return run(replay_.program(), packets_.front(), repeat); }
  double warm_empty(uint32_t repeat) {
    return run(empty_replay_.program(), packets_.front(), repeat);
  }
  uint32_t verdict() const { return verdict_; }

 private:
  double run(int program, const Packet& packet, uint32_t repeat) {
    uint8_t out[2048];
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.bytes().data(), .data_out = out,
                .data_size_in = static_cast<uint32_t>(packet.size()), .data_size_out = sizeof(out),
                .repeat = static_cast<int>(repeat));
    if (type_ == BPF_PROG_TYPE_XDP) {
      meta_.data_end = static_cast<uint32_t>(packet.size());
      options.ctx_in = &meta_;
      options.ctx_size_in = sizeof(meta_);
    } else {
      options.ctx_in = &skb_;
      options.ctx_size_in = sizeof(skb_);
    }
    if (::bpf_prog_test_run_opts(program, &options) != 0) give_up("a test run failed");
    if (program != empty_.get() && program != empty_replay_.program()) verdict_ = options.retval;
    return options.duration;
  }

  const std::vector<Packet>& packets_;
  int program_;
  bpf_prog_type type_;
  Fd empty_;
  Replay replay_, empty_replay_;
  uint32_t verdict_ = 0;
  __sk_buff skb_ = {};
  xdp_md meta_ = {};
};

Packet syn(uint32_t flow) {
  return fairlead::harness::tcp(client(flow), target(flow)).flags("S").payload("one segment");
}
Packet data(uint32_t flow) {
  return fairlead::harness::tcp(client(flow), target(flow)).flags("A").payload("one segment");
}

// SYN, its answer, ACK: what moves a flow among the established ones. Gives the endpoint's side.
Packet establish(Datapath& datapath, uint32_t flow) {
  const Outcome out = datapath.run(Program::kIngress, syn(flow));
  const ParsedPacket seen = fairlead::harness::parse(out.packet);
  const std::string endpoint = seen.destination.to_string();
  const std::string source = seen.source.to_string();
  if (out.verdict != bpf::testing::kRedirect) give_up("a SYN was not forwarded: " + out.describe());
  datapath.run(Program::kIngress, fairlead::harness::tcp(endpoint, source).flags("SA"));
  datapath.run(Program::kIngress, data(flow));
  return fairlead::harness::tcp(endpoint, source).flags("A").payload("one segment");
}

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// The packets of one benchmark, by number.
struct Traffic {
  std::vector<Packet> packets;
  bool once = false;  // each makes a flow: the state is reset when all have been used
};

void prepare(Datapath& datapath) {
  datapath.reset();
  auto maps = bpf::open_table_maps(datapath.object());
  if (!maps) give_up(maps.status().message());
  bpf::Tables tables(**maps);
  if (const fairlead::Status status = tables.adopt(); !status) give_up(status.message());
  const auto ack = tables.apply(table());
  if (!ack) give_up(ack.status().message());
  if (!ack->refused.empty()) give_up(ack->refused.front().reason.message());
}

Traffic make_traffic(Datapath& datapath, const std::string& what, uint32_t flows) {
  Traffic traffic;
  traffic.once = what == "new";
  for (uint32_t flow = 0; flow < flows; ++flow) {
    if (what == "new") traffic.packets.push_back(syn(flow));
    if (what == "established" || what == "return") {
      const Packet answer = establish(datapath, flow);
      traffic.packets.push_back(what == "return" ? answer : data(flow));
    }
    if (what == "other") {
      traffic.packets.push_back(
          fairlead::harness::tcp(client(flow), "10.2.200.200:9").flags("A").payload("one segment"));
    }
  }
  return traffic;
}

void measure(benchmark::State& state, Program program, const std::string& what, uint32_t flows,
             bool warm) {
  // Many, since the system call for XDP changes code in the kernel, which costs the run its TLB.
  const uint32_t warm_runs = what == "new" ? flows : 50'000;
  Datapath& datapath = *Datapath::get();
  prepare(datapath);
  const Traffic traffic = make_traffic(datapath, what, flows);
  Runner runner(datapath, program, traffic.packets);
  std::vector<double> gross, floor;
  uint32_t used = 0;  // packets since the state was reset
  size_t next = 0;
  for (auto unused : state) {
    (void)unused;
    const uint32_t repeat = warm ? warm_runs : 1;
    if (traffic.once && used + repeat > traffic.packets.size()) {
      state.PauseTiming();
      datapath.mark_returns_used();
      prepare(datapath);
      used = 0;
      state.ResumeTiming();
    }
    used += repeat;
    if (warm) {
      floor.push_back(runner.warm_empty(repeat));
      gross.push_back(runner.warm(repeat));
    } else {
      const Packet& packet = traffic.packets[next++ % traffic.packets.size()];
      floor.push_back(runner.cold_empty(packet));
      gross.push_back(runner.cold(packet));
    }
    state.SetIterationTime(gross.back() * repeat / 1e9);
  }
  datapath.mark_returns_used();
  const double empty = median(floor);
  const double whole = median(gross);
  state.counters["empty_ns"] = empty;
  state.counters["gross_ns"] = whole;
  state.counters["net_ns"] = whole - empty;
  state.counters["verdict"] = static_cast<int>(runner.verdict());
}

struct Row {
  const char* name;
  Program program;
  const char* what;
  uint32_t flows;
};
// Flow counts fit the maps of the tests' datapath.
constexpr Row kRows[] = {
    {"xdp/established", Program::kXdp, "established", 1},
    {"xdp/established", Program::kXdp, "established", 1000},
    {"xdp/return", Program::kXdp, "return", 1000},
    {"xdp/new", Program::kXdp, "new", 4000},
    {"xdp/other", Program::kXdp, "other", 1000},
    {"tc/established", Program::kIngress, "established", 1},
    {"tc/established", Program::kIngress, "established", 1000},
    {"tc/return", Program::kIngress, "return", 1000},
    {"tc/new", Program::kIngress, "new", 4000},
    {"tc/other", Program::kIngress, "other", 1000},
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (Datapath::get() == nullptr) {
    fmt::print("SKIPPED: {}\n", Datapath::why());
    return Datapath::lacks_features() ? 77 : 1;
  }
  for (const Row& row : kRows) {
    for (const bool warm : {true, false}) {
      benchmark::RegisterBenchmark(
          fmt::format("{}/{}/{}", row.name, row.flows, warm ? "warm" : "cold").c_str(),
          [&row, warm](benchmark::State& state) {
            measure(state, row.program, row.what, row.flows, warm);
          })
          ->UseManualTime();
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
