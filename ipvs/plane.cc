#include "ipvs/plane.h"

#include <algorithm>
#include <utility>

#include "iptables/layout.h"
#include "iptables/localnet.h"

namespace fairlead::ipvs {

using dataplane::Address;
using dataplane::EntryKey;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::FrontendKind;
using dataplane::Protocol;
using dataplane::Refusal;

namespace {

bool depends_on_node(const ForwardingEntry& entry) {
  return std::any_of(entry.frontends.begin(), entry.frontends.end(), [](const Frontend& frontend) {
    return frontend.kind == FrontendKind::kNodePort;
  });
}

}  // namespace

Plane::Plane(dataplane::Family family, Seams seams, const Options& options)
    : family_(family),
      seams_(seams),
      options_(options),
      sets_(seams.sets, family),
      servers_(seams.servers, family),
      addresses_(seams.device, family) {}

View Plane::make_view() const {
  View view;
  view.family = family_;
  view.scheduler = options_.scheduler;
  view.marks = MarkSpace(rules_.masquerade_mark);
  if (rules_.node_ports_everywhere(family_)) {
    for (const Address& address : addresses_.elsewhere()) {
      if (!address.is_link_local()) view.node_port_addresses.push_back(address);
    }
  } else {
    for (const Address& address : rules_.node_port_addresses) {
      if (address.family() == family_ && !address.is_loopback()) {
        view.node_port_addresses.push_back(address);
      }
    }
  }
  auto& addresses = view.node_port_addresses;
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return view;
}

Status Plane::start(const dataplane::NodeRules& rules) {
  rules_ = rules;
  wanted_rules_ = wanted_rules(family_, rules_);
  RETURN_IF_ERROR(sets_.create());
  // Rules of another mode, or of kube-proxy, serve until ours can: see apply().
  SavedTables saved;
  ASSIGN_OR_RETURN(saved["nat"], seams_.iptables.save(family_, "nat"));
  ASSIGN_OR_RETURN(saved["mangle"], seams_.iptables.save(family_, "mangle"));
  rules_due_ = foreign_proxy_rules(saved["nat"], saved["mangle"]);
  if (!rules_due_) RETURN_IF_ERROR(install_rules(std::move(saved)));
  RETURN_IF_ERROR(load());
  for (const uint32_t mark : sets_.present_marks()) {
    const uint32_t number = view_.marks.number(mark);
    if (number < view_.marks.limit()) next_mark_ = std::max(next_mark_, number + 1);
  }
  return {};
}

// What is in the kernel. The sets first: by them ours are known.
Status Plane::load() {
  astray_ = true;
  RETURN_IF_ERROR(sets_.load());
  RETURN_IF_ERROR(addresses_.load());
  const std::vector<uint32_t> marks = sets_.present_marks();
  RETURN_IF_ERROR(servers_.load([&](const ServerKey& key) {
    if (key.mark != 0) return std::binary_search(marks.begin(), marks.end(), key.mark);
    return is_ours(key);
  }));
  if (records_.empty()) view_ = make_view();
  astray_ = false;
  return {};
}

// The sets have every server of an earlier run: an element comes before its server and goes after
// it. Others may have servers at the same address.
std::vector<SetId> Plane::sets_with(const SetElement& server) const {
  std::vector<SetId> found;
  for (const SetId set : {SetId::kClusterIp, SetId::kExternalIp, SetId::kExternalIpLocal,
                          SetId::kLoadBalancer, SetId::kNodePortSctp, SetId::kNodePortServers}) {
    if (sets_.present(set, server)) found.push_back(set);
  }
  return found;
}

bool Plane::is_recorded(const ServerKey& key) const {
  const dataplane::SocketAddress& at = key.address;
  return !sets_with(SetElement::at(at.address, at.port, key.protocol)).empty();
}

bool Plane::is_ours(const ServerKey& key) const {
  if (is_recorded(key)) return true;
  // kube-proxy's, or an older build's.
  if (!sets_.empty(SetId::kNodePortServers) || key.protocol == Protocol::kSctp) return false;
  SetElement port;
  port.port = key.address.port;
  return addresses_.elsewhere().contains(key.address.address) &&
         sets_.present(key.protocol == Protocol::kTcp ? SetId::kNodePortTcp : SetId::kNodePortUdp,
                       port);
}

// Ours that nobody wants. What an operator has excluded, and only a port's number says to be ours,
// is left to whoever has it.
std::vector<ServerKey> Plane::take_leftovers(std::span<const WantedServer> wanted) {
  std::vector<ServerKey> rest = servers_.superfluous(wanted);
  std::erase_if(rest, [this](const ServerKey& key) {
    const bool excluded =
        key.mark == 0 && std::any_of(options_.excluded.begin(), options_.excluded.end(),
                                     [&](const dataplane::Prefix& prefix) {
                                       return prefix.contains(key.address.address);
                                     });
    if (!excluded || is_recorded(key)) return false;
    servers_.disown(key);
    return true;
  });
  return rest;
}

Status Plane::install_rules(SavedTables saved) {
  std::string input;
  // What the iptables mode has set itself is its own to set back, with the guard, when it goes.
  bool keep_firewall =
      family_ == dataplane::Family::kIPv4 && iptables::localnet_routed(seams_.route_localnet);
  for (const TableRules& wanted : wanted_rules_) {  // mangle is the first
    const auto [table, unknown] = saved.try_emplace(wanted.table);
    if (unknown) {
      ASSIGN_OR_RETURN(table->second, seams_.iptables.save(family_, wanted.table));
    }
    if (wanted.table == "mangle") keep_firewall |= has_kubelet(table->second);
    input += install_text(wanted, table->second, keep_firewall);
  }
  RETURN_IF_ERROR(seams_.iptables.restore(family_, input));
  rules_due_ = false;
  installed_rules_.assign(wanted_rules_.size(), std::string());
  stamps_.clear();
  for (const TableRules& wanted : wanted_rules_) {
    uint64_t stamp = 0;
    ASSIGN_OR_RETURN(stamp, seams_.iptables.stamp(family_, wanted.table));
    stamps_.push_back(stamp);
  }
  return {};
}

// The stamp may be one for all tables: then it has changed with what was written for the other
// family, and says nothing yet about ours.
Status Plane::restamp() {
  for (size_t i = 0; i < stamps_.size(); ++i) {
    if (!installed_rules_[i].empty()) continue;
    ASSIGN_OR_RETURN(stamps_[i], seams_.iptables.stamp(family_, wanted_rules_[i].table));
  }
  return {};
}

// The tool writes rules in a way of its own: what it said after our last writing is compared with.
Status Plane::audit_rules(dataplane::AuditReport& report) {
  bool touched = false;
  for (size_t i = 0; i < wanted_rules_.size(); ++i) {
    const TableRules& wanted = wanted_rules_[i];
    const size_t rules = wanted.size();
    report.checked += rules;
    uint64_t stamp = 0;
    ASSIGN_OR_RETURN(stamp, seams_.iptables.stamp(family_, wanted.table));
    if (stamp == stamps_[i] && !installed_rules_[i].empty()) continue;
    std::string saved;
    ASSIGN_OR_RETURN(saved, seams_.iptables.save(family_, wanted.table));
    std::string part = our_part(wanted, saved);
    const auto lines = static_cast<size_t>(std::count(part.begin(), part.end(), '\n'));
    if (installed_rules_[i].empty() && lines == rules) installed_rules_[i] = part;
    if (part == installed_rules_[i]) {
      stamps_[i] = stamp;
    } else {
      touched = true;
      ++report.repaired;
    }
  }
  return touched ? install_rules() : Status();
}

bool Plane::rules_touched() {
  for (size_t i = 0; i < stamps_.size(); ++i) {
    const Result<uint64_t> now = seams_.iptables.stamp(family_, wanted_rules_[i].table);
    if (now && *now != stamps_[i]) return true;
  }
  return false;
}

Result<uint32_t> Plane::mark_for(const ForwardingEntry& entry, const View& view) {
  const uint32_t limit = view.marks.limit();
  // An earlier run's, so that its connections stay with their server.
  for (const Frontend& frontend : entry.frontends) {
    SetElement element =
        SetElement::at(frontend.address.address, frontend.address.port, entry.key.protocol);
    if (frontend.kind == FrontendKind::kNodePort && !view.node_port_addresses.empty()) {
      element.address = view.node_port_addresses.front();
    }
    const uint32_t number = view.marks.number(sets_.present_mark(element));
    if (number < limit && number != 0 && marks_in_use_.insert(number).second) return number;
  }
  for (uint32_t tried = 1; tried < limit; ++tried) {
    const uint32_t number = next_mark_;
    next_mark_ = next_mark_ + 1 < limit ? next_mark_ + 1 : 1;
    if (marks_in_use_.insert(number).second) return number;
  }
  return Status::error(StatusCode::kExhausted, "choose a mark for", entry.key.to_string(),
                       "all " + std::to_string(limit - 1) + " marks are in use");
}

Result<Plane::Step> Plane::make_step(const Change& change, const View& old_view,
                                     const View& new_view) {
  Step step;
  step.key = *change.key;
  const auto known = records_.find(*change.key);
  if (known != records_.end()) {
    step.before = known->second;
    // It was rendered before: it can be again.
    ASSIGN_OR_RETURN(step.old_rendering, render(*step.before.entry, old_view,
                                                old_view.marks.mark(step.before.mark_number)));
  }
  step.after.entry = change.entry;
  if (change.entry == nullptr) return step;
  if (needs_mark(*change.entry)) {
    step.after.mark_number = step.before.mark_number;
    if (step.after.mark_number == 0) {
      Result<uint32_t> number = mark_for(*change.entry, new_view);
      if (number) {
        step.after.mark_number = *number;
      } else {
        step.refusal = number.status();
        return step;
      }
    }
  }
  Result<Rendering> rendering =
      render(*change.entry, new_view, new_view.marks.mark(step.after.mark_number));
  if (rendering) {
    step.new_rendering = std::move(*rendering);
  } else {
    step.refusal = rendering.status();
  }
  return step;
}

// Two entries cannot have one virtual server, nor can we and somebody else. An address may pass
// from one entry to another within the steps.
void Plane::refuse_conflicts(std::vector<Step>& steps) {
  for (bool again = true; again;) {
    again = false;
    boost::unordered_flat_set<ServerKey, ServerKeyHash> freed;
    boost::unordered_flat_map<ServerKey, size_t, ServerKeyHash> claims;
    for (const Step& step : steps) {
      if (!step.refusal) continue;
      for (const WantedServer& server : step.old_rendering.servers) freed.insert(server.key);
    }
    for (size_t i = 0; i < steps.size(); ++i) {
      Step& step = steps[i];
      if (!step.refusal) continue;
      for (const WantedServer& server : step.new_rendering.servers) {
        const auto [claim, is_new] = claims.try_emplace(server.key, i);
        const char* reason = nullptr;
        if (!is_new && claim->second != i) {
          reason = "another service has it";
        } else if (claimed_.contains(server.key) && !freed.contains(server.key)) {
          reason = "another service has it";
        } else if (servers_.foreign(server.key)) {
          reason = "there is a virtual server of somebody else";
        }
        if (reason == nullptr) continue;
        step.refusal = Status::error(StatusCode::kConflict, "serve", step.key.to_string(),
                                     server.key.to_string() + ": " + reason);
        again = true;  // what it would have freed is not free
        break;
      }
    }
  }
}

void Plane::take_wants(const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    if (!step.refusal) continue;
    for (const auto& [set, element] : step.new_rendering.elements) sets_.want(set, element);
    for (const auto& [set, element] : step.old_rendering.elements) sets_.unwant(set, element);
    for (const Address& address : step.new_rendering.addresses) addresses_.want(address);
    for (const Address& address : step.old_rendering.addresses) addresses_.unwant(address);
    for (const WantedServer& server : step.old_rendering.servers) claimed_.erase(server.key);
    if (step.after.entry != nullptr) {
      records_.insert_or_assign(step.key, step.after);
    } else {
      records_.erase(step.key);
    }
  }
  for (const Step& step : steps) {
    if (!step.refusal) continue;
    for (const WantedServer& server : step.new_rendering.servers) claimed_.insert(server.key);
  }
}

Status Plane::push(std::vector<Step>& steps, bool whole) {
  const std::vector<Address> touched = addresses_.take_touched();
  for (const Address& address : touched) {
    const bool target = addresses_.target(address);
    if (target == listed_.contains(address)) continue;
    if (target) {
      listed_.insert(address);
      sets_.want(SetId::kAddresses, SetElement::at(address));
    } else {
      listed_.erase(address);
      sets_.unwant(SetId::kAddresses, SetElement::at(address));
    }
  }

  std::vector<WantedServer> wanted;
  std::vector<ServerKey> gone;
  std::vector<Rendering> renderings;  // of everything, when everything is compared
  if (whole) {
    renderings.reserve(records_.size());
    for (const auto& [key, record] : records_) {
      Rendering rendering;
      ASSIGN_OR_RETURN(rendering,
                       render(*record.entry, view_, view_.marks.mark(record.mark_number)));
      wanted.insert(wanted.end(), rendering.servers.begin(), rendering.servers.end());
      renderings.push_back(std::move(rendering));
    }
    gone = take_leftovers(wanted);
  } else {
    for (const Step& step : steps) {
      if (!step.refusal) continue;
      wanted.insert(wanted.end(), step.new_rendering.servers.begin(),
                    step.new_rendering.servers.end());
      for (const WantedServer& server : step.old_rendering.servers) {
        if (!claimed_.contains(server.key)) gone.push_back(server.key);
      }
    }
  }

  std::vector<ElementFailure> elements;
  std::vector<ServerFailure> servers;
  std::vector<std::pair<Address, Status>> addresses;
  RETURN_IF_ERROR(sets_.push_added(elements));
  const auto here = std::partition(wanted.begin(), wanted.end(), [this](const auto& server) {
    const Address& address = server.key.address.address;
    return addresses_.target(address) && !addresses_.on_device(address);
  });
  const auto to_come = static_cast<size_t>(here - wanted.begin());
  RETURN_IF_ERROR(servers_.push(std::span(wanted).first(to_come), servers));
  RETURN_IF_ERROR(addresses_.push(touched, addresses));
  RETURN_IF_ERROR(servers_.push_removed(gone));
  // Before servers get endpoints elsewhere, their clients must not count as those of policy Local
  // any more; and when they have got their first one here, is time enough to let clients in.
  RETURN_IF_ERROR(sets_.push_removed_but(SetId::kNoLocal));
  RETURN_IF_ERROR(servers_.push(std::span(wanted).subspan(to_come), servers));
  RETURN_IF_ERROR(sets_.push_removed(SetId::kNoLocal));
  if (elements.empty() && servers.empty() && addresses.empty()) return {};

  size_t explained = 0;
  for (Step& step : steps) {
    if (!step.refusal) continue;
    const Rendering& to = step.new_rendering;
    for (const ElementFailure& failure : elements) {
      const bool its = std::any_of(to.elements.begin(), to.elements.end(), [&](const auto& each) {
        return each.first == failure.set && each.second == failure.element;
      });
      if (its) step.refusal = failure.status;
    }
    for (const ServerFailure& failure : servers) {
      const bool its = std::any_of(to.servers.begin(), to.servers.end(),
                                   [&](const auto& each) { return each.key == failure.server; });
      if (its) step.refusal = failure.status;
    }
    for (const auto& [address, status] : addresses) {
      if (std::binary_search(to.addresses.begin(), to.addresses.end(), address)) {
        step.refusal = status;
      }
    }
    explained += step.refusal ? 0 : 1;
  }
  // What no step explains was refused to an entry that stands: compare again later.
  astray_ |= explained == 0;
  return {};
}

Status Plane::run(std::vector<Step>& steps, bool whole, std::vector<Refusal>& refused) {
  refuse_conflicts(steps);
  for (Step& step : steps) {
    if (step.refusal) continue;
    refused.push_back({step.key, step.refusal});
    if (step.after.mark_number != step.before.mark_number) {
      marks_in_use_.erase(step.after.mark_number);
    }
  }
  std::erase_if(steps, [](const Step& step) { return !step.refusal; });
  take_wants(steps);
  if (const Status pushed = push(steps, whole); !pushed) {
    astray_ = true;  // the wants stand; the next run compares everything
    return pushed;
  }

  std::vector<Step> back;
  for (Step& step : steps) {
    const uint32_t before = step.before.mark_number;
    const uint32_t after = step.after.mark_number;
    const uint32_t unused = step.refusal ? before : after;
    if (before != after) marks_in_use_.erase(unused);
    if (step.refusal) continue;
    refused.push_back({step.key, step.refusal});
    Step undo;
    undo.key = step.key;
    undo.before = step.after;
    undo.after = step.before;
    undo.old_rendering = std::move(step.new_rendering);
    undo.new_rendering = std::move(step.old_rendering);
    back.push_back(std::move(undo));
  }
  if (back.empty()) return {};
  take_wants(back);
  const Status undone = push(back, false);
  const bool all =
      std::all_of(back.begin(), back.end(), [](const Step& step) { return step.refusal.ok(); });
  astray_ |= !undone || !all;
  return undone;
}

Status Plane::apply(const std::vector<Change>& changes, bool complete,
                    std::vector<Refusal>& refused) {
  const bool whole = complete || (complete_ && astray());
  if (astray()) RETURN_IF_ERROR(load());
  std::vector<Step> steps;
  steps.reserve(changes.size());
  for (const Change& change : changes) {
    Step step;
    ASSIGN_OR_RETURN(step, make_step(change, view_, view_));
    steps.push_back(std::move(step));
  }
  if (complete) {
    boost::unordered_flat_set<EntryKey, dataplane::EntryKeyHash> keep;
    for (const Change& change : changes) keep.insert(*change.key);
    for (const auto& [key, record] : records_) {
      if (keep.contains(key)) continue;
      Step step;
      ASSIGN_OR_RETURN(step, make_step({&key, nullptr}, view_, view_));
      steps.push_back(std::move(step));
    }
  }
  RETURN_IF_ERROR(run(steps, whole, refused));
  complete_ |= complete;
  if (complete_ && rules_due_) RETURN_IF_ERROR(install_rules());
  return {};
}

Status Plane::follow_node(bool whole, std::vector<Refusal>& refused) {
  View view = make_view();
  std::vector<Step> steps;
  if (view.node_port_addresses != view_.node_port_addresses) {
    for (const auto& [key, record] : records_) {
      if (!depends_on_node(*record.entry)) continue;
      Step step;
      ASSIGN_OR_RETURN(step, make_step({&key, record.entry}, view_, view));
      steps.push_back(std::move(step));
    }
  }
  view_ = std::move(view);
  if (steps.empty() && !whole) return {};
  return run(steps, whole, refused);
}

Status Plane::set_node_rules(const dataplane::NodeRules& rules, std::vector<Refusal>& refused) {
  rules_ = rules;
  std::vector<TableRules> wanted = wanted_rules(family_, rules_);
  if (wanted != wanted_rules_) {
    wanted_rules_ = std::move(wanted);
    if (!rules_due_) RETURN_IF_ERROR(install_rules());
  }
  return follow_node(false, refused);
}

Status Plane::audit(dataplane::AuditReport& report, std::vector<Refusal>& refused) {
  RETURN_IF_ERROR(sets_.create());
  const Status readable = rules_due_ ? Status() : audit_rules(report);
  if (!readable && readable.code() != StatusCode::kUnsupported) return readable;
  RETURN_IF_ERROR(load());
  if (!complete_) return readable;
  const uint64_t before = operations();
  RETURN_IF_ERROR(follow_node(true, refused));
  report.checked += sets_.size() + servers_.size() + servers_.destinations() + addresses_.size();
  report.repaired += operations() - before;
  return readable;
}

}  // namespace fairlead::ipvs
