#include "control/schema/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_map>

#include "control/schema/json_text.h"
#include "control/schema/validation_rules.h"

namespace fairlead::schema {

namespace {

constexpr size_t kMaxErrors = 64;
constexpr size_t kMaxValue = 512;

// As Go's %#v or %q shows it, as far as JSON can.
std::string shown(const Value& value) {
  std::string text = to_json(value);
  if (text.size() > kMaxValue) {
    size_t length = kMaxValue;
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
    text.resize(length);
    text += "...";
  }
  return text;
}

struct TypeChecks {
  std::vector<const CheckRow*> rows;
  std::vector<ValidationHook> hooks;
};

const std::unordered_map<const Type*, TypeChecks>& checks_by_type() {
  static const auto kIndex = [] {
    std::unordered_map<const Type*, TypeChecks> index;
    for (const CheckRow& row : check_rows()) index[find_type(row.type)].rows.push_back(&row);
    for (const auto hooks : {pod_hooks(), workload_hooks(), network_hooks(), other_hooks()}) {
      for (const ValidationHookRow& row : hooks) {
        index[find_type(row.type)].hooks.push_back(row.hook);
      }
    }
    return index;
  }();
  return kIndex;
}

void validate_all(const Value& object, const Resource& resource, ErrorList& errors) {
  const auto& index = checks_by_type();
  const auto visit = [&](const Value& value, const Type& type, const FieldPath& path) {
    const auto found = index.find(&type);
    if (found == index.end()) return;
    for (const CheckRow* row : found->second.rows) run_check(*row, value, path, errors);
    for (const ValidationHook hook : found->second.hooks) hook(value, path, errors);
  };
  check_metadata(object, resource, errors);
  walk_structs(object, *resource.type()->shape, ConstStructVisitor(visit));
}

// "spec.selector" as nested paths, for one call.
template <typename Use>
void with_path(std::string_view dotted, const FieldPath& parent, const Use& use) {
  const size_t dot = dotted.find('.');
  const FieldPath here = parent.child(dotted.substr(0, dot));
  if (dot == std::string_view::npos) return use(here);
  with_path(dotted.substr(dot + 1), here, use);
}

}  // namespace

std::string_view cause_reason(FieldError::Type type) {
  switch (type) {
    case FieldError::Type::kRequired:
      return "FieldValueRequired";
    case FieldError::Type::kInvalid:
      return "FieldValueInvalid";
    case FieldError::Type::kNotSupported:
      return "FieldValueNotSupported";
    case FieldError::Type::kDuplicate:
      return "FieldValueDuplicate";
    case FieldError::Type::kForbidden:
      return "FieldValueForbidden";
    case FieldError::Type::kTooLong:
      return "FieldValueTooLong";
    case FieldError::Type::kTooMany:
      return "FieldValueTooMany";
    case FieldError::Type::kNotFound:
      return "FieldValueNotFound";
  }
  return "";
}

void ErrorList::add(FieldError::Type type, const FieldPath& path, std::string message) {
  if (errors_.size() < kMaxErrors) errors_.push_back({type, path.to_string(), std::move(message)});
}

void ErrorList::required(const FieldPath& path, std::string_view detail) {
  add(FieldError::Type::kRequired, path,
      detail.empty() ? "Required value" : fmt::format("Required value: {}", detail));
}

void ErrorList::invalid(const FieldPath& path, const Value& value, std::string_view detail) {
  add(FieldError::Type::kInvalid, path, fmt::format("Invalid value: {}: {}", shown(value), detail));
}

void ErrorList::not_supported(const FieldPath& path, const Value& value,
                              std::span<const std::string_view> supported) {
  std::vector<std::string> quoted;
  for (const std::string_view each : supported) {
    if (!each.empty()) quoted.push_back(fmt::format("\"{}\"", each));
  }
  std::sort(quoted.begin(), quoted.end());
  add(FieldError::Type::kNotSupported, path,
      fmt::format("Unsupported value: {}: supported values: {}", shown(value),
                  fmt::join(quoted, ", ")));
}

void ErrorList::duplicate(const FieldPath& path, const Value& value) {
  add(FieldError::Type::kDuplicate, path, fmt::format("Duplicate value: {}", shown(value)));
}

void ErrorList::forbidden(const FieldPath& path, std::string_view detail) {
  add(FieldError::Type::kForbidden, path, fmt::format("Forbidden: {}", detail));
}

void ErrorList::too_long(const FieldPath& path, size_t limit) {
  add(FieldError::Type::kTooLong, path, fmt::format("Too long: must have at most {} bytes", limit));
}

void ErrorList::too_many(const FieldPath& path, size_t count, size_t limit) {
  add(FieldError::Type::kTooMany, path,
      fmt::format("Too many: {}: must have at most {} items", count, limit));
}

void ErrorList::not_found(const FieldPath& path, const Value& value) {
  add(FieldError::Type::kNotFound, path, fmt::format("Not found: {}", shown(value)));
}

std::vector<FieldError> validate_create(const Value& object, const Resource& resource) {
  ErrorList errors;
  validate_all(object, resource, errors);
  return errors.take();
}

std::vector<FieldError> validate_update(const Value& object, const Value& old,
                                        const Resource& resource, std::string_view subresource) {
  ErrorList errors;
  const FieldPath root;
  for (const std::string_view field :
       {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.creationTimestamp",
        "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds"}) {
    // The server itself sets the last two; what arrives here must not move them.
    if (object.at(field) == old.at(field)) continue;
    with_path(field, root, [&](const FieldPath& path) {
      errors.invalid(path, object.at(field), "field is immutable");
    });
  }
  for (const ImmutableRow& row : immutable_rows()) {
    if (row.type != resource.type_name || object.at(row.field) == old.at(row.field)) continue;
    with_path(row.field, root, [&](const FieldPath& path) {
      errors.invalid(path, object.at(row.field), row.message);
    });
  }
  for (const auto hooks : {workload_update_hooks(), other_update_hooks()}) {
    for (const UpdateHookRow& row : hooks) {
      const bool concerns = row.type == resource.type_name &&
                            (row.subresource == kAnySubresource || row.subresource == subresource);
      if (concerns) row.hook(object, old, errors);
    }
  }
  validate_all(object, resource, errors);
  return errors.take();
}

std::string invalid_message(const Resource& resource, std::string_view name,
                            const std::vector<FieldError>& errors) {
  std::vector<std::string> texts;
  for (const FieldError& error : errors) {
    std::string text = error.to_string();
    // A rule may hold for a struct that stands inside another one of its kind.
    if (std::find(texts.begin(), texts.end(), text) == texts.end())
      texts.push_back(std::move(text));
  }
  const std::string kind = resource.group.empty()
                               ? std::string(resource.kind)
                               : fmt::format("{}.{}", resource.kind, resource.group);
  if (texts.size() == 1) return fmt::format("{} \"{}\" is invalid: {}", kind, name, texts[0]);
  return fmt::format("{} \"{}\" is invalid: [{}]", kind, name, fmt::join(texts, ", "));
}

}  // namespace fairlead::schema
