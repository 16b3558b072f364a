#include "bpf/backend.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <fstream>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "bpf/adopted_flows.h"
#include "bpf/attach.h"
#include "bpf/devices.h"
#include "bpf/layout.h"
#include "bpf/map_rows.h"
#include "bpf/nat_hooks.h"
#include "bpf/node_maps.h"
#include "bpf/object.h"
#include "bpf/pinned_maps.h"
#include "bpf/pins.h"
#include "bpf/release.h"
#include "bpf/stale_sockets.h"
#include "bpf/sweeper.h"
#include "bpf/system.h"
#include "bpf/tables.h"

namespace fairlead::bpf {
namespace {

using dataplane::Ack;
using dataplane::AuditReport;
using dataplane::Delta;
using dataplane::Family;
using dataplane::NodeRules;
using std::chrono::steady_clock;

struct CounterRow {
  std::string_view name;
  std::string_view help;
  bool drop;
};
constexpr std::array<CounterRow, FL_COUNTERS> kCounterRows = {{
#define FL_COUNT(name, help) {#name, help, false},
#define FL_DROP(name, help) {#name, help, true},
#include "bpf/counters.def"
#undef FL_COUNT
#undef FL_DROP
}};

void warn_when_not_forwarding(const std::vector<Family>& families) {
  for (const Family family : families) {
    const std::string path = family == Family::kIPv4 ? "/proc/sys/net/ipv4/ip_forward"
                                                     : "/proc/sys/net/ipv6/conf/all/forwarding";
    std::ifstream file(path);
    if (int value = 0; file >> value && value == 0) {
      LOG_WARNING("{} is 0: this node forwards no {} packets, so services answer sockets only",
                  path, to_string(family));
    }
  }
}

// A process of the node whose port is also a masqueraded client's would lose answers to that one.
void warn_of_shared_ports(const Options& options) {
  const auto range = local_port_range();
  if (!range || range->first > options.snat_last || range->second < options.snat_first) return;
  LOG_WARNING(
      "--ebpf-masquerade-ports={}-{} overlaps with net.ipv4.ip_local_port_range, {}-{}: processes "
      "of this node may lose answers to masqueraded clients; keep the two apart",
      options.snat_first, options.snat_last, range->first, range->second);
}

class EbpfBackend final : public dataplane::Backend {
 public:
  explicit EbpfBackend(Options options) : options_(std::move(options)) {}

  std::string_view name() const override { return "ebpf"; }
  Status start(const NodeRules& rules) override;
  Result<Ack> apply(const Delta& delta) override;
  bool disturbed() override;
  int wake_fd() const override { return watcher_ ? watcher_->fd() : -1; }
  Result<AuditReport> audit() override;
  std::vector<dataplane::Counter> counters() override;
  Result<std::chrono::seconds> release() override;
  Status remove_all() override;

 private:
  void unload();
  Status load();
  Status attach();
  Status take_charge();
  bool others_go_on();
  void keep_translating();
  Result<uint32_t> capacity(Map map) const;
  Result<uint64_t> put_node();
  Result<uint64_t> serve();
  Result<uint64_t> follow_devices();
  void schedule_map_audit();
  std::array<int, kMapCount> map_descriptors() const;
  void count_packets(std::vector<dataplane::Counter>& result) const;
  void count_flows(std::vector<dataplane::Counter>& result) const;

  const Options options_;
  NodeRules rules_;
  std::unique_ptr<DeviceWatcher> watcher_;
  std::optional<Pins> pins_;
  std::unique_ptr<Object> object_;  // everything below works on it
  std::unique_ptr<TableMaps> maps_;
  std::unique_ptr<Tables> tables_;
  std::unique_ptr<NodeMaps> node_maps_;
  std::unique_ptr<Attachments> attachments_;
  std::unique_ptr<Sweeper> sweeper_;
  std::unique_ptr<StaleSockets> stale_sockets_;
  std::vector<DevicePlan> plan_;
  uint64_t netns_cookie_ = 0;
  bool attached_ = false;
  bool released_ = false;   // to another mode
  bool serve_due_ = false;  // the last attempt failed
  // Nothing was attached before: another mode may be in charge, and stays so until every place is
  // attached and every service known. Half of either would translate questions and no answers, or
  // drop what it does not know.
  bool aside_ = false;
  steady_clock::time_point coming_until_{};
  fl_handover handover_ = FL_HANDOVER_NONE;  // as the programs were told
  bool told_of_hooks_ = false;               // that the stack cannot be kept translating
  steady_clock::time_point next_map_audit_{};
};

Status EbpfBackend::start(const NodeRules& rules) {
  rules_ = rules;
  warn_when_not_forwarding(rules.families);
  warn_of_shared_ports(options_);
  ASSIGN_OR_RETURN(netns_cookie_, netns_cookie());
  ASSIGN_OR_RETURN(watcher_, DeviceWatcher::open());
  auto pins = Pins::open(options_.pin_path);
  if (!pins) return pins.status();
  pins_ = *std::move(pins);
  std::string cgroup = options_.cgroup;
  if (cgroup.empty()) {
    ASSIGN_OR_RETURN(cgroup, find_or_mount_cgroup2());
  }

  RETURN_IF_ERROR(load());

  Programs programs;
  for (size_t i = 0; i < kProgramCount; ++i) {
    programs[i] = object_->fd(static_cast<Program>(i));
  }
  attachments_ =
      std::make_unique<Attachments>(*pins_, Attachments::Settings{std::move(cgroup)}, programs);
  RETURN_IF_ERROR(attachments_->find());
  aside_ = attachments_->size() == 0 || maps_->config().handover == FL_HANDOVER_ASIDE;
  if (maps_->config().handover == FL_HANDOVER_COMING) {
    coming_until_ = steady_clock::now() + options_.coming;
  }
  RETURN_IF_ERROR(serve().status());
  schedule_map_audit();
  // Another layout's programs serve from maps of their own until ours are filled.
  if (attachments_->others_stand()) {
    LOG_INFO("the programs of another version serve until the first sync");
    return {};
  }
  return attach();
}

Result<uint32_t> EbpfBackend::capacity(Map map) const {
  const auto shape = shape_of({object_->fd(map), to_string(map), {}});
  if (!shape) return shape.status();
  return shape->max_entries;
}

void EbpfBackend::unload() {
  attached_ = false;
  stale_sockets_.reset();
  sweeper_.reset();
  attachments_.reset();
  node_maps_.reset();
  tables_.reset();
  maps_.reset();
  object_.reset();
}

// Maps, programs, and whatever works on them in the background; nothing is attached yet.
Status EbpfBackend::load() {
  unload();  // of a start that failed later on: threads work on what is about to be replaced
  ASSIGN_OR_RETURN(object_, Object::load(options_.sizes, pins_->maps()));
  ASSIGN_OR_RETURN(maps_, open_table_maps(*object_));
  tables_ = std::make_unique<Tables>(*maps_);
  RETURN_IF_ERROR(tables_->adopt());
  uint32_t returns = 0;
  ASSIGN_OR_RETURN(returns, capacity(Map::kReturns));
  node_maps_ = std::make_unique<NodeMaps>(
      *maps_, NodeMaps::Descriptors{object_->fd(Map::kNodeAddresses), object_->fd(Map::kDevices)},
      returns >> 16);
  Sweeper::Setup sweeps;
  sweeps.program = object_->fd(Program::kSweep);
  ASSIGN_OR_RETURN(sweeps.flow_capacity, capacity(Map::kFlows));
  sweeps.slots = returns;
  sweeps.config = &maps_->config();
  sweeps.period = options_.sweep_period;
  ASSIGN_OR_RETURN(sweeper_, Sweeper::start(sweeps));
  stale_sockets_ = std::make_unique<StaleSockets>(object_->fd(Program::kUdpSockets));
  return {};
}

Status EbpfBackend::attach() {
  RETURN_IF_ERROR(attachments_->start());
  attached_ = true;
  sweeper_->free_slots();
  RETURN_IF_ERROR(serve().status());
  std::vector<std::string> others;
  ASSIGN_OR_RETURN(others, pins_->other_versions());
  for (const std::string& version : others) RETURN_IF_ERROR(pins_->remove(version));
  return {};
}

Result<uint64_t> EbpfBackend::put_node() {
  std::vector<ServedDevice> served;
  for (const DevicePlan& device : plan_) {
    served.push_back({device, attachments_->xdp_mode(device.index)});
  }
  NodeContent content = node_content(watcher_->view(), rules_, served, options_);
  content.config.host_netns_cookie = netns_cookie_;
  const bool coming = steady_clock::now() < coming_until_;
  handover_ = aside_ ? FL_HANDOVER_ASIDE : coming ? FL_HANDOVER_COMING : FL_HANDOVER_NONE;
  content.config.handover = handover_;
  return node_maps_->put(content);
}

// The node's maps and the devices' programs as view and rules say. A device is known before its
// programs run; whether XDP took is known after.
Result<uint64_t> EbpfBackend::serve() {
  serve_due_ = true;
  plan_ = plan_devices(watcher_->view(), options_, rules_.detector);
  auto changes = put_node();
  if (!changes) return changes;
  if (attached_) {
    const uint64_t places = attachments_->follow(plan_);
    if (places > 0) {
      const auto again = put_node();
      if (!again) return again;
      *changes += places + *again;
    }
  }
  serve_due_ = false;
  return changes;
}

// Flows of another mode that programs can go on with are theirs from here on. Then one write of one
// byte: what else began before stays the other mode's, what begins after is ours.
Status EbpfBackend::take_charge() {
  const Result<AdoptedFlows> flows = adopt_flows(*object_, *tables_);
  if (!flows) {
    LOG_WARNING("flows of another mode stay where they are: {}", flows.status().message());
  } else if (flows->adopted + flows->left > 0) {
    LOG_INFO(
        "{} flows that connection tracking has translated go on in eBPF programs, {} stay there",
        flows->adopted, flows->left);
  }
  // What stays there, or is about to be established, must outlive the other mode's rules.
  if (conntrack_count() > 0) keep_translating();
  aside_ = false;
  coming_until_ = steady_clock::now() + options_.coming;
  return put_node().status();
}

void EbpfBackend::keep_translating() {
  const Status kept = keep_nat_hooks();
  if (kept || std::exchange(told_of_hooks_, true)) return;
  LOG_WARNING("what connection tracking translates ends with other NAT rules: {}", kept.message());
}

// Whether another mode's connections to services of ours are still translated in the network stack.
bool EbpfBackend::others_go_on() {
  const Result<bool> found = connections_are_left(*object_, *tables_);
  if (!found) LOG_WARNING("connections of another mode: {}", found.status().message());
  return found && *found;
}

// A device that came must be served at once, whoever asks.
Result<uint64_t> EbpfBackend::follow_devices() {
  const Result<bool> changed = watcher_->process();
  if (!changed) return changed.status();
  bool arrived = handover_ == FL_HANDOVER_COMING && steady_clock::now() >= coming_until_;
  if (arrived && others_go_on()) {
    LOG_V(2, "connection tracking translates connections that another mode began");
    keep_translating();  // should somebody have flushed the rules
    coming_until_ = steady_clock::now() + options_.coming_period;
    arrived = false;
  }
  if (arrived) {
    const Status dropped = drop_nat_hooks();
    if (!dropped) {
      LOG_WARNING("{}", dropped.message());
      coming_until_ = steady_clock::now() + options_.coming_period;
      arrived = false;
    }
  }
  if (!*changed && !serve_due_ && !arrived) return uint64_t{0};
  return serve();
}

Result<Ack> EbpfBackend::apply(const Delta& delta) {
  if (delta.node) {
    rules_ = *delta.node;
    serve_due_ = true;
  }
  const Result<uint64_t> node_changes = follow_devices();
  if (!node_changes) {
    if (!attached_) return node_changes.status();
    // Tried again with every sync and audit; services do not wait for it.
    LOG_ERROR("{}", node_changes.status().message());
  }
  Result<Ack> ack = tables_->apply(delta);
  if (!ack) return ack;
  if (node_changes) ack->operations += *node_changes;
  if (delta.complete && !attached_) RETURN_IF_ERROR(attach());
  if (delta.complete && aside_) RETURN_IF_ERROR(take_charge());
  auto gone = tables_->take_gone();
  if (!gone.empty()) stale_sockets_->request(std::move(gone));
  return ack;
}

void EbpfBackend::schedule_map_audit() {
  const bool never = options_.audit_period.count() == 0;
  next_map_audit_ =
      never ? steady_clock::time_point::max() : steady_clock::now() + options_.audit_period;
}

bool EbpfBackend::disturbed() {
  if (!attachments_) {
    // The next start lists all anew; but who waits for news is woken until they are read.
    if (watcher_) (void)watcher_->process();
    return false;
  }
  const Result<uint64_t> followed = follow_devices();
  if (!followed) LOG_WARNING("{}", followed.status().message());
  return (attached_ && !attachments_->intact()) || steady_clock::now() >= next_map_audit_;
}

Result<AuditReport> EbpfBackend::audit() {
  AuditReport report;
  RETURN_IF_ERROR(follow_devices().status());
  if (attached_) {
    report.checked += attachments_->size();
    const Result<uint64_t> repaired = attachments_->repair();
    if (!repaired) return repaired.status();
    report.repaired += *repaired;
  }
  const Result<uint64_t> pinned = restore_pins(pins_->maps(), map_descriptors());
  if (!pinned) return pinned.status();
  report.checked += kMapCount;
  report.repaired += *pinned;
  const Result<uint64_t> wrong = put_node();
  if (!wrong) return wrong.status();
  report.checked += node_maps_->size();
  report.repaired += *wrong;
  RETURN_IF_ERROR(serve().status());  // devices whose places were lost, or refused last time
  const Result<AuditReport> tables = tables_->audit();
  if (!tables) return tables;
  report.checked += tables->checked;
  report.repaired += tables->repaired;
  report.needs_complete = tables->needs_complete;
  schedule_map_audit();
  return report;
}

std::array<int, kMapCount> EbpfBackend::map_descriptors() const {
  std::array<int, kMapCount> descriptors = {};
  for (size_t i = 0; i < kMapCount; ++i) descriptors[i] = object_->fd(static_cast<Map>(i));
  return descriptors;
}

void EbpfBackend::count_packets(std::vector<dataplane::Counter>& result) const {
  const int cpus = libbpf_num_possible_cpus();
  std::vector<uint64_t> values(static_cast<size_t>(cpus > 0 ? cpus : 0));
  for (uint32_t index = 0; index < kCounterRows.size() && cpus > 0; ++index) {
    if (bpf_map_lookup_elem(object_->fd(Map::kCounters), &index, values.data()) != 0) continue;
    const CounterRow& row = kCounterRows[index];
    const auto total = std::accumulate(values.begin(), values.end(), uint64_t{0});
    result.push_back({fmt::format("{}{}_total", row.drop ? "drop_" : "", row.name),
                      fmt::format("{}.", row.help), static_cast<double>(total), true});
  }
}

void EbpfBackend::count_flows(std::vector<dataplane::Counter>& result) const {
  const auto add = [&](std::string name, std::string help, uint64_t value, bool monotonic = true) {
    result.push_back({std::move(name), std::move(help), static_cast<double>(value), monotonic});
  };
  const Sweeper::Counts swept = sweeper_->counts();
  add("sweeps_total", "Walks through all flows.", swept.sweeps);
  add("flows_expired_total", "Flows removed because nobody spoke any more.", swept.expired);
  add("slots_freed_total", "Ways back of flows that were lost, free again.", swept.freed);
  const StaleSockets::Counts ended = stale_sockets_->counts();
  add("socket_walks_total", "Searches for sockets connected to endpoints that left.", ended.walks);
  add("sockets_ended_total", "UDP sockets ended because their endpoint left.", ended.ended);
  add("masquerading_ports_used",
      "Masquerading ports in use, among the endpoints that have the fewest left.", swept.ports,
      false);
  add("masquerading_ports_limit",
      "Masquerading ports: --ebpf-masquerade-ports; endpoints share them by --ebpf-return-classes.",
      options_.snat_last - options_.snat_first + 1U, false);
  add("attached_programs", "Places on sockets and devices where a program hangs.",
      attachments_->size(), false);
}

std::vector<dataplane::Counter> EbpfBackend::counters() {
  std::vector<dataplane::Counter> result;
  if (!attached_) return result;
  count_packets(result);
  count_flows(result);
  std::vector<Use> uses = tables_->uses();
  const Sweeper::Counts swept = sweeper_->counts();
  for (const auto& [map, used] :
       {std::pair(Map::kFlows, swept.flows), std::pair(Map::kNewFlows, swept.new_flows),
        std::pair(Map::kAffinity, swept.affinities)}) {
    const Result<uint32_t> limit = capacity(map);
    if (limit) uses.push_back({to_string(map), row_of(map).flag, used, *limit});
  }
  for (const Use& use : uses) {
    const std::string_view map = use.map.substr(use.map.starts_with("fl_") ? 3 : 0);
    result.push_back({fmt::format("map_{}_used", map),
                      fmt::format("Elements of map {} in use.", use.map),
                      static_cast<double>(use.used), false});
    result.push_back({fmt::format("map_{}_limit", map),
                      fmt::format("Elements that map {} can hold: {}.", use.map, use.flag),
                      static_cast<double>(use.limit), false});
  }
  for (const ProgramFacts& facts : object_->facts()) {
    result.push_back({fmt::format("verified_instructions_{}", to_string(facts.program).substr(3)),
                      fmt::format("Instructions of {} that the kernel's verifier walked.",
                                  to_string(facts.program)),
                      static_cast<double>(facts.verified_instructions), false});
  }
  return result;
}

// What connection tracking cannot go on with when the programs are gone gets the time to come to
// its end: what has just begun, above all.
Result<std::chrono::seconds> EbpfBackend::release() {
  constexpr std::chrono::seconds kShortFlows{5};
  if (released_) return std::chrono::seconds(0);
  ASSIGN_OR_RETURN(released_, release_pins(options_.pin_path));
  return released_ ? kShortFlows : std::chrono::seconds(0);
}

Status EbpfBackend::remove_all() {
  if (released_) hand_over_flows(options_.pin_path);
  unload();
  const Status detached =
      detach_all(options_.pin_path, released_ ? EmptyClsact::kKeep : EmptyClsact::kRemove);
  const Status dropped = drop_nat_hooks();
  return detached ? dropped : detached;
}

}  // namespace

Result<std::unique_ptr<dataplane::Backend>> create_backend(Options options) {
  return std::unique_ptr<dataplane::Backend>(std::make_unique<EbpfBackend>(std::move(options)));
}

}  // namespace fairlead::bpf
