// What Fairlead keeps in nf_tables: the sets and maps of table `fairlead`, how their keys and data
// look as bytes, and the names of its chains. Written down once; docs/nftables.md shows it in use.
//
// There is one such table in each family. No chain and no rule belongs to a service: a service is a
// handful of elements, so the cost of a change is the change.
//
// Threads: values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/forwarding.h"
#include "nftables/wire.h"

namespace fairlead::nftables {

inline constexpr std::string_view kTable = "fairlead";
// Counted up when a set's type or meaning changes; a table of another version is replaced at start.
inline constexpr std::string_view kLayoutVersion = "layout-1";

// The sets and maps. A "frontend" is address . protocol . port, the address zero for a node port.
// "number" is a 32-bit value of nft's type classid, which passes through meta priority (see
// program.h).
enum class SetId : uint8_t {
  kServicePolicy,      // frontend -> number of a Policy
  kServiceSet,         // frontend -> number of an endpoint set
  kLocalSet,           // frontend -> the endpoint set of this node (Policy::kSplit)
  kSetClass,           // set -> number of a pick class
  kPolicies,           // policy -> goto its chain
  kClasses,            // pick class -> goto its chain
  kEndpoints,          // set . slot -> address . port
  kStickySlots,        // set . slot -> token
  kStickyEndpoints,    // set . token -> address . port
  kAffinity,           // source . set -> token; filled by packets, elements expire
  kChecks,             // frontend -> number of a check class
  kCheckClasses,       // check class -> goto its chain
  kClusterIps,         // address
  kHairpin,            // address . address, both the same
  kNodePortAddresses,  // address
  kPodPrefixes,        // interval of addresses
  kServicePrefixes,    // interval of addresses
  kCount,
};

// Which set an element is in. Source ranges need a set for each prefix length: numbers from kCount
// on.
using SetNumber = uint16_t;
constexpr SetNumber number_of(SetId id) {
  return static_cast<SetNumber>(id);
}
constexpr SetNumber source_range_set(uint8_t prefix_length) {
  return static_cast<SetNumber>(number_of(SetId::kCount) + prefix_length);
}

struct SetSpec {
  std::string name;
  std::string type;   // in nft's language: "ipv4_addr . inet_proto . inet_service : classid"
  std::string flags;  // "dynamic,timeout", "interval"
  uint8_t key_size = 0;
  uint8_t data_size = 0;  // 0 for sets and verdict maps

  bool is_map() const { return type.find(':') != std::string::npos; }
};
SetSpec describe_set(SetNumber set, dataplane::Family family);

// The sets whose elements stand for entries, source ranges apart.
std::vector<SetNumber> element_sets();

// One element. The arrays hold key_size and data_size bytes, the rest is zero.
struct Element {
  SetNumber set = 0;
  uint8_t key_size = 0;
  uint8_t data_size = 0;
  std::array<uint8_t, 40> key{};   // the longest: source range of IPv6
  std::array<uint8_t, 20> data{};  // the longest: IPv6 address . port

  ByteView key_bytes() const { return {key.data(), key_size}; }
  ByteView data_bytes() const { return {data.data(), data_size}; }
  friend auto operator<=>(const Element&, const Element&) = default;
};
static_assert(sizeof(Element) == 64);

// Orders by (set, key) alone: elements that cannot both be installed compare equal.
bool same_key(const Element& a, const Element& b);
bool key_less(const Element& a, const Element& b);

// Builds elements field by field.
class ElementBuilder {
 public:
  explicit ElementBuilder(SetNumber set) { element_.set = set; }
  explicit ElementBuilder(SetId set) : ElementBuilder(number_of(set)) {}

  ElementBuilder& address(const dataplane::Address& address);
  ElementBuilder& protocol(dataplane::Protocol protocol);
  ElementBuilder& port(uint16_t port);
  ElementBuilder& number(uint32_t number);
  ElementBuilder& frontend(const dataplane::Frontend& frontend, dataplane::Protocol protocol_value);
  ElementBuilder& to() {  // what follows is data
    in_data_ = true;
    return *this;
  }
  Element build() const { return element_; }

 private:
  void append(ByteView field);

  Element element_;
  bool in_data_ = false;
};

uint32_t read_number(ByteView register_bytes);  // 0 when too short

// Which field a frontend's address is taken from.
enum class KeySource : uint8_t { kDestination, kNodePort };

// What a frontend does with its traffic before a pick. The numbers are what kServicePolicy holds.
enum class Policy : uint32_t {
  kPlain = 1,       // the source stays
  kSnatOffPod = 2,  // sources that are not pods are masqueraded
  kSnat = 3,        // everybody is
  kSplit =
      4,  // pods as kPlain, the node as kSnat, everybody else to kLocalSet with the source kept
};
inline constexpr std::array<Policy, 4> kPolicies = {Policy::kPlain, Policy::kSnatOffPod,
                                                    Policy::kSnat, Policy::kSplit};
std::string_view chain_name(Policy policy);

// A way to choose an endpoint; every set has one, and each has a chain. The number of endpoints is
// a constant of the chain's rules, which makes the choice exactly even.
struct PickClass {
  bool local = false;  // the set is found through kLocalSet, not kServiceSet
  uint32_t endpoints = 0;
  uint32_t affinity_seconds = 0;  // 0: none

  std::string chain_name() const;  // "pick-5", "pick-3-local-sticky-10800"
  static std::optional<PickClass> parse(std::string_view chain_name);
  friend auto operator<=>(const PickClass&, const PickClass&) = default;
};

enum class Check : uint8_t { kPass, kReject, kDrop };

// What must be refused before any pick: by source ranges, then by the class of the source.
struct CheckClass {
  bool source_ranges = false;
  std::array<Check, dataplane::kSourceClassCount> verdicts{};  // indexed by SourceClass

  bool passes_everything() const { return *this == CheckClass{}; }
  uint32_t number() const;         // what kChecks holds; never 0
  std::string chain_name() const;  // "check-ranges-pod-pass-node-pass-other-drop"
  friend auto operator<=>(const CheckClass&, const CheckClass&) = default;
};
// All that compile() can ask for; each has a chain from the start.
std::vector<CheckClass> all_check_classes();

}  // namespace fairlead::nftables
