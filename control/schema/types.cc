#include "control/schema/types.h"

#include <algorithm>
#include <array>
#include <utility>

namespace fairlead::schema {

namespace {

template <typename T>
const T* find_by_name(std::span<const T> rows, std::string_view name) {
  const auto found =
      std::lower_bound(rows.begin(), rows.end(), name,
                       [](const T& row, std::string_view n) { return row.name < n; });
  return found != rows.end() && found->name == name ? &*found : nullptr;
}

// Packages that do not live in k8s.io/api.
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kOpenApiPrefixes = {{
    {"meta.", "io.k8s.apimachinery.pkg.apis."},
    {"runtime.", "io.k8s.apimachinery.pkg."},
    {"version.", "io.k8s.apimachinery.pkg."},
    {"api.resource.", "io.k8s.apimachinery.pkg."},
    {"util.intstr.", "io.k8s.apimachinery.pkg."},
    {"apiextensions.", "io.k8s.apiextensions-apiserver.pkg.apis."},
    {"apiregistration.", "io.k8s.kube-aggregator.pkg.apis."},
    {"metrics.", "io.k8s.metrics.pkg.apis."},
    {"apidiscovery.", "io.k8s.api."},
}};

}  // namespace

const Field* Type::find(std::string_view json_name) const {
  const FieldEntry* entry = find_by_name(by_name(), json_name);
  return entry ? entry->field : nullptr;
}

const Type* find_type(std::string_view name) {
  return find_by_name(all_types(), name);
}

const Enum* find_enum(std::string_view name) {
  return find_by_name(all_enums(), name);
}

std::string go_type_name(const Shape& shape) {
  if (!shape.go_name.empty()) return std::string(shape.go_name);
  const std::string element = shape.element ? go_type_name(*shape.element) : std::string();
  return (shape.kind == Kind::kMap ? "map[string]" : "[]") + element;
}

std::string openapi_name(std::string_view type_name) {
  for (const auto& [package, prefix] : kOpenApiPrefixes) {
    if (type_name.starts_with(package)) return std::string(prefix).append(type_name);
  }
  return std::string("io.k8s.api.").append(type_name);
}

}  // namespace fairlead::schema
