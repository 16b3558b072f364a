#include "ipvs/backend.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <iterator>
#include <utility>
#include <vector>

#include "base/log.h"
#include "iptables/layout.h"
#include "ipvs/family_check.h"
#include "ipvs/plane.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Ack;
using dataplane::AuditReport;
using dataplane::Delta;
using dataplane::EntryKey;
using dataplane::Family;
using dataplane::NodeRules;
using std::chrono::steady_clock;

// Whether a kernel of that release is older than major.minor; one that does not say is not.
bool older_than(std::string_view release, int major, int minor) {
  int numbers[2] = {major, minor};
  const char* at = release.data();
  const char* const end = at + release.size();
  for (int& number : numbers) {
    const auto [rest, error] = std::from_chars(at, end, number);
    if (error != std::errc()) return false;
    at = rest == end ? rest : rest + 1;
  }
  return std::pair(numbers[0], numbers[1]) < std::pair(major, minor);
}

class IpvsBackend final : public dataplane::Backend {
 public:
  IpvsBackend(OwnedSeams seams, Options options)
      : seams_(std::move(seams)), options_(std::move(options)) {}

  std::string_view name() const override { return "ipvs"; }
  Status can_serve(Family family) override {
    return check_family(*seams_.servers, *seams_.sets, *seams_.iptables, family);
  }
  Status start(const NodeRules& rules) override;
  Result<Ack> apply(const Delta& delta) override;
  bool disturbed() override;
  int wake_fd() const override { return seams_.device->fd(); }
  Result<AuditReport> audit() override;
  std::vector<dataplane::Counter> counters() override;
  Result<std::chrono::seconds> release() override;
  Status remove_all() override;

 private:
  Seams seams() {
    return {*seams_.servers,  *seams_.sets,     *seams_.device,
            *seams_.settings, *seams_.iptables, seams_.route_localnet};
  }
  Result<bool> has_scheduler(const std::string& name, const NodeRules& rules);
  Status check_schedulers(const NodeRules& rules);
  Status remove_others_rules();
  Status write_settings(AuditReport* report);
  Status reap_when_due();
  bool audit_may_run() const;

  OwnedSeams seams_;
  const Options options_;
  std::vector<std::unique_ptr<Plane>> planes_;  // refer to options_
  bool complete_ = false;
  bool disturbed_ = false;
  bool needs_complete_ = false;            // not told to the caller yet
  bool released_ = false;                  // another mode serves
  bool others_gone_ = false;               // rules of other variants, since
  bool told_problem_ = false;              // of what had to stay beside what connections need
  std::array<Plane::Retired, 2> retired_;  // IPv4, IPv6
  std::string unreadable_;  // why the last audit could not look at rules; empty when it could
  steady_clock::time_point next_reap_{};
  steady_clock::time_point next_audit_{};  // of those that come without being asked for
};

Status IpvsBackend::write_settings(AuditReport* report) {
  struct Setting {
    const char* key;
    const char* value;
    bool wanted = true;
  };
  const std::string release = seams_.settings->kernel_release();
  // Until Linux 5.9, packets of a new connection that looked like an old one waited for a second.
  const bool no_reuse = older_than(release, 5, 9) && !older_than(release, 4, 1);
  const Setting settings[] = {
      {"net/ipv4/vs/conntrack", "1"},                  // masquerading needs it
      {"net/ipv4/vs/expire_nodest_conn", "1"},         // flows leave an endpoint that is gone
      {"net/ipv4/vs/expire_quiescent_template", "1"},  // so do clients with affinity
      {"net/ipv4/vs/conn_reuse_mode", "0", no_reuse},
      {"net/ipv4/ip_forward", "1"},
      {"net/ipv4/conf/all/arp_ignore", "1", options_.strict_arp},
      {"net/ipv4/conf/all/arp_announce", "2", options_.strict_arp},
  };
  for (const Setting& setting : settings) {
    if (!setting.wanted) continue;
    const auto now = seams_.settings->get(setting.key);
    if (report != nullptr) ++report->checked;
    if (now == setting.value) continue;
    RETURN_IF_ERROR(seams_.settings->set(setting.key, setting.value));
    if (report != nullptr) ++report->repaired;
  }
  if (options_.timeouts.any()) return seams_.servers->set_timeouts(options_.timeouts);
  return {};
}

Result<bool> IpvsBackend::has_scheduler(const std::string& name, const NodeRules& rules) {
  const ServerKey key = ServerKey::marked(Family::kIPv4, MarkSpace(rules.masquerade_mark).mark(0));
  const Operation operations[] = {{Operation::Kind::kRemoveServer, key, {}, {}},  // of a killed run
                                  {Operation::Kind::kAddServer, key, {name, 0, 0}, {}},
                                  {Operation::Kind::kRemoveServer, key, {}, {}}};
  std::vector<Failure> failures;
  ASSIGN_OR_RETURN(failures, seams_.servers->apply(operations));
  for (const Failure& failure : failures) {
    if (failure.index != 1) continue;
    if (failure.status.code() == StatusCode::kUnsupported) return false;
    return failure.status;
  }
  return true;
}

// Said once here, where every service port would say it.
Status IpvsBackend::check_schedulers(const NodeRules& rules) {
  const std::string& chosen = options_.scheduler;
  bool has = false;
  ASSIGN_OR_RETURN(has, has_scheduler(chosen, rules));
  if (!has) {
    return Status::error(StatusCode::kUnsupported, "use", "--ipvs-scheduler=" + chosen,
                         "the kernel does not have it (try: modprobe ip_vs_" + chosen + ")");
  }
  ASSIGN_OR_RETURN(has, has_scheduler(kAffinityScheduler, rules));
  if (!has) {
    LOG_WARNING(
        "ipvs: the kernel has no scheduler {0} (try: modprobe ip_vs_{0}): service ports with "
        "affinity and policy Local will be refused",
        kAffinityScheduler);
  }
  return {};
}

Status IpvsBackend::start(const NodeRules& rules) {
  planes_.clear();
  complete_ = false;
  released_ = others_gone_ = told_problem_ = false;
  retired_ = {};
  RETURN_IF_ERROR(write_settings(nullptr));
  RETURN_IF_ERROR(check_schedulers(rules));
  RETURN_IF_ERROR(seams_.device->create());
  for (const Family family : rules.families) {
    auto plane = std::make_unique<Plane>(family, seams(), options_);
    RETURN_IF_ERROR(plane->start(rules));
    planes_.push_back(std::move(plane));
  }
  for (const auto& plane : planes_) RETURN_IF_ERROR(plane->restamp());
  next_reap_ = steady_clock::now() + options_.reap_period;
  next_audit_ = steady_clock::now() + options_.audit_period;  // all has just been read
  return {};
}

Result<Ack> IpvsBackend::apply(const Delta& delta) {
  Ack ack;
  ack.generation = delta.generation;
  for (const auto& plane : planes_) {
    const uint64_t before = plane->operations();
    if (delta.node) RETURN_IF_ERROR(plane->set_node_rules(*delta.node, ack.refused));
    std::vector<Plane::Change> changes;
    for (const EntryKey& key : delta.removed) {
      if (key.family == plane->family()) changes.push_back({&key, nullptr});
    }
    for (const dataplane::EntryPointer& entry : delta.upserted) {
      if (entry->key.family == plane->family()) changes.push_back({&entry->key, entry});
    }
    std::vector<dataplane::Refusal> refused;
    RETURN_IF_ERROR(plane->apply(changes, delta.complete, refused));
    // A refusal may mean that the kernel is not as we thought: look, and try those once more.
    if (!refused.empty() && plane->astray()) {
      std::erase_if(changes, [&](const Plane::Change& change) {
        return std::none_of(refused.begin(), refused.end(),
                            [&](const auto& refusal) { return refusal.key == *change.key; });
      });
      refused.clear();
      RETURN_IF_ERROR(plane->apply(changes, false, refused));
    }
    ack.refused.insert(ack.refused.end(), std::make_move_iterator(refused.begin()),
                       std::make_move_iterator(refused.end()));
    ack.operations += plane->operations() - before;
  }
  if (delta.complete) {  // rules may have waited for it
    for (const auto& plane : planes_) RETURN_IF_ERROR(plane->restamp());
  }
  if (delta.complete && !complete_) {
    complete_ = true;
    const Status removed = remove_others_rules();
    if (!removed) LOG_WARNING("rules of an earlier run stay: {}", removed.message());
  }
  RETURN_IF_ERROR(reap_when_due());
  return ack;
}

// What an earlier run left in other variants of iptables than ours, which it looks up in the same
// sets. The first problem.
Status IpvsBackend::remove_others_rules() {
  Status problem;
  for (const auto& other : seams_.other_iptables) {
    for (const Family family : {Family::kIPv4, Family::kIPv6}) {
      Result<bool> owned = other->has_chain(family, "mangle", iptables::kIpvsOwner);
      if (owned && !*owned) owned = other->has_chain(family, "filter", kGuard);
      Status removed = owned.status();
      if (removed.code() == StatusCode::kNotFound) continue;  // not installed for this family
      if (owned && *owned) {
        removed = Plane(family, seams(), options_).remove_rules(*other, Guard::kRemove);
      }
      if (problem) problem = removed;
    }
  }
  return problem;
}

Status IpvsBackend::reap_when_due() {
  if (steady_clock::now() < next_reap_) return {};
  for (const auto& plane : planes_) RETURN_IF_ERROR(plane->reap());
  next_reap_ = steady_clock::now() + options_.reap_period;
  return {};
}

bool IpvsBackend::audit_may_run() const {
  return options_.audit_period.count() != 0 && steady_clock::now() >= next_audit_;
}

// IPVS tells nobody what is done to it, so its part is looked at from time to time; of addresses
// and rules the kernel says at once that they changed.
bool IpvsBackend::disturbed() {
  Result<VirtualDevice::News> news = seams_.device->news();
  if (!news || news->lost || news->device_gone) disturbed_ = true;
  if (news) {
    for (const auto& event : news->events) {
      for (const auto& plane : planes_) disturbed_ |= plane->is_news(event);
    }
  }
  if (const Status reaped = reap_when_due(); !reaped) disturbed_ = true;
  for (const auto& plane : planes_) disturbed_ |= plane->astray() || plane->rules_touched();
  return disturbed_ || audit_may_run();
}

Result<AuditReport> IpvsBackend::audit() {
  const auto begin = steady_clock::now();
  AuditReport report;
  std::vector<dataplane::Refusal> refused;
  RETURN_IF_ERROR(write_settings(&report));
  bool exists = false;
  ASSIGN_OR_RETURN(exists, seams_.device->exists());
  if (!exists) {
    RETURN_IF_ERROR(seams_.device->create());
    ++report.repaired;
  }
  Status readable;
  for (const auto& plane : planes_) {
    const Status done = plane->audit(report, refused);
    if (done.code() == StatusCode::kUnsupported) {
      readable = done;
    } else {
      RETURN_IF_ERROR(done);
    }
  }
  // Entries that could not follow the node's addresses: the caller has to give them again.
  needs_complete_ |= !refused.empty();
  disturbed_ = !readable;
  const auto end = steady_clock::now();
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(end - begin) / options_.audit_share);
  next_audit_ = end + std::max(rest, options_.audit_period);
  const std::string before = std::exchange(unreadable_, readable ? "" : readable.message());
  if (!readable && unreadable_ != before) return readable;  // said once
  if (readable && !before.empty()) LOG_INFO("ipvs: the iptables rules can be read again");
  report.needs_complete = std::exchange(needs_complete_, false);
  return report;
}

std::vector<dataplane::Counter> IpvsBackend::counters() {
  double servers = 0, destinations = 0, draining = 0, elements = 0, grown = 0, addresses = 0;
  for (const auto& plane : planes_) {
    servers += static_cast<double>(plane->servers().size());
    destinations += static_cast<double>(plane->servers().destinations());
    draining += static_cast<double>(plane->servers().draining());
    elements += static_cast<double>(plane->sets().size());
    grown += static_cast<double>(plane->sets().grown());
    addresses += static_cast<double>(plane->addresses());
  }
  return {
      {"ipvs_virtual_servers", "Virtual servers that are ours.", servers, false},
      {"ipvs_destinations", "Their destinations, those left to end included.", destinations, false},
      {"ipvs_draining_destinations",
       "Destinations of weight 0, which wait for the end of their connections.", draining, false},
      {"ipvs_addresses", "Virtual addresses on device kube-ipvs0.", addresses, false},
      {"ipvs_set_elements", "Elements in the IP sets.", elements, false},
      {"ipvs_sets_grown_total", "Times that an IP set was replaced by a larger one.", grown, true},
  };
}

// Where another mode translates in PREROUTING and OUTPUT, no new connection gets to IPVS; those
// that have begun go on by servers of weight 0, until the last has ended. At first all of it stays,
// for what was on its way when the other mode took over.
Result<std::chrono::seconds> IpvsBackend::release() {
  constexpr std::chrono::seconds kOnTheWay{5};
  constexpr std::chrono::seconds kNextLook{10};
  const bool first = !std::exchange(released_, true);
  std::vector<Family> serving;
  std::vector<Family> done;
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    Plane plane(family, seams(), options_);
    bool owned = false;
    ASSIGN_OR_RETURN(owned, plane.owned());
    if (!owned) continue;
    bool serves = false;
    if (first) {
      ASSIGN_OR_RETURN(serves, plane.has_connections());
    } else {
      ASSIGN_OR_RETURN(serves, plane.retire(retired_[family == Family::kIPv6]));
    }
    (serves ? serving : done).push_back(family);
  }
  if (serving.empty()) return std::chrono::seconds(0);
  if (first) return kOnTheWay;
  // What has no connections must not stay as long as what has, nor keep that from staying.
  Status problem;
  if (!others_gone_) problem = remove_others_rules();
  others_gone_ = problem.ok();
  for (const Family family : done) {
    const Status removed = Plane(family, seams(), options_).remove();
    if (problem) problem = removed;
  }
  if (!problem && !std::exchange(told_problem_, true)) {
    LOG_WARNING("what nobody needs of mode ipvs stays for now: {}", problem.message());
  }
  return kNextLook;
}

Status IpvsBackend::remove_all() {
  planes_.clear();
  Status problem = remove_others_rules();  // or sets that they use would stay
  bool any = false;
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    Plane plane(family, seams(), options_);
    const Result<bool> owned = plane.owned();
    const Status removed = owned && *owned ? plane.remove() : owned.status();
    any |= owned && *owned;
    if (problem) problem = removed;
  }
  if (any) RETURN_IF_ERROR(seams_.device->remove());
  return problem;
}

}  // namespace

Status probe() {
  const Result<std::unique_ptr<VirtualServers>> servers = open_virtual_servers();
  if (!servers) return servers.status();
  const Result<std::unique_ptr<Sets>> sets = open_sets();
  if (!sets) return sets.status();
  const std::unique_ptr<iptables::ProcessRunner> runner = iptables::create_process_runner();
  if (!iptables::installed_variants(*runner).empty()) return {};
  return Status::error(
      StatusCode::kUnsupported, "find", "iptables-restore",
      "the rules beside IPVS are written by it (Debian: apt-get install iptables)");
}

Result<std::unique_ptr<dataplane::Backend>> create_backend(Options options) {
  OwnedSeams seams;
  ASSIGN_OR_RETURN(seams.servers, open_virtual_servers());
  ASSIGN_OR_RETURN(seams.sets, open_sets());
  ASSIGN_OR_RETURN(seams.device, open_virtual_device());
  seams.settings = open_kernel_settings();
  const std::unique_ptr<iptables::ProcessRunner> runner = iptables::create_process_runner();
  iptables::Variant chosen{};
  ASSIGN_OR_RETURN(chosen, iptables::detect_variant(*runner));
  for (const iptables::Variant variant : iptables::installed_variants(*runner)) {
    auto tool = iptables::create_tool(iptables::create_process_runner(), variant);
    if (variant == chosen) {
      seams.iptables = std::move(tool);
    } else {
      seams.other_iptables.push_back(std::move(tool));
    }
  }
  return create_backend(std::move(seams), std::move(options));
}

std::unique_ptr<dataplane::Backend> create_backend(OwnedSeams seams, Options options) {
  return std::make_unique<IpvsBackend>(std::move(seams), std::move(options));
}

}  // namespace fairlead::ipvs
