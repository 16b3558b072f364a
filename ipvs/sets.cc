#include "ipvs/sets.h"

#include <fmt/format.h>
#include <nss.h>
// libipset's headers are C: they name a field like a keyword of C++ nowhere, but declare no linkage
// for some of what they include.
extern "C" {
#include <libipset/data.h>
#include <libipset/session.h>
#include <libipset/types.h>
}

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

namespace fairlead::ipvs {
namespace {

using dataplane::Address;
using dataplane::Family;

using Session = struct ipset_session;  // its header has a macro or two of that name

constexpr uint16_t kLastPort = 65535;
constexpr uint32_t kBitmapRoom = 65536;

nf_inet_addr value_of(const Address& address) {
  nf_inet_addr value{};
  std::memcpy(&value, address.bytes().data(), address.bytes().size());
  return value;
}

uint8_t family_number(Family family) {
  return family == Family::kIPv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

class KernelSets final : public Sets {
 public:
  KernelSets() {
    static const bool loaded = [] {
      ipset_load_types();
      // libipset lists protocols by name, and opens /etc/protocols for every element. With no
      // source of names in this process it lists numbers, which parse_set_line() reads as well.
      __nss_configure_lookup("protocols", "none");
      return true;
    }();
    static_cast<void>(loaded);
    open();
  }
  void open() { session_.reset(ipset_session_init(&KernelSets::collect, this)); }
  bool valid() const { return session_ != nullptr; }

  Result<std::optional<SetHeader>> header(const SetSpec& spec) override;
  Status create(const SetSpec& spec, uint32_t room) override;
  Status destroy(const std::string& name) override;
  Status swap(const std::string& a, const std::string& b) override;
  Result<std::vector<SetElement>> elements(const SetSpec& spec) override;
  Status add(const SetSpec& spec, std::span<const SetElement> elements) override {
    return change(IPSET_CMD_ADD, spec, elements);
  }
  Status remove(const SetSpec& spec, std::span<const SetElement> elements) override {
    return change(IPSET_CMD_DEL, spec, elements);
  }

 private:
  struct Fini {
    void operator()(Session* session) const { ipset_session_fini(session); }
  };

  // libipset's way of printing: what it lists comes here in pieces.
  static int collect(Session* session, void* self, const char* format, ...)
      __attribute__((format(printf, 3, 4)));
  void set(ipset_opt option, const void* value) {
    static_cast<void>(ipset_data_set(ipset_session_data(session_.get()), option, value));
  }
  void set_name(const std::string& name) { set(IPSET_SETNAME, name.c_str()); }
  Status list(const std::string& name, ipset_output_mode mode, bool header_only);
  Status change(enum ipset_cmd command, const SetSpec& spec, std::span<const SetElement> elements);
  void set_element(const SetSpec& spec, const SetElement& element);
  // The error that the session reports. The session is a new one afterwards.
  Status failure(const char* operation, const std::string& set);

  std::unique_ptr<Session, Fini> session_;
  std::string output_;
};

int KernelSets::collect(Session*, void* self, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::array<char, IPSET_OUTBUFLEN + 1> piece;
  const int size = std::vsnprintf(piece.data(), piece.size(), format, arguments);
  va_end(arguments);
  if (size < 0) return -1;
  static_cast<KernelSets*>(self)->output_.append(
      piece.data(), std::min(static_cast<size_t>(size), piece.size() - 1));
  return 0;
}

Status KernelSets::failure(const char* operation, const std::string& set) {
  const char* const said = ipset_session_report_msg(session_.get());
  std::string reason = said != nullptr ? said : "";
  // Part of the kernel's answer may still be in the socket, and what was asked in the session: the
  // next command would stumble over both.
  open();
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  while (!reason.empty() && reason.back() == ' ') reason.pop_back();
  StatusCode code = StatusCode::kInternal;
  static constexpr std::pair<std::string_view, StatusCode> kCodes[] = {
      {"does not exist", StatusCode::kNotFound},
      {"ermission", StatusCode::kPermission},
      {"not permitted", StatusCode::kPermission},
      {"in use", StatusCode::kUnavailable},
      {"is full", StatusCode::kExhausted},
      {"already exists", StatusCode::kConflict},
      {"cannot be loaded", StatusCode::kUnsupported},
      {"Cannot open session", StatusCode::kUnsupported},
  };
  for (const auto& [words, meant] : kCodes) {
    if (reason.find(words) != std::string::npos) {
      code = meant;
      break;
    }
  }
  if (reason.empty()) reason = "libipset gives no reason";
  return Status::error(code, operation, "IP set " + set, reason);
}

Status KernelSets::list(const std::string& name, ipset_output_mode mode, bool header_only) {
  output_.clear();
  (header_only ? ipset_envopt_set : ipset_envopt_unset)(session_.get(), IPSET_ENV_LIST_HEADER);
  ipset_session_output(session_.get(), mode);
  set_name(name);
  if (ipset_cmd(session_.get(), IPSET_CMD_LIST, 0) < 0) return failure("list", name);
  return {};
}

Result<std::optional<SetHeader>> KernelSets::header(const SetSpec& spec) {
  const Status listed = list(spec.name, IPSET_LIST_PLAIN, true);
  if (listed.code() == StatusCode::kNotFound) return std::optional<SetHeader>();
  if (!listed) return listed;
  const auto after = [this](std::string_view words) -> std::string_view {
    const size_t at = output_.find(words);
    if (at == std::string::npos) return {};
    const std::string_view rest = std::string_view(output_).substr(at + words.size());
    return rest.substr(0, rest.find_first_of(" \n"));
  };
  const auto count = [](std::string_view text) {
    uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  SetHeader header;
  header.elements = count(after("\nNumber of entries: "));
  header.room = spec.type == SetType::kBitmapPort ? kBitmapRoom : count(after(" maxelem "));
  const bool family_is_right =
      spec.type == SetType::kBitmapPort ||
      after("\nHeader: family ") == (spec.family == Family::kIPv4 ? "inet" : "inet6");
  const bool range_is_right =
      spec.type != SetType::kBitmapPort || after("\nHeader: range ") == "0-65535";
  // Elements with a time-out or a counter would be another's idea.
  const bool extensions_are_right = (output_.find(" skbinfo") != std::string::npos) == spec.marks &&
                                    output_.find(" timeout ") == std::string::npos;
  header.as_described = after("\nType: ") == to_string(spec.type) && family_is_right &&
                        range_is_right && extensions_are_right;
  return std::optional<SetHeader>(header);
}

Status KernelSets::create(const SetSpec& spec, uint32_t room) {
  ipset_envopt_unset(session_.get(), IPSET_ENV_EXIST);
  set_name(spec.name);
  const std::string type(to_string(spec.type));
  set(IPSET_OPT_TYPENAME, type.c_str());
  const ipset_type* const found = ipset_type_get(session_.get(), IPSET_CMD_CREATE);
  if (found == nullptr) return failure("create", spec.name);
  set(IPSET_OPT_TYPE, found);
  if (spec.type == SetType::kBitmapPort) {
    const uint16_t first = 0;
    set(IPSET_OPT_PORT, &first);
    set(IPSET_OPT_PORT_TO, &kLastPort);
  } else {
    const uint8_t family = family_number(spec.family);
    set(IPSET_OPT_FAMILY, &family);
    set(IPSET_OPT_MAXELEM, &room);
  }
  if (spec.marks) set(IPSET_OPT_SKBINFO, &room);  // the value does not matter
  if (ipset_cmd(session_.get(), IPSET_CMD_CREATE, 0) < 0) return failure("create", spec.name);
  return {};
}

Status KernelSets::destroy(const std::string& name) {
  set_name(name);
  if (ipset_cmd(session_.get(), IPSET_CMD_DESTROY, 0) < 0) return failure("destroy", name);
  return {};
}

Status KernelSets::swap(const std::string& a, const std::string& b) {
  set_name(a);
  set(IPSET_OPT_SETNAME2, b.c_str());
  if (ipset_cmd(session_.get(), IPSET_CMD_SWAP, 0) < 0) return failure("swap", a);
  return {};
}

Result<std::vector<SetElement>> KernelSets::elements(const SetSpec& spec) {
  RETURN_IF_ERROR(list(spec.name, IPSET_LIST_SAVE, false));
  std::vector<SetElement> found;
  for (std::string_view rest = output_; !rest.empty();) {
    const size_t end = rest.find('\n');
    if (auto element = parse_set_line(rest.substr(0, end), spec)) found.push_back(*element);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  output_ = std::string();  // a large set's listing is large
  return found;
}

void KernelSets::set_element(const SetSpec& spec, const SetElement& element) {
  if (spec.type != SetType::kBitmapPort) {
    const uint8_t family = family_number(spec.family);
    set(IPSET_OPT_FAMILY, &family);
    const nf_inet_addr address = value_of(element.address);
    set(IPSET_OPT_IP, &address);
    if (spec.type == SetType::kHashIp) return;
    const auto protocol = static_cast<uint8_t>(element.protocol);
    set(IPSET_OPT_PROTO, &protocol);
  }
  set(IPSET_OPT_PORT, &element.port);
  if (spec.type == SetType::kHashIpPortIp || spec.type == SetType::kHashIpPortNet) {
    const nf_inet_addr second = value_of(element.second);
    set(IPSET_OPT_IP2, &second);
    if (spec.type == SetType::kHashIpPortNet) set(IPSET_OPT_CIDR2, &element.length);
  }
  if (spec.marks && element.mark != 0) {
    const uint64_t mark_and_mask = uint64_t{element.mark} << 32 | ~uint32_t{0};
    set(IPSET_OPT_SKBMARK, &mark_and_mask);
  }
}

Status KernelSets::change(enum ipset_cmd command, const SetSpec& spec,
                          std::span<const SetElement> elements) {
  if (elements.empty()) return {};
  const char* const operation = command == IPSET_CMD_ADD ? "add elements to" : "remove elements of";
  ipset_envopt_set(session_.get(), IPSET_ENV_EXIST);
  set_name(spec.name);
  // Fails when there is no such set.
  const ipset_type* const type = ipset_type_get(session_.get(), command);
  if (type == nullptr) return failure(operation, spec.name);
  for (const SetElement& element : elements) {
    set_name(spec.name);
    set(IPSET_OPT_TYPE, type);
    set_element(spec, element);
    // A line number makes libipset gather elements into large messages.
    if (::ipset_cmd(session_.get(), command, 1) < 0) return failure(operation, spec.name);
  }
  if (ipset_commit(session_.get()) < 0) return failure(operation, spec.name);
  return {};
}

}  // namespace

Result<std::unique_ptr<Sets>> open_sets() {
  auto sets = std::make_unique<KernelSets>();
  if (!sets->valid()) {
    return Status::error(StatusCode::kUnsupported, "open", "IP sets", "libipset has no session");
  }
  // Tells whether the kernel has sets at all.
  SetSpec nobody;
  nobody.name = "FAIRLEAD-NOBODY";
  const auto header = sets->header(nobody);
  if (!header) {
    const bool forbidden = header.status().code() == StatusCode::kPermission;
    return Status::error(forbidden ? StatusCode::kPermission : StatusCode::kUnsupported, "use",
                         "IP sets",
                         header.status().detail() + " (CONFIG_IP_SET; try: modprobe ip_set)");
  }
  return std::unique_ptr<Sets>(std::move(sets));
}

}  // namespace fairlead::ipvs
