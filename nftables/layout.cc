#include "nftables/layout.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>
#include <vector>

namespace fairlead::nftables {
namespace {

using dataplane::Family;

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t dash = text.find('-');
    words.push_back(text.substr(0, dash));
    if (dash == std::string_view::npos) return words;
    text.remove_prefix(dash + 1);
  }
}

std::optional<uint32_t> parse_number(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

constexpr std::array<std::string_view, 3> kCheckWords = {"pass", "reject", "drop"};
constexpr std::array<std::string_view, 3> kSourceWords = {"pod", "node", "other"};

}  // namespace

SetSpec describe_set(SetNumber set, Family family) {
  const bool v4 = family == Family::kIPv4;
  const std::string address = v4 ? "ipv4_addr" : "ipv6_addr";
  const uint8_t width = v4 ? 4 : 16;
  const std::string frontend = address + " . inet_proto . inet_service";
  const auto frontend_size = static_cast<uint8_t>(width + 8);
  const std::string target = address + " . inet_service";
  const auto target_size = static_cast<uint8_t>(width + 4);
  const auto numbered = [&](const char* name) {
    return SetSpec{name, frontend + " : classid", "", frontend_size, 4};
  };
  if (set >= number_of(SetId::kCount)) {
    return {"source-ranges-" + std::to_string(set - number_of(SetId::kCount)),
            frontend + " . " + address, "", static_cast<uint8_t>(frontend_size + width), 0};
  }
  switch (static_cast<SetId>(set)) {
    case SetId::kServicePolicy:
      return numbered("service-policy");
    case SetId::kServiceSet:
      return numbered("service-set");
    case SetId::kLocalSet:
      return numbered("local-set");
    case SetId::kChecks:
      return numbered("checks");
    case SetId::kSetClass:
      return {"set-class", "classid : classid", "", 4, 4};
    case SetId::kPolicies:
      return {"policies", "classid : verdict", "", 4, 0};
    case SetId::kClasses:
      return {"classes", "classid : verdict", "", 4, 0};
    case SetId::kCheckClasses:
      return {"check-classes", "classid : verdict", "", 4, 0};
    case SetId::kEndpoints:
      return {"endpoints", "classid . mark : " + target, "", 8, target_size};
    case SetId::kStickySlots:
      return {"sticky-slots", "classid . mark : classid", "", 8, 4};
    case SetId::kStickyEndpoints:
      return {"sticky-endpoints", "classid . classid : " + target, "", 8, target_size};
    case SetId::kAffinity:
      return {"affinity", address + " . classid : classid", "dynamic,timeout",
              static_cast<uint8_t>(width + 4), 4};
    case SetId::kClusterIps:
      return {"cluster-ips", address, "", width, 0};
    case SetId::kHairpin:
      return {"hairpin", address + " . " + address, "", static_cast<uint8_t>(2 * width), 0};
    case SetId::kNodePortAddresses:
      return {"node-port-addresses", address, "", width, 0};
    case SetId::kPodPrefixes:
      return {"pod-prefixes", address, "interval", width, 0};
    case SetId::kServicePrefixes:
      return {"service-prefixes", address, "interval", width, 0};
    case SetId::kCount:
      break;
  }
  assert(false);
  return {};
}

std::vector<SetNumber> element_sets() {
  std::vector<SetNumber> sets;
  for (const SetId set :
       {SetId::kServicePolicy, SetId::kServiceSet, SetId::kLocalSet, SetId::kSetClass,
        SetId::kEndpoints, SetId::kStickySlots, SetId::kStickyEndpoints, SetId::kChecks,
        SetId::kClusterIps, SetId::kHairpin}) {
    sets.push_back(number_of(set));
  }
  return sets;
}

bool same_key(const Element& a, const Element& b) {
  return a.set == b.set && a.key_size == b.key_size && a.key == b.key;
}

bool key_less(const Element& a, const Element& b) {
  if (a.set != b.set) return a.set < b.set;
  return a.key < b.key;
}

void ElementBuilder::append(ByteView field) {
  uint8_t* const begin = in_data_ ? element_.data.data() : element_.key.data();
  uint8_t& size = in_data_ ? element_.data_size : element_.key_size;
  const size_t padded = (field.size() + 3) / 4 * 4;
  assert(size + padded <= (in_data_ ? element_.data.size() : element_.key.size()));
  std::copy(field.begin(), field.end(), begin + size);
  size = static_cast<uint8_t>(size + padded);
}

ElementBuilder& ElementBuilder::address(const dataplane::Address& address) {
  append(address.bytes());
  return *this;
}

ElementBuilder& ElementBuilder::protocol(dataplane::Protocol protocol) {
  const auto byte = static_cast<uint8_t>(protocol);
  append({&byte, 1});
  return *this;
}

ElementBuilder& ElementBuilder::port(uint16_t port) {
  const uint16_t big = htons(port);
  append({reinterpret_cast<const uint8_t*>(&big), sizeof big});
  return *this;
}

// Numbers are loaded from and stored to packet metadata, which is in host order.
ElementBuilder& ElementBuilder::number(uint32_t number) {
  append({reinterpret_cast<const uint8_t*>(&number), sizeof number});
  return *this;
}

ElementBuilder& ElementBuilder::frontend(const dataplane::Frontend& frontend,
                                         dataplane::Protocol protocol_value) {
  return address(frontend.address.address).protocol(protocol_value).port(frontend.address.port);
}

uint32_t read_number(ByteView register_bytes) {
  uint32_t number = 0;
  if (register_bytes.size() >= sizeof number) {
    std::memcpy(&number, register_bytes.data(), sizeof number);
  }
  return number;
}

std::string_view chain_name(Policy policy) {
  switch (policy) {
    case Policy::kPlain:
      return "policy-plain";
    case Policy::kSnatOffPod:
      return "policy-snat-off-pod";
    case Policy::kSnat:
      return "policy-snat";
    case Policy::kSplit:
      return "policy-split";
  }
  return "";
}

std::string PickClass::chain_name() const {
  std::string name = "pick-" + std::to_string(endpoints);
  if (local) name += "-local";
  if (affinity_seconds != 0) name += "-sticky-" + std::to_string(affinity_seconds);
  return name;
}

std::optional<PickClass> PickClass::parse(std::string_view chain_name) {
  const std::vector<std::string_view> words = split_words(chain_name);
  if (words.size() < 2 || words[0] != "pick") return std::nullopt;
  PickClass result;
  const std::optional<uint32_t> count = parse_number(words[1]);
  if (!count || *count == 0) return std::nullopt;
  result.endpoints = *count;
  size_t next = 2;
  if (next < words.size() && words[next] == "local") {
    result.local = true;
    ++next;
  }
  if (next + 1 < words.size() && words[next] == "sticky") {
    const std::optional<uint32_t> seconds = parse_number(words[next + 1]);
    if (!seconds || *seconds == 0) return std::nullopt;
    result.affinity_seconds = *seconds;
    next += 2;
  }
  if (next != words.size()) return std::nullopt;
  return result;
}

uint32_t CheckClass::number() const {
  uint32_t number = source_ranges ? 1 : 0;
  for (const Check verdict : verdicts) number = number * 3 + static_cast<uint32_t>(verdict);
  return number + 1;
}

std::string CheckClass::chain_name() const {
  std::string name = source_ranges ? "check-ranges" : "check";
  for (size_t i = 0; i < verdicts.size(); ++i) {
    name.append("-").append(kSourceWords[i]).append("-");
    name.append(kCheckWords[static_cast<size_t>(verdicts[i])]);
  }
  return name;
}

std::vector<CheckClass> all_check_classes() {
  using enum Check;
  std::vector<CheckClass> all;
  for (const bool ranges : {false, true}) {
    all.push_back({ranges, {kReject, kReject, kReject}});  // no endpoints at all
    all.push_back({ranges, {kDrop, kDrop, kDrop}});        // none here, internal policy Local
    all.push_back({ranges, {kPass, kPass, kDrop}});        // none here, external policy Local
  }
  all.push_back({true, {kPass, kPass, kPass}});
  return all;
}

}  // namespace fairlead::nftables
