#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "control/schema/json_text.h"
#include "control/schema/names.h"
#include "control/schema/validation_rules.h"

namespace fairlead::schema {

namespace {

constexpr size_t kMaxAnnotations = size_t{256} << 10;

// Calls use(value, path) for what the dotted field names.
template <typename Use>
void at_field(const Value& value, std::string_view dotted, const FieldPath& path, const Use& use) {
  const size_t dot = dotted.find('.');
  const FieldPath here = path.child(dotted.substr(0, dot));
  const Value& found = value.get(dotted.substr(0, dot));
  if (dot == std::string_view::npos) return use(found, here);
  if (!found.is_null()) at_field(found, dotted.substr(dot + 1), here, use);
}

template <typename Syntax>
void check_texts(const Value& value, const FieldPath& path, ErrorList& errors,
                 const Syntax& syntax) {
  if (value.is_string()) return errors.check(path, value, syntax(value.as_string()));
  size_t index = 0;
  for (const Value& item : value.items()) {
    errors.check(path.element(index++), item, syntax(item.as_string()));
  }
}

void check_enum(const Value& value, const FieldPath& path, std::string_view argument,
                ErrorList& errors) {
  std::vector<std::string_view> listed;
  std::span<const std::string_view> supported;
  if (const Enum* found = find_enum(argument)) {
    supported = {found->values, found->value_count};
  } else {
    listed = words(argument);
    supported = listed;
  }
  const auto check_one = [&](const Value& each, const FieldPath& at) {
    if (std::find(supported.begin(), supported.end(), each.as_string()) == supported.end()) {
      errors.not_supported(at, each, supported);
    }
  };
  if (!value.is_array()) return check_one(value, path);
  size_t index = 0;
  for (const Value& item : value.items()) check_one(item, path.element(index++));
}

void check_unique(const Value& list, const FieldPath& path, std::string_view field,
                  ErrorList& errors) {
  std::unordered_set<std::string_view> seen;
  size_t index = 0;
  for (const Value& item : list.items()) {
    const FieldPath here = path.element(index++);
    const Value& key = field.empty() ? item : item.get(field);
    if (key.as_string().empty() || seen.insert(key.as_string()).second) continue;
    if (field.empty()) {
      errors.duplicate(here, key);
    } else {
      errors.duplicate(here.child(field), key);
    }
  }
}

std::string int_or_percent(const Value& value) {
  if (value.is_int()) return value.as_int() < 0 ? "must be greater than or equal to 0" : "";
  std::string_view text = value.as_string();
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  const bool valid = percent && !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
                       return c >= '0' && c <= '9';
                     });
  return valid ? ""
               : "a valid percent string must be a numeric string followed by an ending '%' (e.g. "
                 "'1%',  or '93%', regex used for validation is '[0-9]+%')";
}

void run_on(const CheckRow& row, const Value& value, const FieldPath& path, ErrorList& errors) {
  if (row.check == Check::kRequired) {
    if (value.is_null() || ((value.is_string() || value.is_array()) && value.is_zero())) {
      errors.required(path, row.argument);
    }
    return;
  }
  if (value.is_null() || (value.is_string() && value.is_zero())) return;
  switch (row.check) {
    case Check::kRequired:
      return;
    case Check::kEnum:
      return check_enum(value, path, row.argument, errors);
    case Check::kLabel:
      return check_texts(value, path, errors, check_dns_label);
    case Check::kSubdomain:
      return check_texts(value, path, errors, check_dns_subdomain);
    case Check::kQualified:
      return check_texts(value, path, errors, check_qualified_name);
    case Check::kLabels:
      return check_labels(value, path, errors);
    case Check::kSelector:
      return check_selector(value, path, errors);
    case Check::kPort:
      return errors.check(path, value, check_port(value.as_int()));
    case Check::kPortOrZero:
      if (value.as_int() != 0) errors.check(path, value, check_port(value.as_int()));
      return;
    case Check::kPortName:
      return errors.check(path, value, check_port_name(value.as_string()));
    case Check::kPortOrName:
      return errors.check(
          path, value,
          value.is_int() ? check_port(value.as_int()) : check_port_name(value.as_string()));
    case Check::kNonNegative:
      if (value.as_int() < 0) errors.invalid(path, value, "must be greater than or equal to 0");
      return;
    case Check::kPositive:
      if (value.as_int() <= 0) errors.invalid(path, value, "must be greater than 0");
      return;
    case Check::kIntOrPercent:
      return errors.check(path, value, int_or_percent(value));
    case Check::kAtMost: {
      int64_t limit = 0;
      std::from_chars(row.argument.data(), row.argument.data() + row.argument.size(), limit);
      if (value.as_int() > limit) {
        errors.invalid(path, value, fmt::format("must be less than or equal to {}", limit));
      }
      return;
    }
    case Check::kUnique:
      return check_unique(value, path, row.argument, errors);
    case Check::kIp:
      return check_texts(value, path, errors, check_ip);
    case Check::kCidr:
      return check_texts(value, path, errors, check_cidr);
    case Check::kAbsolutePath:
      if (!value.as_string().starts_with('/')) {
        errors.invalid(path, value, "must be an absolute path");
      }
      return;
    case Check::kEnvName:
      return errors.check(path, value, check_env_name(value.as_string()));
    case Check::kConfigKeys:
      for (const Member& member : value.members()) {
        errors.check(path.key(member.key), Value::string(member.key), check_config_key(member.key));
      }
      return;
    case Check::kSchedule:
      return errors.check(path, value, check_schedule(value.as_string()));
  }
}

std::string check_name(std::string_view name, const Resource& resource) {
  if (resource.plural == "services") return check_dns1035_label(name);
  if (resource.plural == "namespaces") return check_dns_label(name);
  if (resource.group == "rbac.authorization.k8s.io" || resource.plural == "bindings") {
    return check_path_segment(name);
  }
  if (resource.plural == "ipaddresses") return check_ip(name);
  return check_dns_subdomain(name);
}

void check_owners(const Value& owners, const FieldPath& path, ErrorList& errors) {
  size_t index = 0;
  bool controlled = false;
  for (const Value& owner : owners.items()) {
    const FieldPath here = path.element(index++);
    for (const std::string_view field : {"apiVersion", "kind", "name", "uid"}) {
      if (owner.get(field).as_string().empty()) {
        errors.invalid(here.child(field), owner.get(field), "must not be empty");
      }
    }
    if (!owner.get("controller").as_bool()) continue;
    if (controlled) {
      errors.invalid(path, owners, "Only one reference can have Controller set to true");
    }
    controlled = true;
  }
}

}  // namespace

void run_check(const CheckRow& row, const Value& value, const FieldPath& path, ErrorList& errors) {
  at_field(value, row.field, path,
           [&](const Value& found, const FieldPath& here) { run_on(row, found, here, errors); });
}

void check_labels(const Value& labels, const FieldPath& path, ErrorList& errors) {
  for (const Member& label : labels.members()) {
    errors.check(path, Value::string(label.key), check_qualified_name(label.key));
    errors.check(path, label.value, check_label_value(label.value.as_string()));
  }
}

void check_selector(const Value& selector, const FieldPath& path, ErrorList& errors) {
  const FieldPath labels = path.child("matchLabels");
  check_labels(selector.get("matchLabels"), labels, errors);
  const FieldPath expressions = path.child("matchExpressions");
  size_t index = 0;
  for (const Value& term : selector.get("matchExpressions").items()) {
    const FieldPath here = expressions.element(index++);
    const Value& op = term.get("operator");
    const bool listing = op.as_string() == "In" || op.as_string() == "NotIn";
    const bool bare = op.as_string() == "Exists" || op.as_string() == "DoesNotExist";
    if (listing && term.get("values").empty()) {
      errors.required(here.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (bare && !term.get("values").empty()) {
      errors.forbidden(here.child("values"),
                       "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else if (!listing && !bare) {
      errors.invalid(here.child("operator"), op, "not a valid selector operator");
    }
    errors.check(here.child("key"), term.get("key"),
                 check_qualified_name(term.get("key").as_string()));
    const FieldPath values = here.child("values");
    size_t at = 0;
    for (const Value& value : term.get("values").items()) {
      errors.check(values.element(at++), value, check_label_value(value.as_string()));
    }
  }
}

void check_metadata(const Value& object, const Resource& resource, ErrorList& errors) {
  const FieldPath root;
  const FieldPath path = root.child("metadata");
  const Value& metadata = object.get("metadata");
  const Value& name = metadata.get("name");
  const Value& generate = metadata.get("generateName");
  // Reviews are answered, not stored: they need no name.
  const bool stored = (resource.verbs & kGet) != 0;
  if (name.as_string().empty() && generate.as_string().empty()) {
    if (stored) errors.required(path.child("name"), "name or generateName is required");
  } else if (!name.as_string().empty()) {
    errors.check(path.child("name"), name, check_name(name.as_string(), resource));
  }
  if (!generate.as_string().empty()) {
    // What is appended makes a trailing dash good.
    std::string masked(generate.as_string());
    if (masked.back() == '-') masked.back() = 'a';
    errors.check(path.child("generateName"), generate, check_name(masked, resource));
  }
  const Value& name_space = metadata.get("namespace");
  if (resource.namespaced && name_space.as_string().empty()) {
    if (stored) errors.required(path.child("namespace"));
  } else if (resource.namespaced) {
    errors.check(path.child("namespace"), name_space, check_dns_label(name_space.as_string()));
  } else if (!name_space.as_string().empty()) {
    errors.forbidden(path.child("namespace"), "not allowed on this type");
  }
  if (metadata.get("generation").as_int() < 0) {
    errors.invalid(path.child("generation"), metadata.get("generation"),
                   "must be greater than or equal to 0");
  }
  check_labels(metadata.get("labels"), path.child("labels"), errors);
  const FieldPath annotations = path.child("annotations");
  size_t bytes = 0;
  for (const Member& annotation : metadata.get("annotations").members()) {
    std::string lower(annotation.key);
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    errors.check(annotations, Value::string(annotation.key), check_qualified_name(lower));
    bytes += annotation.key.size() + annotation.value.as_string().size();
  }
  if (bytes > kMaxAnnotations) errors.too_long(annotations, kMaxAnnotations);
  check_owners(metadata.get("ownerReferences"), path.child("ownerReferences"), errors);
  const FieldPath finalizers = path.child("finalizers");
  size_t index = 0;
  for (const Value& finalizer : metadata.get("finalizers").items()) {
    errors.check(finalizers.element(index++), finalizer,
                 check_qualified_name(finalizer.as_string()));
  }
}

}  // namespace fairlead::schema
