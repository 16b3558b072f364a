#include "bpf/carried_flows.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "bpf/map_rows.h"
#include "bpf/node_maps.h"
#include "bpf/pinned_maps.h"
#include "bpf/system.h"

namespace fairlead::bpf {
namespace {

// How long an entry lasts while programs translate: it is not told when its connection closes.
// Longer than they stay.
constexpr uint32_t kLease = 15;
constexpr uint32_t kSlotsACall = 4096;

struct Slot {
  uint32_t number;
  fl_return record;
};

}  // namespace

std::optional<TrackedFlow> tracked_flow(const fl_config& config, uint32_t number,
                                        const fl_return& slot, uint32_t newest) {
  const bool tcp = slot.protocol == IPPROTO_TCP;
  if (slot.claim == 0 || (!tcp && slot.protocol != IPPROTO_UDP)) return std::nullopt;
  const bool established = (slot.flags & FL_FLOW_ESTABLISHED) != 0;
  if (tcp && fl_is_closed(slot.flags) != 0) return std::nullopt;
  // Handshakes that nobody goes on with, and one question with its answer: after a second nothing
  // more is expected, by the programs either.
  const bool silent =
      static_cast<int32_t>(newest - slot.last_seen) > static_cast<int32_t>(config.hz);
  if (!established && silent) return std::nullopt;
  TrackedFlow flow{.client = slot.client,
                   .address = slot.address,
                   .source = slot.source,
                   .endpoint = slot.endpoint,
                   .client_port = slot.client_port,
                   .port = slot.port,
                   .source_port = htons(static_cast<uint16_t>(number)),
                   .endpoint_port = slot.endpoint_port,
                   .protocol = slot.protocol};
  flow.seconds = tcp ? (established ? config.tcp_established_seconds : FL_EMBRYONIC_SECONDS)
                     : (established ? config.udp_stream_seconds : config.udp_seconds);
  flow.seconds = std::max<uint32_t>(flow.seconds, 1);
  return flow;
}

struct FlowCarrier::Pinned {
  fl_config config;
  Fd returns;
  Fd node_addresses;
  ConntrackEntries entries;
};

namespace {

Result<Fd> open_map(const std::string& directory, Map map, size_t value_size) {
  const MapRow& row = row_of(map);
  const std::string path = directory + "/" + std::string(row.name);
  Result<Fd> pinned = open_pinned_map(path);
  if (!pinned) return pinned;
  MapShape shape;
  ASSIGN_OR_RETURN(shape, shape_of({pinned->get(), row.name, row.flag}));
  if (shape.value_size == value_size) return pinned;
  return Status::error(StatusCode::kUnsupported, "read", path, "a map of another layout");
}

Result<fl_config> read_config(int map) {
  const uint32_t zero = 0;
  fl_config config;
  if (bpf_map_lookup_elem(map, &zero, &config) == 0) return config;
  return Status::from_errno(errno, "read", "fl_config");
}

// All slots that are claimed. A part at a time: the array is as large as the operator wanted it.
Result<std::vector<Slot>> read_claimed(int map) {
  std::vector<Slot> claimed;
  std::vector<uint32_t> numbers(kSlotsACall);
  std::vector<fl_return> records(kSlotsACall);
  uint32_t next = 0;
  bool begun = false;
  for (;;) {
    uint32_t count = kSlotsACall;
    const int error = -bpf_map_lookup_batch(map, begun ? &next : nullptr, &next, numbers.data(),
                                            records.data(), &count, nullptr);
    if (error != 0 && error != ENOENT) return Status::from_errno(error, "read", "fl_returns");
    for (uint32_t i = 0; i < count; ++i) {
      if (records[i].claim != 0) claimed.push_back({numbers[i], records[i]});
    }
    if (error == ENOENT || count == 0) return claimed;
    begun = true;
  }
}

}  // namespace

FlowCarrier::FlowCarrier(std::unique_ptr<Pinned> pinned) : pinned_(std::move(pinned)) {}
FlowCarrier::~FlowCarrier() = default;
FlowCarrier::FlowCarrier(FlowCarrier&&) noexcept = default;

Result<FlowCarrier> FlowCarrier::open(const std::string& maps) {
  Fd config;
  ASSIGN_OR_RETURN(config, open_map(maps, Map::kConfig, sizeof(fl_config)));
  Fd returns;
  ASSIGN_OR_RETURN(returns, open_map(maps, Map::kReturns, sizeof(fl_return)));
  Fd addresses;
  ASSIGN_OR_RETURN(addresses, open_map(maps, Map::kNodeAddresses, sizeof(fl_node_address)));
  auto settings = read_config(config.get());
  if (!settings) return settings.status();
  auto entries = ConntrackEntries::open();
  if (!entries) return entries.status();
  return FlowCarrier(std::make_unique<Pinned>(
      Pinned{*settings, std::move(returns), std::move(addresses), *std::move(entries)}));
}

// Those that no earlier call has found.
Result<std::vector<TrackedFlow>> FlowCarrier::live_flows() {
  std::vector<Slot> slots;
  ASSIGN_OR_RETURN(slots, read_claimed(pinned_->returns.get()));
  uint32_t newest = slots.empty() ? 0 : slots.front().record.last_seen;
  for (const Slot& slot : slots) {
    if (static_cast<int32_t>(slot.record.last_seen - newest) > 0) newest = slot.record.last_seen;
  }
  std::vector<TrackedFlow> flows;
  for (const Slot& slot : slots) {
    uint32_t& told = told_[slot.number];
    if (told == slot.record.claim) continue;
    const auto flow = tracked_flow(pinned_->config, slot.number, slot.record, newest);
    if (!flow || is_node_address(pinned_->node_addresses.get(), flow->endpoint) ||
        is_node_address(pinned_->node_addresses.get(), flow->client)) {
      continue;
    }
    told = slot.record.claim;
    flows.push_back(*flow);
  }
  counts_.flows += flows.size();
  return flows;
}

Status FlowCarrier::write(ConntrackEntries::Write how, std::span<const TrackedFlow> flows) {
  const size_t room = std::min(conntrack_room(held_), flows.size());
  counts_.refused += flows.size() - room;
  held_ += room;
  return pinned_->entries.write(how, flows.first(room), [&](size_t, int) {
    ++counts_.refused;
    --held_;
  });
}

Status FlowCarrier::tell(bool stale) {
  std::vector<TrackedFlow> flows;
  ASSIGN_OR_RETURN(flows, live_flows());
  for (TrackedFlow& flow : flows) flow.seconds = kLease;
  return write(stale ? ConntrackEntries::Write::kReplace : ConntrackEntries::Write::kAdd, flows);
}

Status FlowCarrier::hand_over() {
  std::vector<TrackedFlow> flows;
  ASSIGN_OR_RETURN(flows, live_flows());
  std::vector<TrackedFlow> unknown;
  Status kept = pinned_->entries.write(ConntrackEntries::Write::kKeep, flows,
                                       [&](size_t i, int) { unknown.push_back(flows[i]); });
  held_ = flows.size() - unknown.size();
  Status added = write(ConntrackEntries::Write::kAdd, unknown);
  return kept ? added : kept;
}

}  // namespace fairlead::bpf
