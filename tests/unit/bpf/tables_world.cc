#include "tables_world.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <set>

namespace fairlead::bpf::testing {

using dataplane::Ack;
using dataplane::Address;
using dataplane::Delta;
using dataplane::EntryKey;
using dataplane::EntryPointer;
using dataplane::Family;
using dataplane::ForwardingEntry;
using dataplane::Frontend;
using dataplane::Protocol;
using dataplane::SourceClass;

namespace {

Address address_of(const std::string& text) {
  const std::optional<Address> address = Address::parse(text);
  EXPECT_TRUE(address) << text;
  return address.value_or(Address());
}

dataplane::SocketAddress socket_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  return {address_of(host), static_cast<uint16_t>(std::stoi(text.substr(colon + 1)))};
}

fl_frontend_key key_of(const Frontend& frontend, Protocol protocol) {
  return {to_wire(frontend.address.address), to_network(frontend.address.port),
          static_cast<fl_u8>(protocol), 0};
}

}  // namespace

Spec spec(const std::string& name, int n) {
  Spec spec;
  spec.service.name = {"default", name};
  spec.service.cluster_ips = {address_of("10.96.0." + std::to_string(n))};
  spec.service.ports = {{"", Protocol::kTcp, 80, 0}};
  return spec;
}
Spec& Spec::endpoints(std::vector<int> list) {
  targets = std::move(list);
  return *this;
}
Spec& Spec::here(std::vector<int> list) {
  local_targets = std::move(list);
  return *this;
}
Spec& Spec::udp() {
  for (dataplane::ServicePort& port : service.ports) port.protocol = Protocol::kUdp;
  return *this;
}
Spec& Spec::dual() {
  const std::string v4 = service.cluster_ips.front().to_string();
  service.cluster_ips.push_back(address_of("fd00:96::" + v4.substr(v4.rfind('.') + 1)));
  return *this;
}
Spec& Spec::node_port(uint16_t port) {
  service.ports[0].node_port = port;
  return *this;
}
Spec& Spec::external(int i) {
  service.external_ips.push_back(address_of("203.0.113." + std::to_string(i)));
  return *this;
}
Spec& Spec::load_balancer(int i) {
  service.load_balancer_ips.push_back(address_of("198.51.100." + std::to_string(i)));
  return *this;
}
Spec& Spec::ranges(const std::vector<std::string>& list) {
  for (const std::string& text : list) {
    service.source_ranges.push_back(*dataplane::Prefix::parse(text));
  }
  return *this;
}
Spec& Spec::affinity(uint32_t seconds) {
  service.affinity_seconds = seconds;
  return *this;
}
Spec& Spec::internal_local() {
  service.internal_traffic_local = true;
  return *this;
}
Spec& Spec::external_local() {
  service.external_traffic_local = true;
  return *this;
}
Spec& Spec::all_masqueraded() {
  masquerade_all = true;
  return *this;
}
Spec& Spec::created(int64_t when) {
  service.created_at = when;
  return *this;
}
Spec& Spec::port_count(int count) {
  service.ports.clear();
  for (int i = 0; i < count; ++i) {
    service.ports.push_back(
        {"p" + std::to_string(i), Protocol::kTcp, static_cast<uint16_t>(80 + i), 0});
  }
  return *this;
}

World::World(Capacity capacity) : kernel(capacity) {
  adopt();
}

void World::adopt() {
  complete_next = true;
  seen_endpoints_.clear();
  seen_slots_.clear();
  seen_entries_.clear();
  maps = std::make_unique<FakeTableMaps>(kernel);
  maps->before_call = [this] { expect_sound(); };
  tables = std::make_unique<Tables>(*maps);
  const Status adopted = tables->adopt();
  EXPECT_TRUE(adopted) << adopted.message();
}

void World::put(const Spec& spec) {
  std::vector<dataplane::EndpointGroup> groups;
  for (const dataplane::ServicePort& port : spec.service.ports) {
    for (const Family family : {Family::kIPv4, Family::kIPv6}) {
      dataplane::EndpointGroup group{port.name, port.protocol, family, {}};
      for (const int i : spec.targets) {
        dataplane::Endpoint endpoint;
        const std::string prefix = family == Family::kIPv4 ? "10.1.0." : "fd00:1::";
        endpoint.target = {address_of(prefix + std::to_string(i)), 8080};
        endpoint.local = std::find(spec.local_targets.begin(), spec.local_targets.end(), i) !=
                         spec.local_targets.end();
        group.endpoints.push_back(endpoint);
      }
      groups.push_back(std::move(group));
    }
  }
  dataplane::CompileView view;
  view.families = {Family::kIPv4, Family::kIPv6};
  view.masquerade_all = spec.masquerade_all;
  table.replace(spec.service.name, dataplane::compile(spec.service, groups, view));
}

void World::remove(const std::string& name) {
  table.replace({"default", name}, {});
}

std::string World::restart() {
  adopt();
  return apply();
}

std::string World::apply() {
  if (complete_next) table.forget_acknowledged();
  Delta delta = table.pending();
  delta.complete = complete_next;
  delta.generation = ++generation_;
  const Result<Ack> ack = tables->apply(delta);
  EXPECT_TRUE(ack) << ack.status().message();
  if (!ack) return ack.status().message();
  EXPECT_EQ(ack->generation, generation_);
  operations = ack->operations;
  complete_next = false;
  acknowledge(delta, *ack);
  observe();
  observe_entries();
  std::string text;
  for (const auto& [key, reason] : ack->refused) {
    text += key.to_string() + ": " + std::string(to_string(reason.code())) + " " + reason.detail() +
            "\n";
  }
  return text;
}

// An entry that was refused is as before, but for addresses that passed to another one.
void World::acknowledge(const Delta& delta, const Ack& ack) {
  std::set<EntryKey> refused;
  std::vector<EntryKey> refused_keys;
  for (const dataplane::Refusal& refusal : ack.refused) {
    EXPECT_TRUE(refused.insert(refusal.key).second) << "refused twice";
    refused_keys.push_back(refusal.key);
  }
  if (delta.complete) {
    std::set<EntryKey> wanted;
    for (const EntryPointer& entry : delta.upserted) wanted.insert(entry->key);
    std::erase_if(model, [&](const auto& item) {
      return !wanted.contains(item.first) && !refused.contains(item.first);
    });
  }
  for (const EntryKey& key : delta.removed) {
    if (!refused.contains(key)) model.erase(key);
  }
  for (const EntryPointer& entry : delta.upserted) {
    if (!refused.contains(entry->key)) model[entry->key] = entry;
  }
  bool passed_on = false;
  for (auto& item : model) {
    const EntryKey& key = item.first;
    EntryPointer& entry = item.second;
    if (!refused.contains(key)) continue;
    auto left = std::make_shared<ForwardingEntry>(*entry);
    passed_on |=
        0 < std::erase_if(left->frontends, [&](const Frontend& frontend) {
          return std::any_of(delta.upserted.begin(), delta.upserted.end(), [&](const auto& other) {
            return other->key != key && !refused.contains(other->key) &&
                   other->key.protocol == key.protocol &&
                   std::any_of(other->frontends.begin(), other->frontends.end(),
                               [&](const Frontend& f) { return f.address == frontend.address; });
          });
        });
    entry = std::move(left);
  }
  table.acknowledge(delta, refused_keys);
  if (refused.empty()) {
    exact_ = true;
  } else if (delta.complete || passed_on) {
    exact_ = false;
  }
}

Answer World::ask(const std::string& address, Protocol protocol, SourceClass source) const {
  return testing::ask(kernel, socket_address(address), protocol, source);
}

uint32_t World::index_of(const std::string& target) const {
  const dataplane::SocketAddress wanted = socket_address(target);
  for (uint32_t i = 1; i < kernel.endpoints.size(); ++i) {
    const fl_endpoint& endpoint = kernel.endpoints[i];
    if ((endpoint.flags & (FL_ENDPOINT_CLUSTER | FL_ENDPOINT_LOCAL)) != 0 &&
        from_wire(endpoint.address) == wanted.address && to_network(endpoint.port) == wanted.port) {
      return i;
    }
  }
  return 0;
}

uint32_t World::entry_of(const std::string& address) const {
  const dataplane::SocketAddress wanted = socket_address(address);
  const auto found =
      kernel.frontends.find({to_wire(wanted.address), to_network(wanted.port), IPPROTO_TCP, 0});
  return found == kernel.frontends.end() ? 0 : found->second.entry;
}

uint64_t World::used(std::string_view map) const {
  for (const Use& use : tables->uses()) {
    if (use.map == map) return use.used;
  }
  ADD_FAILURE() << "no use of " << map;
  return 0;
}

void World::audit(uint64_t repaired) {
  const Result<dataplane::AuditReport> report = tables->audit();
  ASSERT_TRUE(report) << report.status().message();
  EXPECT_EQ(report->repaired, repaired);
}

void World::expect_answers(const ForwardingEntry& entry) {
  for (const Frontend& frontend : entry.frontends) {
    const std::string what = entry.key.to_string() + " " + frontend.address.to_string();
    for (const SourceClass source : {SourceClass::kPod, SourceClass::kNode, SourceClass::kOther}) {
      const Answer answer = testing::ask(kernel, frontend.address, entry.key.protocol, source);
      const dataplane::Route& route = frontend.route(source);
      const dataplane::EndpointChoice& choice = entry.choice(route.choice);
      ASSERT_NE(answer.kind, Answer::kBroken) << what << ": " << answer.broken;
      std::set<std::string> wanted;
      for (const dataplane::Target& target : choice.targets) wanted.insert(describe(target));
      std::set<std::string> got;
      uint32_t least = UINT32_MAX;
      uint32_t most = 0;
      for (const auto& [target, slots] : answer.targets) {
        got.insert(target);
        least = std::min(least, slots);
        most = std::max(most, slots);
      }
      ASSERT_EQ(got, wanted) << what;
      EXPECT_LE(most, got.empty() ? 0 : least + 1) << what;
      if (wanted.empty()) {
        EXPECT_EQ(answer.kind == Answer::kDrop, choice.when_empty == dataplane::EmptyVerdict::kDrop)
            << what;
      }
      EXPECT_EQ(answer.masquerade, route.masquerade) << what;
      EXPECT_EQ(answer.affinity_seconds, entry.affinity_seconds) << what;
      EXPECT_EQ(answer.restricted, frontend.source_ranges_apply) << what;
      EXPECT_EQ(answer.skip_pods, frontend.kind == dataplane::FrontendKind::kClusterIp &&
                                      frontend.route(SourceClass::kPod).masquerade)
          << what;
    }
  }
}

void World::expect_served() {
  if (!exact_) return expect_sound();
  std::set<fl_frontend_key, BytesLess<fl_frontend_key>> wanted;
  std::set<fl_prefix_key, BytesLess<fl_prefix_key>> prefixes;
  std::set<uint32_t> ids;
  std::set<uint32_t> entries;
  std::map<uint32_t, EntryKey> endpoints;
  std::map<uint32_t, std::pair<uint32_t, EntryKey>> runs;  // by offset
  for (const auto& [key, entry] : model) {
    if (entry->frontends.empty()) continue;
    expect_answers(*entry);
    uint32_t index = 0;
    for (const Frontend& frontend : entry->frontends) {
      const fl_frontend_key frontend_key = key_of(frontend, key.protocol);
      wanted.insert(frontend_key);
      if (frontend.kind == dataplane::FrontendKind::kClusterIp) {
        wanted.insert({frontend_key.address, 0, 0, 0});
      }
      const auto found = kernel.frontends.find(frontend_key);
      ASSERT_NE(found, kernel.frontends.end());
      EXPECT_EQ(found->second.kind, static_cast<int>(frontend.kind));
      EXPECT_TRUE(ids.insert(found->second.id).second) << "an id twice";
      EXPECT_LT(found->second.id, kernel.config.next_frontend_id);
      EXPECT_TRUE(index == 0 || index == found->second.entry) << "two indexes for one entry";
      index = found->second.entry;
    }
    EXPECT_TRUE(entries.insert(index).second) << "an entry's index twice";
    const fl_entry& memory = kernel.entries[index];
    for (int c = 0; c < FL_CHOICES; ++c) {
      const uint64_t ring = memory.ring[c];
      if (FL_RING_SIZE(ring) == 0 || (c == 1 && ring == memory.ring[0])) continue;
      EXPECT_TRUE(runs.emplace(FL_RING_OFFSET(ring), std::pair(FL_RING_SIZE(ring), key)).second);
      for (uint32_t s = 0; s < FL_RING_SIZE(ring); ++s) {
        const uint32_t endpoint = kernel.ring_slots[FL_RING_OFFSET(ring) + s];
        const auto [place, inserted] = endpoints.emplace(endpoint, key);
        EXPECT_EQ(place->second, key) << "an endpoint of two entries";
      }
    }
    for (const dataplane::Prefix& range : entry->source_ranges) {
      const uint32_t bits = range.length() + (range.base().is_v4() ? 96U : 0U) + 32;
      prefixes.insert({bits, __builtin_bswap32(index), to_wire(range.base())});
    }
  }
  uint64_t slots = 0;
  uint64_t end = 1;
  for (const auto& [offset, run] : runs) {
    EXPECT_GE(offset, end) << "runs overlap";
    end = uint64_t{offset} + run.first;
    slots += run.first;
  }
  std::set<fl_frontend_key, BytesLess<fl_frontend_key>> present;
  for (const auto& [key, value] : kernel.frontends) present.insert(key);
  EXPECT_EQ(present.size(), wanted.size());
  EXPECT_TRUE(
      std::equal(present.begin(), present.end(), wanted.begin(), wanted.end(),
                 [](const auto& a, const auto& b) { return std::memcmp(&a, &b, sizeof a) == 0; }))
      << "other frontends than wanted";
  EXPECT_EQ(kernel.prefixes.size(), prefixes.size());
  for (const fl_prefix_key& key : prefixes) EXPECT_TRUE(kernel.prefixes.contains(key));
  size_t live_endpoints = 0;
  for (const fl_endpoint& endpoint : std::span(kernel.endpoints).subspan(1)) {
    if ((endpoint.flags & (FL_ENDPOINT_CLUSTER | FL_ENDPOINT_LOCAL)) != 0) ++live_endpoints;
  }
  EXPECT_EQ(live_endpoints, endpoints.size()) << "an endpoint that nobody names";
  EXPECT_EQ(used("fl_frontends"), kernel.frontends.size());
  EXPECT_EQ(used("fl_entries"), entries.size());
  EXPECT_EQ(used("fl_endpoints"), endpoints.size());
  EXPECT_EQ(used("fl_rings"), slots);
  EXPECT_EQ(used("fl_prefixes"), prefixes.size());
}

void World::expect_sound() {
  observe();
  if (lenient) return;
  for (const auto& [key, value] : kernel.frontends) {
    if (key.port == 0) continue;
    const dataplane::SocketAddress address{from_wire(key.address), to_network(key.port)};
    for (const SourceClass source : {SourceClass::kPod, SourceClass::kOther}) {
      const Answer answer =
          testing::ask(kernel, address, static_cast<Protocol>(key.protocol), source);
      EXPECT_NE(answer.kind, Answer::kBroken) << address.to_string() << ": " << answer.broken;
    }
  }
}

// What was in use at the last look and is something else now must have been waited for.
void World::observe() {
  const int waits = maps->waits;
  for (uint32_t i = 1; i < kernel.endpoints.size(); ++i) {
    const fl_endpoint& endpoint = kernel.endpoints[i];
    const auto seen = seen_endpoints_.find(i);
    if (seen != seen_endpoints_.end() && seen->second.first == waits) {
      EXPECT_EQ(seen->second.second, endpoint.generation) << "endpoint " << i << " used again";
    }
    if (endpoint.flags != 0) seen_endpoints_[i] = {waits, endpoint.generation};
  }
  for (const auto& [slot, seen] : seen_slots_) {
    if (seen.first != waits) continue;
    EXPECT_EQ(seen.second, kernel.ring_slots[slot]) << "slot " << slot << " used again";
  }
  for (const auto& [key, value] : kernel.frontends) {
    if (key.port == 0 || value.entry >= kernel.entries.size()) continue;
    for (const uint64_t ring : kernel.entries[value.entry].ring) {
      const uint64_t end = uint64_t{FL_RING_OFFSET(ring)} + FL_RING_SIZE(ring);
      for (uint64_t s = FL_RING_OFFSET(ring); s < end && s < kernel.ring_slots.size(); ++s) {
        seen_slots_[static_cast<uint32_t>(s)] = {waits, kernel.ring_slots[s]};
      }
    }
  }
}

void World::observe_entries() {
  if (!exact_) return seen_entries_.clear();
  const int waits = maps->waits;
  for (const auto& [key, entry] : model) {
    for (const Frontend& frontend : entry->frontends) {
      const auto found = kernel.frontends.find(key_of(frontend, key.protocol));
      if (found == kernel.frontends.end()) continue;
      const auto seen = seen_entries_.find(found->second.entry);
      if (seen != seen_entries_.end() && seen->second.first == waits) {
        EXPECT_EQ(seen->second.second, key) << "entry " << found->second.entry << " used again";
      }
      seen_entries_[found->second.entry] = {waits, key};
      break;
    }
  }
}

}  // namespace fairlead::bpf::testing
