// Who owns whom: what garbage collection knows of every object, and what it decides of it.
//
// Source: the rules of ownerReferences, finalizers "foregroundDeletion" and "orphan" in
// https://kubernetes.io/docs/concepts/architecture/garbage-collection.
//
// Threads: plain data; one owner.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/controllers/cluster.h"

namespace fairlead::controllers {

inline constexpr std::string_view kForegroundFinalizer = "foregroundDeletion";
inline constexpr std::string_view kOrphanFinalizer = "orphan";

struct OwnerReference {
  std::string api_version;
  std::string kind;
  std::string name;
  std::string uid;
  bool blocks = false;  // blockOwnerDeletion

  bool operator==(const OwnerReference&) const = default;
};

struct OwnedObject {
  Reference what;
  std::string uid;
  std::string revision;
  std::vector<OwnerReference> owners;
  bool terminating = false;
  bool foreground = false;  // has the finalizer
  bool orphan = false;      // has the finalizer

  // Waits, while terminating, for its dependents to go.
  bool waits_for_dependents() const { return terminating && foreground; }
};

OwnedObject owned_object(const schema::Resource& resource, const schema::Value& object);

// How the owner of an object stands.
enum class OwnerState : uint8_t {
  kPresent,
  kWaiting,       // it is there, and waits for its dependents
  kAbsent,        // never was, or is gone
  kUnknown,       // not seen: the server has to be asked
  kUnresolvable,  // the reference names a kind or a place that cannot be
};

struct Decision {
  enum class Act : uint8_t {
    kNothing,
    kAsk,               // about `owners`, whose state is unknown
    kRemove,            // with `propagation`
    kDropOwners,        // those of `owners` out of its ownerReferences
    kDropForeground,    // its dependents are gone
    kReleaseDependents  // orphan: take it out of its dependents' owners, then drop the finalizer
  };

  Act act = Act::kNothing;
  std::vector<OwnerReference> owners;
  Propagation propagation = Propagation::kBackground;
  std::set<std::string> look_at;  // uids whose turn it is now
};

class OwnerGraph {
 public:
  // Each returns the uids whose decision may be another now.
  std::set<std::string> put(OwnedObject object);
  std::set<std::string> erase(std::string_view uid);

  const OwnedObject* find(std::string_view uid) const;
  const std::set<std::string>& dependents(std::string_view uid) const;
  size_t size() const { return objects_.size(); }

  // `absent`: the server was asked, and there is none of this uid.
  OwnerState owner_state(const OwnedObject& object, const OwnerReference& owner,
                         const std::function<bool(std::string_view uid)>& absent) const;
  Decision decide(const OwnedObject& object,
                  const std::function<bool(std::string_view uid)>& absent) const;

 private:
  Decision decide_waiting(const OwnedObject& object) const;
  bool waits_in_turn_for(const OwnedObject& from, const OwnedObject& object) const;

  std::unordered_map<std::string, OwnedObject> objects_;
  std::unordered_map<std::string, std::set<std::string>> dependents_;  // by the owner's uid
};

}  // namespace fairlead::controllers
