#include "tests/harness/features.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

#include "base/fd.h"
#include "tests/harness/bpf_sandbox.h"
#include "tests/harness/netns.h"
#include "tests/harness/process.h"

namespace fairlead::harness {
namespace {

// A rule of every kind that the tests count on: sets, verdict maps, NAT, rejection.
constexpr std::string_view kTrialRules = R"(
table ip trial {
  map services { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain target { meta l4proto tcp dnat to 192.0.2.1:80; }
  chain nat { type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @services; }
  chain post { type nat hook postrouting priority 100; masquerade; }
  chain filter { type filter hook input priority 0; meta mark 1 reject; }
}
)";

// The matches and targets that a node may have to load modules for.
constexpr std::string_view kTrialIptables = R"(
*filter
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m addrtype --dst-type LOCAL -j REJECT
COMMIT
*nat
:TRIAL - [0:0]
-A TRIAL -m comment --comment "a b" -m recent --name trial --rcheck --seconds 1 --reap -j RETURN
-A TRIAL -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x4000/0x4000
-A TRIAL -p tcp -m tcp -j DNAT --to-destination 192.0.2.1:80
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
COMMIT
)";

std::string try_socket(int family, int type, int protocol) {
  const Fd socket(::socket(family, type | SOCK_CLOEXEC, protocol));
  return socket.valid() ? "" : std::strerror(errno);
}

std::string in_scratch_namespace(const std::function<Status(Namespace&)>& attempt) {
  auto scratch = Namespace::create("scratch");
  if (!scratch) return scratch.status().message();
  const Status status = attempt(**scratch);
  return status ? "" : status.message();
}

std::string try_feature(Feature feature) {
  switch (feature) {
    case Feature::kRoot:
      return ::geteuid() == 0 ? "" : "the effective user is not root";
    case Feature::kNetns:
      return in_scratch_namespace([](Namespace&) { return Status(); });
    case Feature::kVeth:
      return in_scratch_namespace(
          [](Namespace& scratch) { return scratch.ip("link add ve0 type veth peer name ve1\n"); });
    case Feature::kIPv6:
      if (std::string error = try_socket(AF_INET6, SOCK_DGRAM, 0); !error.empty()) return error;
      return in_scratch_namespace(
          [](Namespace& scratch) { return scratch.ip("address add fd00::1/64 dev lo nodad\n"); });
    case Feature::kNftables:
      return in_scratch_namespace([](Namespace& scratch) {
        return scratch.run([] { return run_checked({"nft", "-f", "-"}, kTrialRules); });
      });
    case Feature::kIptables:
      return in_scratch_namespace([](Namespace& scratch) {
        return scratch.run([] { return run_checked({"iptables-restore"}, kTrialIptables); });
      });
    case Feature::kSctp:
      return try_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
    case Feature::kBpf:
      return BpfSandbox::why_no_bpf();
    case Feature::kIpvs:
      return in_scratch_namespace([](Namespace& scratch) {
        return scratch.run([] { return run_checked({"ipvsadm", "-L", "-n"}); });
      });
    case Feature::kCgroup2:
      return BpfSandbox::why_no_cgroup();
  }
  return "";
}

std::string_view name_of(Feature feature) {
  switch (feature) {
    case Feature::kRoot:
      return "root";
    case Feature::kNetns:
      return "network namespaces";
    case Feature::kVeth:
      return "veth interfaces";
    case Feature::kIPv6:
      return "IPv6";
    case Feature::kNftables:
      return "nftables";
    case Feature::kIptables:
      return "iptables";
    case Feature::kSctp:
      return "SCTP sockets";
    case Feature::kBpf:
      return "eBPF";
    case Feature::kIpvs:
      return "IPVS";
    case Feature::kCgroup2:
      return "cgroup v2";
  }
  return "";
}

}  // namespace

std::string missing_features(std::span<const Feature> features) {
  static std::mutex mutex;
  static std::map<Feature, std::string> known;
  const std::lock_guard lock(mutex);
  for (const Feature feature : features) {
    auto [found, is_new] = known.try_emplace(feature);
    if (is_new) found->second = try_feature(feature);
    if (!found->second.empty()) return std::string(name_of(feature)) + ": " + found->second;
  }
  return "";
}

}  // namespace fairlead::harness
