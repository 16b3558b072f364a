#include "control/apiserver/query_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "control/apiserver/request_info.h"
#include "control/net/text.h"
#include "control/schema/json_text.h"

namespace fairlead::apiserver {
namespace {

// False when the text is no number.
bool read_number(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

Outcome<int64_t> number_parameter(std::string_view query, std::string_view name, int64_t missing) {
  const std::string text = net::query_value(query, name);
  if (text.empty()) return missing;
  int64_t value = 0;
  if (!read_number(text, &value)) {
    return bad_request(
        fmt::format("invalid query parameter {}: \"{}\" is not an integer", name, text));
  }
  return value;
}

// What lists and watches have in common. ok: the empty message.
template <typename Options>
std::optional<ApiError> read_common(std::string_view query, const schema::Resource& resource,
                                    std::string_view name, Options* options) {
  auto labels = schema::LabelSelector::parse(net::query_value(query, "labelSelector"));
  if (!labels) {
    return bad_request("unable to parse labelSelector: " + labels.status().detail());
  }
  options->labels = std::move(labels).value();
  std::string field_text = net::query_value(query, "fieldSelector");
  if (!name.empty()) {
    if (!field_text.empty()) field_text += ',';
    field_text += fmt::format("metadata.name={}", name);
  }
  auto fields = schema::FieldSelector::parse(field_text, resource);
  if (!fields) return bad_request(fields.status().detail());
  options->fields = std::move(fields).value();
  options->resource_version = net::query_value(query, "resourceVersion");
  options->match = net::query_value(query, "resourceVersionMatch");
  int64_t version = 0;
  if (!options->resource_version.empty() &&
      (!read_number(options->resource_version, &version) || version < 0)) {
    return bad_request(fmt::format("invalid resource version \"{}\": it must be a number",
                                   options->resource_version));
  }
  if (!options->match.empty() && options->match != "Exact" && options->match != "NotOlderThan") {
    return bad_request(
        fmt::format("resourceVersionMatch: Unsupported value: \"{}\": supported values: \"Exact\", "
                    "\"NotOlderThan\"",
                    options->match));
  }
  return std::nullopt;
}

constexpr size_t kMostManager = 128;  // bytes of a field manager's name

// One UTF-8 sequence at the front of a text (RFC 3629): its bytes, and what it means; no bytes:
// there is none.
struct Rune {
  size_t size = 0;
  uint32_t value = 0;
};

Rune first_rune(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (text.size() < size || !schema::is_utf8(text.substr(0, size))) return {};
  uint32_t value = size == 1 ? lead : lead & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) {
    value = value << 6 | (static_cast<unsigned char>(text[i]) & 0x3fu);
  }
  return {size, value};
}

// As Go's unicode.IsPrint: no controls, formats, private or special code points, and of all blanks
// the common one.
bool is_printable(uint32_t rune) {
  struct Range {
    uint32_t first, last;
  };
  constexpr Range kUnprintable[] = {
      {0, 0x1f},        {0x7f, 0xa0},     {0xad, 0xad},     {0x1680, 0x1680},   {0x180e, 0x180e},
      {0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000},   {0xe000, 0xf8ff},
      {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe00ff}, {0xf0000, 0x10ffff},
  };
  return std::none_of(std::begin(kUnprintable), std::end(kUnprintable), [rune](const Range& each) {
    return each.first <= rune && rune <= each.last;
  });
}

// What is stored must be text: what of a User-Agent is not printable is left out, as
// kube-apiserver does.
std::string manager_of(std::string_view user_agent) {
  std::string_view rest = user_agent.substr(0, user_agent.find('/'));
  std::string name;
  while (!rest.empty()) {
    const Rune rune = first_rune(rest);
    if (rune.size > 0 && is_printable(rune.value)) {
      if (name.size() + rune.size > kMostManager) break;
      name.append(rest.substr(0, rune.size));
    }
    rest.remove_prefix(std::max<size_t>(rune.size, 1));
  }
  return name.empty() ? "unknown" : name;
}

std::optional<ApiError> check_manager(std::string_view name) {
  if (name.size() > kMostManager) {
    return bad_request("fieldManager: Too long: may not be more than 128 bytes");
  }
  while (!name.empty()) {
    const Rune rune = first_rune(name);
    if (rune.size == 0 || !is_printable(rune.value)) {
      return bad_request("fieldManager: Invalid value: should only contain printable characters");
    }
    name.remove_prefix(rune.size);
  }
  return std::nullopt;
}

std::optional<ApiError> check_dry_run(std::string_view value) {
  if (value.empty() || value == "All") return std::nullopt;
  return bad_request(
      fmt::format("dryRun: Unsupported value: \"{}\": supported values: \"All\"", value));
}

std::optional<ApiError> read_delete_body(const schema::Value& body, DeleteOptions* options,
                                         bool* dry_run) {
  if (const schema::Value& grace = body.get("gracePeriodSeconds"); !grace.is_null()) {
    if (!grace.is_int() || grace.as_int() < 0) {
      return bad_request("gracePeriodSeconds: must be an integer not less than 0");
    }
    options->grace_seconds = grace.as_int();
  }
  const schema::Value& orphan = body.get("orphanDependents");
  if (const std::string_view text = body.get("propagationPolicy").as_string(); !text.empty()) {
    options->propagation = text;
  } else if (orphan.is_bool()) {
    options->propagation = orphan.as_bool() ? "Orphan" : "Background";
  }
  if (orphan.is_bool()) options->cascades = !orphan.as_bool();
  if (const std::string_view uid = body.at("preconditions.uid").as_string(); !uid.empty()) {
    options->uid = std::string(uid);
  }
  if (const std::string_view version = body.at("preconditions.resourceVersion").as_string();
      !version.empty()) {
    options->resource_version = std::string(version);
  }
  for (const schema::Value& each : body.get("dryRun").items()) {
    if (auto error = check_dry_run(each.as_string())) return error;
    *dry_run = true;
  }
  return std::nullopt;
}

}  // namespace

Outcome<ListOptions> parse_list_query(std::string_view query, const schema::Resource& resource,
                                      std::string_view name) {
  ListOptions options;
  if (auto error = read_common(query, resource, name, &options)) return *error;
  auto limit = number_parameter(query, "limit", 0);
  if (!limit) return limit.error();
  options.limit = std::max<int64_t>(*limit, 0);
  options.continuation = net::query_value(query, "continue");
  if (!options.match.empty() && options.resource_version.empty()) {
    return bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (options.match == "Exact" && options.resource_version == "0") {
    return bad_request("resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"");
  }
  if (!options.continuation.empty() && !options.match.empty()) {
    return bad_request("resourceVersionMatch is forbidden when continue is provided");
  }
  if (!options.continuation.empty() && !options.resource_version.empty() &&
      options.resource_version != "0") {
    return bad_request("specifying resource version is not allowed when using continue");
  }
  return options;
}

Outcome<WatchQuery> parse_watch_query(std::string_view query, const schema::Resource& resource,
                                      std::string_view name) {
  WatchQuery result;
  if (auto error = read_common(query, resource, name, &result.options)) return *error;
  result.options.bookmarks = query_flag(query, "allowWatchBookmarks");
  bool found = false;
  net::query_value(query, "sendInitialEvents", &found);
  if (found) result.options.send_initial_events = query_flag(query, "sendInitialEvents");
  if (found && result.options.match != "NotOlderThan") {
    return bad_request("sendInitialEvents requires resourceVersionMatch to be set to NotOlderThan");
  }
  if (!found && !result.options.match.empty()) {
    return bad_request(
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
        "provided");
  }
  auto timeout = number_parameter(query, "timeoutSeconds", 0);
  if (!timeout) return timeout.error();
  constexpr int64_t kMostSeconds = int64_t{24} * 3600;
  if (*timeout > 0) result.timeout = std::chrono::seconds(std::min(*timeout, kMostSeconds));
  return result;
}

Outcome<WriteContext> parse_write_query(std::string_view query, std::string_view user_agent,
                                        auth::User user) {
  WriteContext context;
  context.user = std::move(user);
  const std::string dry_run = net::query_value(query, "dryRun");
  if (auto error = check_dry_run(dry_run)) return *error;
  context.dry_run = !dry_run.empty();
  context.field_manager = net::query_value(query, "fieldManager");
  if (auto error = check_manager(context.field_manager)) return *error;
  if (context.field_manager.empty()) context.field_manager = manager_of(user_agent);
  const std::string validation = net::query_value(query, "fieldValidation");
  auto parsed = schema::parse_field_validation(validation);
  if (!parsed) {
    return bad_request(fmt::format(
        "fieldValidation: Unsupported value: \"{}\": supported values: \"Ignore\", \"Strict\", "
        "\"Warn\"",
        validation));
  }
  context.field_validation = *parsed;
  return context;
}

Outcome<DeleteOptions> parse_delete_options(std::string_view query, const schema::Value* body,
                                            bool* dry_run) {
  DeleteOptions options;
  auto grace = number_parameter(query, "gracePeriodSeconds", -1);
  if (!grace) return grace.error();
  if (*grace >= 0) options.grace_seconds = *grace;
  options.propagation = net::query_value(query, "propagationPolicy");
  bool found = false;
  net::query_value(query, "orphanDependents", &found);
  const bool orphans = query_flag(query, "orphanDependents");
  if (found && options.propagation.empty()) options.propagation = orphans ? "Orphan" : "Background";
  options.cascades = found && !orphans;
  if (body != nullptr) {
    if (auto error = read_delete_body(*body, &options, dry_run)) return *error;
  }
  const std::string& policy = options.propagation;
  if (!policy.empty() && policy != "Orphan" && policy != "Background" && policy != "Foreground") {
    return bad_request(
        fmt::format("propagationPolicy: Unsupported value: \"{}\": supported values: "
                    "\"Background\", \"Foreground\", \"Orphan\"",
                    policy));
  }
  return options;
}

}  // namespace fairlead::apiserver
