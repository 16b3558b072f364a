// Cluster addresses and node ports of services: picked, checked and reserved.
//
// A reservation is a key in the store, made under the condition that it is absent, whose value
// names the service: servers that share a store cannot give out the same twice. A service holds its
// keys from before it is written until after it is gone; what a crash leaves between is the
// repair's (service_repair.h).
//
// Threads: any. The store and the pool must outlive it and its reservations.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/address_range.h"
#include "control/apiserver/hooks.h"
#include "control/apiserver/task.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

struct ServiceRanges {
  std::vector<AddressRange> addresses;  // one, or two of different families, preferred first
  int first_port = 30000;
  int last_port = 32767;

  // "10.96.0.0/16" or "10.96.0.0/16,fd00::/108"; "30000-32767".
  static Result<ServiceRanges> parse(std::string_view cidrs, std::string_view ports);
  const AddressRange* of_family(std::string_view family) const;
};

inline constexpr std::string_view kAddressKeys = "/reserved/services/addresses/";
inline constexpr std::string_view kPortKeys = "/reserved/services/ports/";

// The keys that a service holds.
std::vector<std::string> reservation_keys(const schema::Value& service);
// What their values say: "<namespace>/<name>/<uid>".
std::string reservation_owner(const schema::Value& service);

class ServiceReserver : public Reserver {
 public:
  ServiceReserver(store::Store& store, WorkerPool& pool, ServiceRanges ranges)
      : store_(store), pool_(pool), ranges_(std::move(ranges)) {}

  bool concerns(const schema::Resource& resource) const override {
    return resource.type_name == "core.v1.Service";
  }
  void reserve(Write& write,
               std::function<void(Outcome<std::unique_ptr<Reservation>>)> done) override;

 private:
  class Held;
  // kYes: it is this service's now, or would be.
  enum class Taken { kYes, kInUse };

  Task<Outcome<std::unique_ptr<Reservation>>> run(Write& write);
  Task<Outcome<Done0>> reserve_addresses(Write& write, Held& held);
  Task<Outcome<Done0>> reserve_ports(Write& write, Held& held);
  Task<Outcome<Done0>> reserve_port(Write& write, Held& held, std::string field, int port);
  Task<Outcome<int>> pick_port(const Write& write, Held& held);
  Task<Outcome<std::string>> pick_address(const Write& write, Held& held,
                                          const AddressRange& range);
  // Takes one of [first, first+count) at random, whose key is `key_of(index)`.
  Task<Outcome<int64_t>> pick(const Write& write, Held& held, std::string_view prefix,
                              const std::function<std::string(uint32_t)>& name_of, uint32_t first,
                              uint32_t count);
  Task<Outcome<Taken>> take(const Write& write, Held& held, std::string key);
  // Null when there is none.
  Task<Outcome<store::EntryPtr>> look(std::string key);
  // What settle() gives back, at the revisions of now.
  Task<Outcome<Done0>> note_unwanted(Held& held);

  store::Store& store_;
  WorkerPool& pool_;
  const ServiceRanges ranges_;
};

}  // namespace fairlead::apiserver
