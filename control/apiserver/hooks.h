// What the registry asks on the way of a write, and who may answer: admission ("may it be so") and
// reservations (cluster addresses, node ports). Both stand between transport and storage; a further
// rule is one more object in a list.
//
// Threads: called on worker threads; completions may come on any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/api_error.h"
#include "control/auth/user.h"
#include "control/schema/resources.h"
#include "control/schema/value.h"

namespace fairlead::apiserver {

enum class Operation { kCreate, kUpdate, kDelete };

// One write on its way. `next` is null for deletions, `previous` for creations.
struct Write {
  Operation operation = Operation::kCreate;
  const schema::Resource* resource = nullptr;
  std::string_view subresource;
  std::string_view space;
  std::string_view name;
  const auth::User* user = nullptr;
  bool dry_run = false;
  schema::Document* next = nullptr;  // admission may change it
  const schema::Value* previous = nullptr;
  std::vector<std::string>* warnings = nullptr;
};

class Admission {
 public:
  virtual ~Admission() = default;
  // Called before validation. Changes `write.next` or refuses. `write` lives until `done` was
  // called, exactly once.
  virtual void admit(Write& write, std::function<void(Outcome<Done0>)> done) = 0;
};

// What was reserved for a write that has not happened yet.
class Reservation {
 public:
  virtual ~Reservation() = default;
  // The write happened or did not: keeps what it needs, gives back what it does not, and what the
  // previous object held and the next does not; then calls `done`, until which it must live. Called
  // once; not at all when nobody can know whether the write happened: what is reserved stays then.
  virtual void settle(bool happened, std::function<void()> done) = 0;
};

class Reserver {
 public:
  virtual ~Reserver() = default;
  // The rows that it wants to see.
  virtual bool concerns(const schema::Resource& resource) const = 0;
  // Called after admission and validation, so that what is refused costs no reservation; not with
  // dry runs' effects: with `write.dry_run` it picks without holding. Deletions are shown to it
  // when the object is about to leave the store. The reservation may be null when there is nothing
  // to settle.
  virtual void reserve(Write& write,
                       std::function<void(Outcome<std::unique_ptr<Reservation>>)> done) = 0;
};

struct Hooks {
  std::vector<std::unique_ptr<Admission>> admission;  // asked in order
  std::vector<std::unique_ptr<Reserver>> reservers;
};

}  // namespace fairlead::apiserver
