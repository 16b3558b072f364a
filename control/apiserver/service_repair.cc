#include "control/apiserver/service_repair.h"

#include <utility>

#include "control/apiserver/codec.h"

namespace fairlead::apiserver {

void ServiceRepair::run(std::function<void(Result<RepairReport>)> done) {
  pool_.post([this, done = std::move(done)] { start<Result<RepairReport>>(repair(), done); });
}

StoreCall<Result<store::RangeResult>> ServiceRepair::all_below(std::string prefix) {
  return StoreCall<Result<store::RangeResult>>(pool_,
                                               [this, prefix = std::move(prefix)](auto done) {
                                                 store::RangeRequest request;
                                                 request.key = prefix;
                                                 request.end = store::prefix_end(prefix);
                                                 store_.range(std::move(request), std::move(done));
                                               });
}

Task<Result<RepairReport>> ServiceRepair::repair() {
  RepairReport report;
  // Reservations first: one that is made after this is not seen, its service may be.
  Result<store::RangeResult> addresses = co_await all_below(std::string(kAddressKeys));
  if (!addresses) co_return addresses.status();
  Result<store::RangeResult> ports = co_await all_below(std::string(kPortKeys));
  if (!ports) co_return ports.status();
  const schema::Resource& resource = *schema::find_resource("", "v1", "services");
  Result<store::RangeResult> services = co_await all_below(resource_prefix(resource));
  if (!services) co_return services.status();

  std::map<std::string, store::EntryPtr> held;
  for (const store::RangeResult* result : {&*addresses, &*ports}) {
    for (const store::EntryPtr& entry : result->entries) held.emplace(entry->key, entry);
  }
  std::map<std::string, std::vector<std::string>> wanted;  // key to owners
  for (const store::EntryPtr& entry : services->entries) {
    const schema::Document service = decode_stored(*entry, entry->mod_revision, resource);
    const std::string owner = reservation_owner(service.root);
    for (std::string& key : reservation_keys(service.root)) {
      wanted[std::move(key)].push_back(owner);
    }
  }

  for (const auto& [key, owners] : wanted) {
    if (owners.size() > 1) {
      std::string conflict = key + ":";
      for (const std::string& owner : owners) conflict += " " + owner;
      report.conflicts.push_back(std::move(conflict));
    }
    const auto found = held.find(key);
    store::Expect expect = store::Expect::absent();
    if (found != held.end()) {
      bool right = false;
      for (const std::string& owner : owners) right |= owner == found->second->value;
      if (right) continue;
      expect = store::Expect::at(found->second->mod_revision);
    }
    const std::string& place = key;
    const std::string& owner = owners.front();
    StoreCall<Result<store::WriteOutcome>> put(pool_, [this, place, owner, expect](auto done) {
      store_.put(place, owner, expect, 0, std::move(done));
    });
    Result<store::WriteOutcome> outcome = co_await put;
    if (!outcome) co_return outcome.status();
    if (outcome->applied) ++report.made;
  }

  const int64_t now = clock_();
  std::map<std::pair<std::string, store::Revision>, int64_t> leaks;
  for (const auto& [key, entry] : held) {
    if (wanted.count(key) != 0) continue;
    const auto id = std::pair(key, entry->mod_revision);
    const auto known = leaks_.find(id);
    const int64_t since = known == leaks_.end() ? now : known->second;
    if (now - since < kGraceSeconds) {
      leaks.emplace(id, since);
      continue;
    }
    const store::Revision revision = entry->mod_revision;
    const std::string& place = key;
    StoreCall<Result<store::WriteOutcome>> removal(pool_, [this, place, revision](auto done) {
      store_.remove(place, store::Expect::at(revision), std::move(done));
    });
    Result<store::WriteOutcome> outcome = co_await removal;
    if (!outcome) co_return outcome.status();
    if (outcome->applied) ++report.given_back;
  }
  leaks_ = std::move(leaks);
  co_return report;
}

}  // namespace fairlead::apiserver
