#include "iptables/cleanup.h"

#include <fmt/format.h>

#include <array>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "iptables/layout.h"
#include "iptables/localnet.h"
#include "iptables/restore_input.h"
#include "iptables/save_text.h"

namespace fairlead::iptables {
namespace {

// After this: do packets to 127.0.0.0/8 need their guard?
bool needs_guard(const SavedTable& filter, const std::string& setting) {
  const auto firewall = filter.find(std::string(kFirewall));
  if (firewall == filter.end() || setting.empty() || !localnet_routed(setting)) return false;
  Status reset = Status::error(StatusCode::kConflict, "set", setting, "set by somebody else");
  for (const std::string& rule : firewall->second) {
    if (same_rule(rule, localnet_rule())) reset = route_localnet(setting, false);
  }
  if (!reset) LOG_WARNING("iptables: chain {} stays as a guard: {}", kFirewall, reset.message());
  return !reset;
}

struct Scope {
  bool owned = false;    // the proxy's chains go
  bool kubelet = false;  // KUBE-FIREWALL is the kubelet's too
  bool guard = false;    // KUBE-FIREWALL is needed
};

// Plans what goes from one table.
void plan_removal(Table table, const SavedTable& installed, const Scope& scope,
                  RestoreInput& input) {
  bool firewall_goes = false;
  const auto firewall = installed.find(std::string(kFirewall));
  if (table == Table::kFilter && !scope.guard && firewall != installed.end()) {
    firewall_goes = !scope.kubelet;
    for (const std::string& rule : firewall->second) {
      firewall_goes &= same_rule(rule, martian_rule()) || same_rule(rule, localnet_rule());
    }
    for (const std::string& rule : firewall->second) {
      if (!firewall_goes && same_rule(rule, localnet_rule())) input.remove(table, kFirewall, rule);
    }
  }
  const auto goes = [&](std::string_view chain) {
    return (scope.owned && is_proxy_chain(table, chain)) || (firewall_goes && chain == kFirewall);
  };
  std::vector<std::string_view> named_by_others;
  for (const auto& [name, rules] : installed) {
    if (goes(name)) continue;
    for (const std::string& rule : rules) {
      if (!goes(target_of(rule))) continue;
      if (is_proxy_jump(table, name, rule)) {
        input.remove(table, name, rule);
      } else {
        named_by_others.push_back(target_of(rule));
      }
    }
  }
  for (const auto& [name, rules] : installed) {
    if (!goes(name)) continue;
    bool stays = false;
    for (const std::string_view other : named_by_others) stays |= other == name;
    if (stays) {
      // To mark is all that others use ours for: they go on doing it.
      if (name != kMarkMasq) input.declare(table, name);
    } else {
      input.remove_chain(table, name);
    }
  }
}

// Is there a guard of 127.0.0.0/8 that Fairlead has put there? Without the tables' text: they may
// be others', and large.
bool has_our_guard(Tool& tool, dataplane::Family family) {
  if (family != dataplane::Family::kIPv4) return false;
  const Result<std::string> listing = tool.list_chain(family, to_string(Table::kFilter), kFirewall);
  return listing.ok() && listing->find(kLocalnetComment) != std::string::npos;
}

// kConflict when rules of a proxy stand without a mark that says whose they are. In two questions:
// others' tables may be large.
Status nothing_stays(Tool& tool, dataplane::Family family, std::string_view owner) {
  struct Sign {
    Table table;
    std::string_view chain;
  };
  const auto stands = [&](const Sign& sign) {
    const Result<std::string> listing = tool.list_chain(family, to_string(sign.table), sign.chain);
    return listing.ok() && listing->find("-A " + std::string(sign.chain)) != std::string::npos;
  };
  if (!stands({Table::kNat, kServices}) && !stands({Table::kFilter, kForward})) return {};
  bool ipvs = false;
  ASSIGN_OR_RETURN(ipvs, tool.has_chain(family, "mangle", kIpvsOwner));
  if (ipvs) return {};  // that mode's

  std::string text;
  ASSIGN_OR_RETURN(text, tool.save(family, ""));
  std::string names;
  size_t services = 0;
  for (const Table table : kTables) {
    SavedTable saved;
    ASSIGN_OR_RETURN(saved, parse_save(text, to_string(table)));
    std::set<std::string_view> named;  // in the order of names
    for (const auto& [name, rules] : saved) {
      if (is_service_chain(name)) ++services;
      if (is_proxy_chain(table, name) && !is_service_chain(name)) named.insert(name);
    }
    for (const std::string_view name : named) {
      names += fmt::format("{}{} {}", names.empty() ? "" : ", ", to_string(table), name);
    }
  }
  return Status::error(
      StatusCode::kConflict, "remove",
      fmt::format("{} rules of iptables-{}", to_string(family), to_string(tool.variant())),
      fmt::format(
          "{} and {} chains of services stay: chain {} of table mangle, by which Fairlead "
          "knows its own, is missing. If another proxy runs here, they are its. If not, run "
          "fairlead-proxy --proxy-mode=iptables once, which takes them over, and clean up "
          "again",
          names, services, owner));
}

}  // namespace

Status remove_rules(Tool& tool, dataplane::Family family, std::string_view owner,
                    const std::string& localnet_file) {
  Scope scope;
  ASSIGN_OR_RETURN(scope.owned, tool.has_chain(family, "mangle", owner));
  if (!scope.owned && !has_our_guard(tool, family)) return nothing_stays(tool, family, owner);
  std::array<SavedTable, 3> installed;
  const std::array<Table, 3> tables = {Table::kNat, Table::kFilter, Table::kMangle};
  std::string text;
  ASSIGN_OR_RETURN(text, tool.save(family, ""));
  for (const Table table : tables) {
    ASSIGN_OR_RETURN(installed[static_cast<size_t>(table)], parse_save(text, to_string(table)));
  }
  const SavedTable& mangle = installed[static_cast<size_t>(Table::kMangle)];
  scope.kubelet = mangle.contains("KUBE-KUBELET-CANARY") || mangle.contains("KUBE-IPTABLES-HINT");
  scope.guard = family == dataplane::Family::kIPv4 &&
                needs_guard(installed[static_cast<size_t>(Table::kFilter)], localnet_file);
  // The mark of ownership is in mangle, which goes last: a run that fails is made up for later.
  for (const Table table : tables) {
    RestoreInput input;
    plan_removal(table, installed[static_cast<size_t>(table)], scope, input);
    if (!input.empty()) RETURN_IF_ERROR(tool.restore(family, input.text()));
  }
  if (!scope.owned) return nothing_stays(tool, family, owner);
  return {};
}

}  // namespace fairlead::iptables
