// Elements of IP sets as ipset writes them.
#include <fmt/format.h>

#include <charconv>

#include "ipvs/sets.h"

namespace fairlead::ipvs {
namespace {

using dataplane::Address;
using dataplane::Protocol;

struct ProtocolName {
  Protocol protocol;
  std::string_view name;    // by /etc/protocols
  std::string_view number;  // without it
};
constexpr ProtocolName kProtocols[] = {
    {Protocol::kTcp, "tcp", "6"}, {Protocol::kUdp, "udp", "17"}, {Protocol::kSctp, "sctp", "132"}};

std::string_view name_of(Protocol protocol) {
  for (const ProtocolName& each : kProtocols) {
    if (each.protocol == protocol) return each.name;
  }
  return "";
}

// Takes the text before `separator` off the front; all of it when there is none.
std::string_view take(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view front = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return front;
}

template <typename T>
std::optional<T> number(std::string_view text, int base = 10) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Address> address_of(std::string_view text, dataplane::Family family) {
  const auto address = Address::parse(text);
  return address && address->family() == family ? address : std::nullopt;
}

// "tcp:80"
bool parse_port(std::string_view text, SetElement& element) {
  const std::string_view protocol = take(text, ':');
  const auto port = number<uint16_t>(text);
  if (!port) return false;
  element.port = *port;
  for (const ProtocolName& each : kProtocols) {
    if (protocol == each.name || protocol == each.number) {
      element.protocol = each.protocol;
      return true;
    }
  }
  return false;
}

bool parse_source(std::string_view text, const SetSpec& spec, SetElement& element) {
  const std::string_view host = take(text, '/');
  const auto address = address_of(host, spec.family);
  if (!address) return false;
  element.second = *address;
  if (spec.type != SetType::kHashIpPortNet) return text.empty();
  const uint8_t all = spec.family == dataplane::Family::kIPv4 ? 32 : 128;
  const auto length = text.empty() ? all : number<uint8_t>(text);
  if (!length || *length > all) return false;
  element.length = *length;
  return true;
}

}  // namespace

std::string_view to_string(SetType type) {
  switch (type) {
    case SetType::kHashIp:
      return "hash:ip";
    case SetType::kHashIpPort:
      return "hash:ip,port";
    case SetType::kHashIpPortIp:
      return "hash:ip,port,ip";
    case SetType::kHashIpPortNet:
      return "hash:ip,port,net";
    case SetType::kBitmapPort:
      return "bitmap:port";
  }
  return "";
}

std::string to_string(const SetElement& element, SetType type) {
  if (type == SetType::kBitmapPort) return fmt::format("{}", element.port);
  std::string text = element.address.to_string();
  if (type == SetType::kHashIp) return text;
  text += fmt::format(",{}:{}", name_of(element.protocol), element.port);
  if (type == SetType::kHashIpPort) return text;
  text += "," + element.second.to_string();
  if (type == SetType::kHashIpPortNet) text += fmt::format("/{}", element.length);
  return text;
}

std::optional<SetElement> parse_set_line(std::string_view line, const SetSpec& spec) {
  if (take(line, ' ') != "add" || take(line, ' ') != spec.name) return std::nullopt;
  std::string_view text = take(line, ' ');
  SetElement element;
  if (spec.type == SetType::kBitmapPort) {
    const auto port = number<uint16_t>(text);
    if (!port) return std::nullopt;
    element.port = *port;
    return element;
  }
  const auto address = address_of(take(text, ','), spec.family);
  if (!address) return std::nullopt;
  element.address = *address;
  if (spec.type != SetType::kHashIp && !parse_port(take(text, ','), element)) return std::nullopt;
  const bool has_source =
      spec.type == SetType::kHashIpPortIp || spec.type == SetType::kHashIpPortNet;
  if (has_source && !parse_source(take(text, ','), spec, element)) return std::nullopt;
  if (!text.empty()) return std::nullopt;
  if (!spec.marks) return element;
  if (take(line, ' ') == "skbmark") {
    std::string_view mark = take(line, ' ');
    mark = take(mark, '/');  // all bits, when no mask is written
    if (mark.starts_with("0x")) mark.remove_prefix(2);
    element.mark = number<uint32_t>(mark, 16).value_or(0);
  }
  return element;
}

}  // namespace fairlead::ipvs
