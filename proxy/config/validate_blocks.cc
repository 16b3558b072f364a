#include <algorithm>
#include <limits>

#include "proxy/config/checker.h"
#include "proxy/config/text.h"

namespace fairlead::proxy {
namespace {

using std::chrono::nanoseconds;

// Which block of the file rules what iptables{} and nftables{} both have. For the modes that
// kube-proxy does not have, nftables{} counts where it says something else than kube-proxy's
// default, otherwise iptables{}: an existing file, whose mode is empty, keeps its meaning.
bool use_nftables_block(const Checker& check, bool nftables_is_default) {
  switch (check.result.config.mode) {
    case ProxyMode::kNftables:
      return true;
    case ProxyMode::kIptables:
    case ProxyMode::kIpvs:
      return false;
    case ProxyMode::kAuto:
    case ProxyMode::kEbpf:
    case ProxyMode::kDpdk:
      return !nftables_is_default;
  }
  return false;
}

void check_masquerade(Checker& check) {
  const Settings& settings = check.settings();
  const auto check_bit = [&](std::string_view field, int32_t bit) {
    if (bit < 0 || bit > 31) check.fail(field, fmt::format("{} is not within 0..31", bit));
  };
  // With flags alone the two blocks hold the same values; one complaint will do.
  const bool same =
      check.layer.name("iptables.masqueradeBit") == check.layer.name("nftables.masqueradeBit");
  check_bit("iptables.masqueradeBit", settings.iptables_masquerade.bit);
  if (!same) check_bit("nftables.masqueradeBit", settings.nftables_masquerade.bit);

  ProxyConfig& config = check.config();
  const bool nftables = use_nftables_block(
      check, settings.nftables_masquerade.bit == Settings().nftables_masquerade.bit);
  const int32_t bit =
      nftables ? settings.nftables_masquerade.bit : settings.iptables_masquerade.bit;
  config.masquerade_bit = static_cast<uint8_t>(std::clamp(bit, 0, 31));
  switch (config.mode) {
    case ProxyMode::kNftables:
      config.masquerade_all = settings.nftables_masquerade.all;
      break;
    case ProxyMode::kIptables:
    case ProxyMode::kIpvs:
      config.masquerade_all = settings.iptables_masquerade.all;
      break;
    default:
      config.masquerade_all = settings.nftables_masquerade.all || settings.iptables_masquerade.all;
  }
}

void check_sync(Checker& check) {
  const Settings& settings = check.settings();
  std::string_view sync_field = "iptables.syncPeriod";
  std::string_view min_field = "iptables.minSyncPeriod";
  nanoseconds sync = settings.iptables_sync.sync_period;
  nanoseconds min = settings.iptables_sync.min_sync_period;
  if (check.config().mode == ProxyMode::kIpvs) {
    sync_field = "ipvs.syncPeriod";
    min_field = "ipvs.minSyncPeriod";
    sync = settings.ipvs_sync.sync_period;
    min = settings.ipvs_sync.min_sync_period;
  } else {
    constexpr std::string_view kMinOfNftables = "nftables.minSyncPeriod";
    const Settings::Sync& nftables = settings.nftables_sync;
    if (use_nftables_block(check, nftables.sync_period == Settings().nftables_sync.sync_period)) {
      sync_field = "nftables.syncPeriod";
      sync = nftables.sync_period;
    }
    const bool default_min =
        !check.layer.gave(kMinOfNftables) || nftables.min_sync_period == std::chrono::seconds(1);
    if (use_nftables_block(check, default_min)) {
      min_field = kMinOfNftables;
      min = nftables.min_sync_period;
    }
  }
  if (sync.count() <= 0) {
    check.fail(sync_field, fmt::format("{} is not greater than 0", format_duration(sync)));
  }
  if (min.count() < 0) {
    check.fail(min_field, fmt::format("{} is less than 0", format_duration(min)));
  } else if (sync.count() > 0 && min > sync) {
    check.fail(min_field, fmt::format("{} is more than {} of {}", format_duration(min),
                                      format_duration(sync), check.layer.name(sync_field)));
  }
  check.config().sync_period = sync;
  if (check.layer.gave(min_field)) check.config().min_sync_period = min;
}

// A timeout that goes into the kernel as whole seconds, 0 leaving the system's value.
nanoseconds kernel_timeout(Checker& check, std::string_view option, nanoseconds timeout) {
  if (timeout.count() < 0) {
    check.fail(option, fmt::format("{} is less than 0", format_duration(timeout)));
  } else if (timeout.count() > 0 && timeout < std::chrono::seconds(1)) {
    check.fail(option, fmt::format("{} is less than a second; the kernel counts in seconds",
                                   format_duration(timeout)));
  } else if (timeout > std::chrono::seconds(std::numeric_limits<int32_t>::max())) {
    check.fail(option,
               fmt::format("{} is more than the kernel can count", format_duration(timeout)));
  }
  return timeout;
}

void check_conntrack(Checker& check) {
  const Settings& settings = check.settings();
  ConntrackConfig& conntrack = check.config().conntrack;
  const auto count = [&](std::string_view option, int32_t value) {
    if (value < 0) check.fail(option, fmt::format("{} is less than 0", value));
    return value;
  };
  conntrack.max_per_core = count("conntrack.maxPerCore", settings.conntrack_max_per_core);
  conntrack.min = count("conntrack.min", settings.conntrack_min);
  conntrack.tcp_established_timeout = kernel_timeout(check, "conntrack.tcpEstablishedTimeout",
                                                     settings.conntrack_tcp_established_timeout);
  conntrack.tcp_close_wait_timeout = kernel_timeout(check, "conntrack.tcpCloseWaitTimeout",
                                                    settings.conntrack_tcp_close_wait_timeout);
  conntrack.udp_timeout =
      kernel_timeout(check, "conntrack.udpTimeout", settings.conntrack_udp_timeout);
  conntrack.udp_stream_timeout =
      kernel_timeout(check, "conntrack.udpStreamTimeout", settings.conntrack_udp_stream_timeout);
  conntrack.tcp_be_liberal = settings.conntrack_tcp_be_liberal;
}

void check_ipvs(Checker& check) {
  const Settings& settings = check.settings();
  IpvsConfig& ipvs = check.config().ipvs;
  if (!settings.ipvs_scheduler.empty()) ipvs.scheduler = settings.ipvs_scheduler;
  constexpr size_t kLongestScheduler = 15;
  const bool plain = std::all_of(ipvs.scheduler.begin(), ipvs.scheduler.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
  if (!plain || ipvs.scheduler.size() > kLongestScheduler) {
    check.fail("ipvs.scheduler",
               fmt::format("\"{}\" is not the name of a scheduler", ipvs.scheduler));
  }
  ipvs.exclude_prefixes = check_prefixes(check, "ipvs.excludeCIDRs", settings.ipvs_exclude_cidrs);
  ipvs.strict_arp = settings.ipvs_strict_arp;
  ipvs.tcp_timeout = kernel_timeout(check, "ipvs.tcpTimeout", settings.ipvs_tcp_timeout);
  ipvs.tcp_fin_timeout = kernel_timeout(check, "ipvs.tcpFinTimeout", settings.ipvs_tcp_fin_timeout);
  ipvs.udp_timeout = kernel_timeout(check, "ipvs.udpTimeout", settings.ipvs_udp_timeout);
}

void check_nftables(Checker& check) {
  // A million entries are about 100 MB of kernel memory; sixteen times that is nobody's intention.
  constexpr int32_t kMost = 1 << 24;
  const int32_t entries = check.settings().nftables_affinity_max_entries;
  if (entries < 1 || entries > kMost) {
    check.fail("fairlead.nftables.affinityMaxEntries",
               fmt::format("{} is not within 1..{}", entries, kMost));
    return;
  }
  check.config().nftables.affinity_max_entries = static_cast<uint32_t>(entries);
}

}  // namespace

void check_blocks(Checker& check) {
  check_masquerade(check);
  check_sync(check);
  check_conntrack(check);
  check.config().iptables.localhost_node_ports = check.settings().localhost_node_ports;
  if (check.may_be(ProxyMode::kIpvs)) check_ipvs(check);
  if (check.may_be(ProxyMode::kNftables)) check_nftables(check);
  if (check.may_be(ProxyMode::kEbpf)) check_ebpf(check);
}

}  // namespace fairlead::proxy
