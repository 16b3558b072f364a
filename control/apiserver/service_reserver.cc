#include "control/apiserver/service_reserver.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <set>
#include <utility>

#include "control/apiserver/service_families.h"
#include "control/schema/conform.h"

namespace fairlead::apiserver {

namespace {

using schema::Value;

constexpr int kRandomTries = 16;  // before all reservations are looked at
constexpr int64_t kNoneFree = -1;

uint32_t random_index(uint32_t limit) {
  thread_local std::mt19937 source{std::random_device{}()};
  return std::uniform_int_distribution<uint32_t>(0, limit - 1)(source);
}

ApiError invalid_port(const Write& write, std::string field, int port, std::string_view why) {
  return invalid(*write.resource, write.name,
                 {{schema::FieldError::Type::kInvalid, std::move(field),
                   fmt::format("Invalid value: {}: {}", port, why)}});
}

ApiError invalid_address(const Write& write, const std::string& address, std::string_view why) {
  return invalid(*write.resource, write.name,
                 {{schema::FieldError::Type::kInvalid, "spec.clusterIPs",
                   fmt::format("Invalid value: [\"{}\"]: failed to allocate IP {}: {}", address,
                               address, why)}});
}

}  // namespace

class ServiceReserver::Held : public Reservation {
 public:
  Held(store::Store& store, const Write& write) : store_(store) {
    const Value* named = write.next ? &write.next->root : write.previous;
    owner_ = reservation_owner(*named);
    if (write.previous) before_ = reservation_keys(*write.previous);
  }

  // Removes at the revisions that were seen: what the service has taken again since stays.
  void settle(bool happened, std::function<void()> done) override {
    const auto& leaving = happened ? left_ : made_;
    auto waiting = std::make_shared<std::atomic<size_t>>(leaving.size() + 1);
    const auto one_less = [waiting, done = std::move(done)] {
      if (waiting->fetch_sub(1) == 1) done();
    };
    for (const auto& [key, revision] : leaving) {
      store_.remove(key, store::Expect::at(revision), [one_less](auto) { one_less(); });
    }
    one_less();
  }

  const std::string& owner() const { return owner_; }
  bool had(const std::string& key) const {
    return std::find(before_.begin(), before_.end(), key) != before_.end();
  }
  bool wants(const std::string& key) const {
    return std::find(wanted_.begin(), wanted_.end(), key) != wanted_.end();
  }
  void want(std::string key) { wanted_.push_back(std::move(key)); }
  void made(std::string key, store::Revision revision) {
    made_.emplace_back(std::move(key), revision);
  }

  void leaves(std::string key, store::Revision revision) {
    left_.emplace_back(std::move(key), revision);
  }
  // What the service had and wants no more.
  std::vector<std::string> unwanted() const {
    std::vector<std::string> keys;
    for (const std::string& key : before_) {
      if (!wants(key)) keys.push_back(key);
    }
    return keys;
  }

 private:
  using Places = std::vector<std::pair<std::string, store::Revision>>;

  store::Store& store_;
  std::string owner_;
  std::vector<std::string> before_;
  std::vector<std::string> wanted_;
  Places made_;  // for this write
  Places left_;  // by it
};

void ServiceReserver::reserve(Write& write,
                              std::function<void(Outcome<std::unique_ptr<Reservation>>)> done) {
  start<Outcome<std::unique_ptr<Reservation>>>(run(write), std::move(done));
}

Task<Outcome<ServiceReserver::Taken>> ServiceReserver::take(const Write& write, Held& held,
                                                            std::string key) {
  // Nothing is written for what the service has: where it got lost, the repair makes it anew.
  if (held.had(key) || held.wants(key)) {
    held.want(std::move(key));
    co_return Taken::kYes;
  }
  if (write.dry_run) {
    Outcome<store::EntryPtr> found = co_await look(key);
    if (!found) co_return found.error();
    if (*found && (*found)->value != held.owner()) co_return Taken::kInUse;
    held.want(std::move(key));
    co_return Taken::kYes;
  }
  store::Expect expect = store::Expect::absent();
  while (true) {
    StoreCall<Result<store::WriteOutcome>> put(pool_, [this, &key, &held, expect](auto done) {
      store_.put(key, held.owner(), expect, 0, std::move(done));
    });
    Result<store::WriteOutcome> outcome = co_await put;
    if (!outcome) co_return from_status(outcome.status());
    const store::EntryPtr& there = outcome->previous;
    if (outcome->applied) {
      // A key of its own may be wanted by another write to the same service that is on its way: it
      // stays when this one fails, and the repair gives it back when nobody wants it.
      if (there == nullptr) held.made(key, outcome->revision);
      held.want(std::move(key));
      co_return Taken::kYes;
    }
    if (there != nullptr && there->value != held.owner()) co_return Taken::kInUse;
    // Its own, from a write that has let go of it or is about to: taken again at a new revision, at
    // which that write does not remove it. Null: that write was just faster.
    expect = there ? store::Expect::at(there->mod_revision) : store::Expect::absent();
  }
}

Task<Outcome<store::EntryPtr>> ServiceReserver::look(std::string key) {
  StoreCall<Result<store::RangeResult>> call(pool_, [this, &key](auto done) {
    store::RangeRequest request;
    request.key = key;
    store_.range(std::move(request), std::move(done));
  });
  Result<store::RangeResult> found = co_await call;
  if (!found) co_return from_status(found.status());
  if (found->entries.empty()) co_return store::EntryPtr();
  co_return found->entries[0];
}

Task<Outcome<Done0>> ServiceReserver::note_unwanted(Held& held) {
  for (std::string& key : held.unwanted()) {
    Outcome<store::EntryPtr> found = co_await look(key);
    if (!found) co_return found.error();
    if (*found && (*found)->value == held.owner()) {
      held.leaves(std::move(key), (*found)->mod_revision);
    }
  }
  co_return Done0();
}

Task<Outcome<int64_t>> ServiceReserver::pick(const Write& write, Held& held,
                                             std::string_view prefix,
                                             const std::function<std::string(uint32_t)>& name_of,
                                             uint32_t first, uint32_t count) {
  if (count == 0) co_return kNoneFree;
  for (int attempt = 0; attempt < kRandomTries; ++attempt) {
    const uint32_t index = first + random_index(count);
    std::string key = std::string(prefix).append(name_of(index));
    if (held.had(key) || held.wants(key)) continue;
    Outcome<Taken> taken = co_await take(write, held, std::move(key));
    if (!taken) co_return taken.error();
    if (*taken == Taken::kYes) co_return int64_t{index};
  }
  // Crowded: look for a gap.
  StoreCall<Result<store::RangeResult>> look(pool_, [this, prefix](auto done) {
    store::RangeRequest request;
    request.key = prefix;
    request.end = store::prefix_end(prefix);
    store_.range(std::move(request), std::move(done));
  });
  Result<store::RangeResult> found = co_await look;
  if (!found) co_return from_status(found.status());
  std::set<std::string_view> used;
  for (const store::EntryPtr& entry : found->entries) used.insert(entry->key);
  const uint32_t offset = random_index(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t index = first + (offset + i) % count;
    std::string key = std::string(prefix).append(name_of(index));
    if (used.count(key) != 0 || held.had(key) || held.wants(key)) continue;
    Outcome<Taken> taken = co_await take(write, held, std::move(key));
    if (!taken) co_return taken.error();
    if (*taken == Taken::kYes) co_return int64_t{index};
  }
  co_return kNoneFree;
}

Task<Outcome<std::string>> ServiceReserver::pick_address(const Write& write, Held& held,
                                                         const AddressRange& range) {
  const std::function<std::string(uint32_t)> name_of = [&range](uint32_t index) {
    return range.address(index);
  };
  const std::pair<uint32_t, uint32_t> bands[] = {{range.band(), range.size() - range.band()},
                                                 {0, range.band()}};
  for (const auto& [first, count] : bands) {
    Outcome<int64_t> index = co_await pick(write, held, kAddressKeys, name_of, first, count);
    if (!index) co_return index.error();
    if (*index != kNoneFree) co_return range.address(static_cast<uint32_t>(*index));
  }
  co_return internal_error("failed to allocate a serviceIP: range is full");
}

Task<Outcome<int>> ServiceReserver::pick_port(const Write& write, Held& held) {
  const std::function<std::string(uint32_t)> name_of = [](uint32_t port) {
    return std::to_string(port);
  };
  const auto size = static_cast<uint32_t>(ranges_.last_port - ranges_.first_port + 1);
  // KEP-3668: the first ports are left to those who choose.
  const uint32_t band = size < 16 ? 0 : std::min<uint32_t>(128, std::max<uint32_t>(16, size / 32));
  const auto first = static_cast<uint32_t>(ranges_.first_port);
  const std::pair<uint32_t, uint32_t> bands[] = {{first + band, size - band}, {first, band}};
  for (const auto& [from, count] : bands) {
    Outcome<int64_t> port = co_await pick(write, held, kPortKeys, name_of, from, count);
    if (!port) co_return port.error();
    if (*port != kNoneFree) co_return static_cast<int>(*port);
  }
  co_return internal_error("failed to allocate a nodePort: range is full");
}

Task<Outcome<Done0>> ServiceReserver::reserve_addresses(Write& write, Held& held) {
  schema::Document& next = *write.next;
  Outcome<std::vector<std::string>> families = settle_families(write, ranges_);
  if (!families) co_return families.error();
  Value& spec = next.root.ensure(next.arena, "spec");
  if (families->empty() || spec.get("clusterIP").as_string() == "None") co_return Done0();
  std::vector<std::string> addresses;
  for (const Value& each : spec.get("clusterIPs").items()) {
    addresses.emplace_back(each.as_string());
  }
  addresses.resize(families->size());
  for (size_t i = 0; i < families->size(); ++i) {
    const AddressRange& range = *ranges_.of_family((*families)[i]);
    if (addresses[i].empty()) {
      Outcome<std::string> picked = co_await pick_address(write, held, range);
      if (!picked) co_return picked.error();
      addresses[i] = std::move(*picked);
      continue;
    }
    std::string key = std::string(kAddressKeys).append(canonical_address(addresses[i]));
    if (!held.had(key) && !range.index_of(addresses[i])) {
      co_return invalid_address(
          write, addresses[i],
          fmt::format("provided IP is not in the valid range. The range of valid IPs is {}",
                      range.text()));
    }
    Outcome<Taken> taken = co_await take(write, held, std::move(key));
    if (!taken) co_return taken.error();
    if (*taken == Taken::kInUse) {
      co_return invalid_address(write, addresses[i], "provided IP is already allocated");
    }
  }
  Value list = Value::array();
  for (const std::string& each : addresses) {
    list.push(next.arena, Value::string(next.arena.copy(each)));
  }
  spec.set(next.arena, "clusterIP", Value::string(next.arena.copy(addresses[0])));
  spec.set(next.arena, "clusterIPs", list);
  co_return Done0();
}

Task<Outcome<Done0>> ServiceReserver::reserve_port(Write& write, Held& held, std::string field,
                                                   int port) {
  std::string key = std::string(kPortKeys).append(std::to_string(port));
  if (!held.had(key) && (port < ranges_.first_port || port > ranges_.last_port)) {
    co_return invalid_port(write, std::move(field), port,
                           fmt::format("provided port is not in the valid range. The range of "
                                       "valid ports is {}-{}",
                                       ranges_.first_port, ranges_.last_port));
  }
  Outcome<Taken> taken = co_await take(write, held, std::move(key));
  if (!taken) co_return taken.error();
  if (*taken == Taken::kInUse) {
    co_return invalid_port(write, std::move(field), port, "provided port is already allocated");
  }
  co_return Done0();
}

Task<Outcome<Done0>> ServiceReserver::reserve_ports(Write& write, Held& held) {
  schema::Document& next = *write.next;
  Value& spec = next.root.ensure(next.arena, "spec");
  const bool balanced = spec.get("type").as_string() == "LoadBalancer";
  const Value& allocate = spec.get("allocateLoadBalancerNodePorts");
  const bool wants = spec.get("type").as_string() == "NodePort" ||
                     (balanced && (allocate.is_null() || allocate.as_bool()));
  Value* ports = spec.find("ports");
  const std::span<Value> items = ports ? ports->items() : std::span<Value>();
  // What was chosen first, so that nothing picked is in its way.
  for (size_t i = 0; i < items.size(); ++i) {
    const int port = static_cast<int>(items[i].get("nodePort").as_int());
    if (port == 0) continue;
    Outcome<Done0> reserved =
        co_await reserve_port(write, held, fmt::format("spec.ports[{}].nodePort", i), port);
    if (!reserved) co_return reserved.error();
  }
  for (size_t i = 0; wants && i < items.size(); ++i) {
    if (items[i].get("nodePort").as_int() != 0) continue;
    int64_t port = 0;
    // One number serves both protocols of one port.
    for (size_t j = 0; j < items.size(); ++j) {
      if (i != j && items[j].get("port") == items[i].get("port") &&
          !(items[j].get("protocol") == items[i].get("protocol"))) {
        port = std::max(port, items[j].get("nodePort").as_int());
      }
    }
    if (port == 0) {
      Outcome<int> picked = co_await pick_port(write, held);
      if (!picked) co_return picked.error();
      port = *picked;
    }
    items[i].set(next.arena, "nodePort", Value::integer(port));
  }
  if (balanced && spec.get("externalTrafficPolicy").as_string() == "Local") {
    const int port = static_cast<int>(spec.get("healthCheckNodePort").as_int());
    if (port != 0) {
      co_return co_await reserve_port(write, held, "spec.healthCheckNodePort", port);
    }
    Outcome<int> picked = co_await pick_port(write, held);
    if (!picked) co_return picked.error();
    spec.set(next.arena, "healthCheckNodePort", Value::integer(*picked));
  }
  co_return Done0();
}

Task<Outcome<std::unique_ptr<Reservation>>> ServiceReserver::run(Write& write) {
  auto held = std::make_unique<Held>(store_, write);
  Outcome<Done0> done = Done0();
  if (write.operation != Operation::kDelete) {
    Outcome<Done0> reserved = co_await reserve_addresses(write, *held);
    if (reserved) {
      Outcome<Done0> ports = co_await reserve_ports(write, *held);
      reserved = std::move(ports);
    }
    done = std::move(reserved);
    if (done) schema::sort_deep(write.next->root);
  }
  if (done && !write.dry_run) {
    Outcome<Done0> noted = co_await note_unwanted(*held);
    done = std::move(noted);
  }
  if (!done) {
    Held* failed = held.get();
    StoreCall<Done0> settled(pool_, [failed](auto finished) {
      failed->settle(false, [finished] { finished(Done0()); });
    });
    co_await settled;
    co_return done.error();
  }
  std::unique_ptr<Reservation> made = std::move(held);
  co_return made;
}

}  // namespace fairlead::apiserver
