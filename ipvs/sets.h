// IP sets: what the few rules of this mode look up. Through libipset.
//
// An interface, so that tests can refuse. The real one speaks to the network namespace of the
// thread that opened it.
//
// Threads: one owner.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"

namespace fairlead::ipvs {

enum class SetType : uint8_t { kHashIp, kHashIpPort, kHashIpPortIp, kHashIpPortNet, kBitmapPort };
std::string_view to_string(SetType type);  // "hash:ip,port", as ipset has it

struct SetSpec {
  std::string name;
  SetType type = SetType::kHashIp;
  dataplane::Family family = dataplane::Family::kIPv4;
  bool marks = false;  // each element carries a packet mark (skbinfo)
};

// What an element has depends on the set's type; the rest keeps its default.
struct SetElement {
  dataplane::Address address;
  uint16_t port = 0;
  dataplane::Protocol protocol = dataplane::Protocol::kTcp;
  uint8_t length = 0;         // of the prefix that `second` is, in a ...,net
  dataplane::Address second;  // the source, in a ...,ip and ...,net
  uint32_t mark = 0;

  friend auto operator<=>(const SetElement&, const SetElement&) = default;

  static SetElement at(const dataplane::Address& address, uint16_t port = 0,
                       dataplane::Protocol protocol = dataplane::Protocol::kTcp) {
    SetElement element;
    element.address = address;
    element.port = port;
    element.protocol = protocol;
    return element;
  }
};

// As ipset writes it: "10.96.0.10,tcp:80,10.0.0.0/8".
std::string to_string(const SetElement& element, SetType type);
// Reads a line of `ipset save`, "add NAME ELEMENT [skbmark N]"; nullopt when it is none, or not of
// that type and family.
std::optional<SetElement> parse_set_line(std::string_view line, const SetSpec& spec);

struct SetHeader {
  uint32_t elements = 0;
  uint32_t room = 0;         // how many fit; for a bitmap, all that can be named
  bool as_described = true;  // type, family and extensions are those of the spec
};

class Sets {
 public:
  virtual ~Sets() = default;

  // Nullopt: there is no set of that name.
  virtual Result<std::optional<SetHeader>> header(const SetSpec& spec) = 0;
  virtual Status create(const SetSpec& spec, uint32_t room) = 0;
  virtual Status destroy(const std::string& name) = 0;
  // Exchanges the contents of two sets of the same type; rules refer to names.
  virtual Status swap(const std::string& a, const std::string& b) = 0;
  virtual Result<std::vector<SetElement>> elements(const SetSpec& spec) = 0;
  // Adds or removes. What is there (or gone) already is no error; adding one that is there with
  // another mark changes its mark. After an error any number may be done. kExhausted: the set is
  // full.
  virtual Status add(const SetSpec& spec, std::span<const SetElement> elements) = 0;
  virtual Status remove(const SetSpec& spec, std::span<const SetElement> elements) = 0;
};

// kUnsupported when the kernel has no sets.
Result<std::unique_ptr<Sets>> open_sets();

}  // namespace fairlead::ipvs
