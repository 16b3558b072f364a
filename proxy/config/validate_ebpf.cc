#include <algorithm>
#include <array>

#include "proxy/config/checker.h"
#include "proxy/config/text.h"

namespace fairlead::proxy {
namespace {

// A word and what it stands for.
template <typename T, size_t N>
using Words = std::array<std::pair<std::string_view, T>, N>;

constexpr Words<EbpfConfig::Xdp, 4> kXdpWords = {{{"auto", EbpfConfig::Xdp::kAuto},
                                                  {"native", EbpfConfig::Xdp::kNative},
                                                  {"generic", EbpfConfig::Xdp::kGeneric},
                                                  {"off", EbpfConfig::Xdp::kOff}}};
constexpr Words<EbpfConfig::Dsr, 2> kDsrWords = {
    {{"off", EbpfConfig::Dsr::kOff}, {"ipip", EbpfConfig::Dsr::kIpip}}};

template <typename T, size_t N>
void check_word(Checker& check, std::string_view field, const std::string& text,
                const Words<T, N>& words, T& value) {
  std::string all;
  for (const auto& [word, meaning] : words) {
    if (word == text) {
      value = meaning;
      return;
    }
    all += (all.empty() ? "" : ", ") + std::string(word);
  }
  check.fail(field, fmt::format("\"{}\" is not one of {}", text, all));
}

// Bounds: the least a map works with, and what nobody means to give (memory is taken at start).
struct SizeRow {
  std::string_view field;
  int32_t Settings::Ebpf::*given;
  uint32_t EbpfConfig::*checked;
  int32_t least;
  int32_t most;
  enum Shape : uint8_t { kAny, kSixteens, kPowerOfTwo } shape = kAny;
};
constexpr int32_t kMost = 1 << 24;
constexpr int32_t kMostSlots = 1 << 28;
constexpr int32_t kMostClasses = 256;
constexpr SizeRow kSizes[] = {
    {"fairlead.ebpf.maxFrontends", &Settings::Ebpf::max_frontends, &EbpfConfig::max_frontends, 16,
     kMost},
    {"fairlead.ebpf.maxServicePorts", &Settings::Ebpf::max_service_ports,
     &EbpfConfig::max_service_ports, 16, kMost},
    {"fairlead.ebpf.maxEndpoints", &Settings::Ebpf::max_endpoints, &EbpfConfig::max_endpoints, 16,
     kMost},
    {"fairlead.ebpf.maxRingSlots", &Settings::Ebpf::max_ring_slots, &EbpfConfig::max_ring_slots, 32,
     kMostSlots, SizeRow::kSixteens},
    {"fairlead.ebpf.maxSourceRanges", &Settings::Ebpf::max_source_ranges,
     &EbpfConfig::max_source_ranges, 16, kMost},
    {"fairlead.ebpf.maxFlows", &Settings::Ebpf::max_flows, &EbpfConfig::max_flows, 256, kMost},
    {"fairlead.ebpf.maxNewFlows", &Settings::Ebpf::max_new_flows, &EbpfConfig::max_new_flows, 256,
     kMost},
    {"fairlead.ebpf.maxAffinity", &Settings::Ebpf::max_affinity, &EbpfConfig::max_affinity, 256,
     kMost},
    {"fairlead.ebpf.maxFragments", &Settings::Ebpf::max_fragments, &EbpfConfig::max_fragments, 256,
     kMost},
    {"fairlead.ebpf.returnClasses", &Settings::Ebpf::return_classes, &EbpfConfig::return_classes, 1,
     kMostClasses, SizeRow::kPowerOfTwo},
};

void check_sizes(Checker& check) {
  for (const SizeRow& row : kSizes) {
    const int32_t value = check.settings().ebpf.*row.given;
    if (value < row.least || value > row.most) {
      check.fail(row.field, fmt::format("{} is not within {}..{}", value, row.least, row.most));
    } else if (row.shape == SizeRow::kPowerOfTwo && (value & (value - 1)) != 0) {
      check.fail(row.field, fmt::format("{} is not a power of two", value));
    } else if (row.shape == SizeRow::kSixteens && value % 16 != 0) {
      check.fail(row.field, fmt::format("{} is not a multiple of 16", value));
    } else {
      check.config().ebpf.*row.checked = static_cast<uint32_t>(value);
    }
  }
}

void check_masquerade_ports(Checker& check) {
  constexpr std::string_view kField = "fairlead.ebpf.masqueradePorts";
  constexpr int64_t kFirst = 1024;
  constexpr int64_t kLast = 65535;
  const std::string& text = check.settings().ebpf.masquerade_ports;
  const size_t dash = std::min(text.find('-'), text.size());
  const std::string_view low_text = std::string_view(text).substr(0, dash);
  const std::string_view high_text = std::string_view(text).substr(std::min(dash + 1, text.size()));
  const std::optional<int64_t> low = parse_integer(low_text);
  const std::optional<int64_t> high = parse_integer(high_text);
  if (!low || !high) {
    return check.fail(kField, fmt::format("\"{}\" is not of the form 10000-29999", text));
  }
  if (*low < kFirst || *high > kLast || *low > kLast || *high < kFirst) {
    return check.fail(kField, fmt::format("{} is not within {}-{}", text, kFirst, kLast));
  }
  if (*low > *high) {
    return check.fail(kField, fmt::format("{} begins with the greater port", text));
  }
  check.config().ebpf.masquerade_first = static_cast<uint16_t>(*low);
  check.config().ebpf.masquerade_last = static_cast<uint16_t>(*high);
  // What comes to a node port is a client's: answers to a masqueraded connection must not look so.
  constexpr int64_t kFirstNodePort = 30000;
  constexpr int64_t kLastNodePort = 32767;
  if (*low <= kLastNodePort && *high >= kFirstNodePort) {
    check.warn(kField, fmt::format("{} overlaps with {}-{}, from which node ports are taken unless "
                                   "the API server was told another range",
                                   text, kFirstNodePort, kLastNodePort));
  }
}

void check_devices(Checker& check) {
  constexpr size_t kLongest = 15;
  for (const std::string& device : check.settings().ebpf.devices) {
    const bool possible = !device.empty() && device != "." && device != ".." &&
                          device.size() <= kLongest + (device.ends_with('+') ? 1 : 0) &&
                          device.find_first_of("/: \t\r\n\"\\") == std::string::npos;
    if (possible) {
      check.config().ebpf.devices.push_back(device);
    } else {
      check.fail("fairlead.ebpf.devices",
                 fmt::format("\"{}\" cannot be an interface's name", device));
    }
  }
}

void check_path(Checker& check, std::string_view field, const std::string& text,
                std::string& value) {
  if (!text.empty() && !text.starts_with('/')) {
    return check.fail(field, fmt::format("\"{}\" is not an absolute path", text));
  }
  value = text;
}

}  // namespace

void check_ebpf(Checker& check) {
  const Settings::Ebpf& settings = check.settings().ebpf;
  EbpfConfig& config = check.config().ebpf;
  check_devices(check);
  check_word(check, "fairlead.ebpf.xdp", settings.xdp, kXdpWords, config.xdp);
  check_word(check, "fairlead.ebpf.dsr", settings.dsr, kDsrWords, config.dsr);
  check_masquerade_ports(check);
  if (settings.pin_path.empty()) {
    check.fail("fairlead.ebpf.pinPath", "it is empty");
  } else {
    check_path(check, "fairlead.ebpf.pinPath", settings.pin_path, config.pin_path);
  }
  check_path(check, "fairlead.ebpf.cgroup", settings.cgroup, config.cgroup);
  check_sizes(check);
}

}  // namespace fairlead::proxy
