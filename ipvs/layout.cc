#include "ipvs/layout.h"

#include <utility>

namespace fairlead::ipvs {
namespace {

struct Row {
  const char* prefix;
  const char* name;
  SetType type;
  bool marks = false;
};

constexpr std::array<Row, kSetCount> kRows = {{
    {"KUBE", "LOOP-BACK", SetType::kHashIpPortIp},
    {"KUBE", "CLUSTER-IP", SetType::kHashIpPort},
    {"FAIRLEAD", "MASQ-ALL", SetType::kHashIpPort},
    {"KUBE", "EXTERNAL-IP", SetType::kHashIpPort},
    {"KUBE", "EXTERNAL-IP-LOCAL", SetType::kHashIpPort},
    {"KUBE", "LOAD-BALANCER", SetType::kHashIpPort},
    {"KUBE", "LOAD-BALANCER-LOCAL", SetType::kHashIpPort},
    {"KUBE", "LOAD-BALANCER-FW", SetType::kHashIpPort},
    {"KUBE", "LOAD-BALANCER-SOURCE-IP", SetType::kHashIpPortIp},
    {"KUBE", "LOAD-BALANCER-SOURCE-CIDR", SetType::kHashIpPortNet},
    {"KUBE", "NODE-PORT-TCP", SetType::kBitmapPort},
    {"KUBE", "NODE-PORT-LOCAL-TCP", SetType::kBitmapPort},
    {"KUBE", "NODE-PORT-UDP", SetType::kBitmapPort},
    {"KUBE", "NODE-PORT-LOCAL-UDP", SetType::kBitmapPort},
    {"KUBE", "NODE-PORT-SCTP-HASH", SetType::kHashIpPort},
    {"KUBE", "NODE-PORT-LOCAL-SCTP-HASH", SetType::kHashIpPort},
    {"FAIRLEAD", "NODE-PORTS", SetType::kHashIpPort},
    {"KUBE", "HEALTH-CHECK-NODE-PORT", SetType::kBitmapPort},
    {"KUBE", "IPVS-IPS", SetType::kHashIp},
    {"FAIRLEAD", "NO-LOCAL", SetType::kHashIpPort},
    {"FAIRLEAD", "MARKS", SetType::kHashIpPort, true},
}};

constexpr uint32_t kUpperByte = 0xff000000;
constexpr uint32_t kOurs = 0x7a000000;
constexpr uint32_t kKubeletDrop = 0x8000;

}  // namespace

SetSpec describe(SetId set, dataplane::Family family) {
  const Row& row = kRows[static_cast<size_t>(set)];
  const char* const infix = family == dataplane::Family::kIPv4 ? "-" : "-6-";
  // The kernel's limit; kube-proxy cuts the same names.
  constexpr size_t kLongest = 31;
  std::string name = std::string(row.prefix) + infix + row.name;
  if (name.size() > kLongest) name.resize(kLongest);
  return {std::move(name), row.type, family, row.marks};
}

MarkSpace::MarkSpace(uint32_t masquerade_mark)
    : value_(kOurs & ~masquerade_mark),
      mask_(kUpperByte & ~masquerade_mark),
      usable_(~kUpperByte & ~masquerade_mark & ~kKubeletDrop) {}

// Deals the bits of n out to the usable bits.
uint32_t MarkSpace::mark(uint32_t n) const {
  uint32_t result = value_;
  for (uint32_t bits = usable_; n != 0 && bits != 0; bits &= bits - 1, n >>= 1) {
    if ((n & 1) != 0) result |= bits & -bits;
  }
  return result;
}

uint32_t MarkSpace::number(uint32_t mark) const {
  if ((mark & ~usable_) != value_) return limit();
  uint32_t n = 0;
  uint32_t weight = 1;
  for (uint32_t bits = usable_; bits != 0; bits &= bits - 1, weight <<= 1) {
    if ((mark & bits & -bits) != 0) n |= weight;
  }
  return n;
}

uint32_t MarkSpace::limit() const {
  return uint32_t{1} << __builtin_popcount(usable_);
}

}  // namespace fairlead::ipvs
