#include "nftables/render.h"

#include <algorithm>
#include <array>

namespace fairlead::nftables {

using dataplane::Address;
using dataplane::Choice;
using dataplane::EmptyVerdict;
using dataplane::EndpointChoice;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::FrontendKind;
using dataplane::Route;
using dataplane::SocketAddress;
using dataplane::SourceClass;
using dataplane::Target;

Result<Policy> policy_of(const Frontend& frontend) {
  const Route& pod = frontend.route(SourceClass::kPod);
  const Route& node = frontend.route(SourceClass::kNode);
  const Route& other = frontend.route(SourceClass::kOther);
  if (pod.choice == node.choice && node.choice == other.choice &&
      node.masquerade == other.masquerade) {
    if (pod.masquerade == node.masquerade) return pod.masquerade ? Policy::kSnat : Policy::kPlain;
    if (node.masquerade) return Policy::kSnatOffPod;
  }
  const Route pods_everywhere{Choice::kCluster, false};
  const Route node_everywhere{Choice::kCluster, true};
  const Route others_here{Choice::kLocal, false};
  if (pod == pods_everywhere && node == node_everywhere && other == others_here) {
    return Policy::kSplit;
  }
  return Status::error(StatusCode::kInternal, "render", frontend.address.to_string(),
                       "no policy chain for these routes");
}

CheckClass check_of(const ForwardingEntry& entry, const Frontend& frontend) {
  CheckClass check;
  check.source_ranges = frontend.source_ranges_apply;
  for (size_t i = 0; i < dataplane::kSourceClassCount; ++i) {
    const EndpointChoice& choice = entry.choice(frontend.routes[i].choice);
    if (!choice.targets.empty()) continue;
    check.verdicts[i] = choice.when_empty == EmptyVerdict::kReject ? Check::kReject : Check::kDrop;
  }
  return check;
}

NeededSets needed_sets(const ForwardingEntry& entry) {
  NeededSets needed;
  for (const Frontend& frontend : entry.frontends) {
    const bool split =
        frontend.route(SourceClass::kPod).choice != frontend.route(SourceClass::kOther).choice;
    const bool uses_cluster = frontend.route(SourceClass::kPod).choice == Choice::kCluster;
    needed.cluster |= uses_cluster && !entry.cluster.targets.empty();
    needed.local |= !uses_cluster && !entry.local.targets.empty();
    needed.split_local |= split && !entry.local.targets.empty();
  }
  return needed;
}

InstalledSet arrange(const InstalledSet& before, const EndpointChoice& choice,
                     const PickClass& pick, const std::function<uint32_t()>& new_token) {
  InstalledSet after;
  after.number = before.number;
  after.pick = pick;
  after.slots = before.slots;
  const bool sticky = pick.affinity_seconds != 0;
  if (sticky) after.tokens = before.tokens;
  // A set that was not sticky, or was adopted without tokens, gets them now.
  while (sticky && after.tokens.size() < after.slots.size()) after.tokens.push_back(new_token());

  std::vector<SocketAddress> wanted;
  wanted.reserve(choice.targets.size());
  for (const Target& target : choice.targets) wanted.push_back(target.address);
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());

  std::vector<bool> placed(wanted.size(), false);
  std::vector<size_t> free_slots;
  for (size_t slot = 0; slot < after.slots.size(); ++slot) {
    const auto found = std::lower_bound(wanted.begin(), wanted.end(), after.slots[slot]);
    const auto index = static_cast<size_t>(found - wanted.begin());
    if (found != wanted.end() && *found == after.slots[slot] && !placed[index]) {
      placed[index] = true;
    } else {
      free_slots.push_back(slot);
    }
  }
  const auto put = [&](size_t slot, const SocketAddress& address, uint32_t token) {
    if (slot == after.slots.size()) {
      after.slots.push_back(address);
      if (sticky) after.tokens.push_back(token);
    } else {
      after.slots[slot] = address;
      if (sticky) after.tokens[slot] = token;
    }
  };
  auto next_free = free_slots.begin();
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (placed[i]) continue;
    const size_t slot = next_free != free_slots.end() ? *next_free++ : after.slots.size();
    put(slot, wanted[i], sticky ? new_token() : 0);
  }
  // Too many slots: fill the holes from the end, so that slots stay dense.
  std::vector<size_t> holes(next_free, free_slots.end());
  while (!holes.empty()) {
    const size_t last = after.slots.size() - 1;
    if (holes.back() == last) {
      holes.pop_back();
    } else {
      put(holes.front(), after.slots[last], sticky ? after.tokens[last] : 0);
      holes.erase(holes.begin());
    }
    after.slots.pop_back();
    if (sticky) after.tokens.pop_back();
  }
  after.pick.endpoints = static_cast<uint32_t>(after.slots.size());
  return after;
}

namespace {

void append_set(const InstalledSet& set, uint32_t class_number, std::vector<Element>& out) {
  out.push_back(
      ElementBuilder(SetId::kSetClass).number(set.number).to().number(class_number).build());
  for (uint32_t slot = 0; slot < set.slots.size(); ++slot) {
    const SocketAddress& target = set.slots[slot];
    out.push_back(ElementBuilder(SetId::kEndpoints)
                      .number(set.number)
                      .number(slot)
                      .to()
                      .address(target.address)
                      .port(target.port)
                      .build());
    if (set.tokens.empty()) continue;
    out.push_back(ElementBuilder(SetId::kStickySlots)
                      .number(set.number)
                      .number(slot)
                      .to()
                      .number(set.tokens[slot])
                      .build());
    out.push_back(ElementBuilder(SetId::kStickyEndpoints)
                      .number(set.number)
                      .number(set.tokens[slot])
                      .to()
                      .address(target.address)
                      .port(target.port)
                      .build());
  }
}

}  // namespace

std::vector<Element> elements_of(const Record& record,
                                 const std::function<uint32_t(const PickClass&)>& class_number) {
  const ForwardingEntry& entry = *record.entry;
  const dataplane::Protocol protocol = entry.key.protocol;
  std::vector<Element> elements;
  for (const Frontend& frontend : entry.frontends) {
    const auto numbered = [&](SetId map, uint32_t number) {
      elements.push_back(
          ElementBuilder(map).frontend(frontend, protocol).to().number(number).build());
    };
    const Policy policy = *policy_of(frontend);
    numbered(SetId::kServicePolicy, static_cast<uint32_t>(policy));
    const bool uses_cluster = frontend.route(SourceClass::kPod).choice == Choice::kCluster;
    if (const auto& set = uses_cluster ? record.cluster : record.local) {
      numbered(SetId::kServiceSet, set->number);
    }
    if (policy == Policy::kSplit && record.split_local) {
      numbered(SetId::kLocalSet, record.split_local->number);
    }
    const CheckClass check = check_of(entry, frontend);
    if (!check.passes_everything()) numbered(SetId::kChecks, check.number());
    if (!frontend.source_ranges_apply) continue;
    for (const dataplane::Prefix& range : entry.source_ranges) {
      elements.push_back(ElementBuilder(source_range_set(range.length()))
                             .frontend(frontend, protocol)
                             .address(range.base())
                             .build());
    }
  }
  for (const auto* set : {&record.cluster, &record.local, &record.split_local}) {
    if (*set) append_set(**set, class_number((*set)->pick), elements);
  }
  return elements;
}

std::vector<Address> cluster_ips_of(const ForwardingEntry& entry) {
  std::vector<Address> addresses;
  for (const Frontend& frontend : entry.frontends) {
    if (frontend.kind == FrontendKind::kClusterIp) addresses.push_back(frontend.address.address);
  }
  return addresses;
}

std::vector<Address> hairpin_addresses_of(const ForwardingEntry& entry) {
  std::vector<Address> addresses;
  for (const EndpointChoice* choice : {&entry.cluster, &entry.local}) {
    for (const Target& target : choice->targets) {
      if (target.maybe_local) addresses.push_back(target.address.address);
    }
  }
  return addresses;
}

Element cluster_ip_element(const Address& address) {
  return ElementBuilder(SetId::kClusterIps).address(address).build();
}

Element hairpin_element(const Address& address) {
  return ElementBuilder(SetId::kHairpin).address(address).address(address).build();
}

}  // namespace fairlead::nftables
