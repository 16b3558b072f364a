#include "control/apiserver/negotiation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "control/net/text.h"

namespace fairlead::apiserver {
namespace {

constexpr std::string_view kJsonType = "application/json";
constexpr std::string_view kYamlType = "application/yaml";
constexpr std::string_view kProtobufType = "application/vnd.kubernetes.protobuf";

struct Clause {
  std::string type;
  double quality = 1;
  std::string as;
  std::string group;
  std::string version;
};

void read_parameter(std::string_view text, Clause* clause) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) return;
  const std::string name = net::to_lower(net::trim(text.substr(0, equals)));
  std::string value(net::trim(text.substr(equals + 1)));
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    value = value.substr(1, value.size() - 2);
  }
  if (name == "q") {
    char* end = nullptr;
    clause->quality = std::strtod(value.c_str(), &end);
    const bool fine = end != value.c_str() && clause->quality >= 0 && clause->quality <= 1;
    if (!fine) clause->quality = 0;
  } else if (name == "as") {
    clause->as = value;
  } else if (name == "g") {
    clause->group = value;
  } else if (name == "v") {
    clause->version = value;
  }
}

// By quality, what the client likes best first; what it refuses is left out.
std::vector<Clause> read_accept(std::string_view accept) {
  std::vector<Clause> clauses;
  net::for_each_element(accept, [&clauses](std::string_view element) {
    Clause clause;
    const size_t semicolon = element.find(';');
    clause.type = net::to_lower(net::trim(element.substr(0, semicolon)));
    while (!element.empty()) {
      const size_t next = element.find(';');
      if (next == std::string_view::npos) break;
      element.remove_prefix(next + 1);
      read_parameter(element.substr(0, element.find(';')), &clause);
    }
    if (!clause.type.empty() && clause.quality > 0) clauses.push_back(std::move(clause));
  });
  std::stable_sort(clauses.begin(), clauses.end(),
                   [](const Clause& a, const Clause& b) { return a.quality > b.quality; });
  return clauses;
}

std::optional<Encoding> encoding_of(std::string_view type, bool protobuf) {
  if (type == kJsonType || type == "*/*" || type == "application/*") return Encoding::kJson;
  if (type == kYamlType) return Encoding::kYaml;
  if (type == kProtobufType && protobuf) return Encoding::kProtobuf;
  return std::nullopt;
}

// False when this server has no such shape.
bool read_shape(const Clause& clause, Form* form) {
  if (clause.as.empty()) return true;
  if (clause.group != "meta.k8s.io") return false;
  if (clause.version != "v1" && clause.version != "v1beta1") return false;
  form->meta_version = clause.version;
  if (clause.as == "Table") {
    form->shape = Shape::kTable;
  } else if (clause.as == "PartialObjectMetadata") {
    form->shape = Shape::kPartial;
  } else if (clause.as == "PartialObjectMetadataList") {
    form->shape = Shape::kPartialList;
  } else {
    return false;
  }
  return form->encoding == Encoding::kJson;
}

std::string media_type(std::string_view content_type) {
  return net::to_lower(net::trim(content_type.substr(0, content_type.find(';'))));
}

}  // namespace

std::string Form::content_type(bool watch) const {
  if (encoding == Encoding::kYaml) return std::string(kYamlType);
  if (encoding == Encoding::kProtobuf) {
    return std::string(kProtobufType) + (watch ? ";stream=watch" : "");
  }
  if (shape == Shape::kObject) return std::string(kJsonType);
  const char* as = shape == Shape::kTable     ? "Table"
                   : shape == Shape::kPartial ? "PartialObjectMetadata"
                                              : "PartialObjectMetadataList";
  return fmt::format("{};as={};g=meta.k8s.io;v={}", kJsonType, as, meta_version);
}

std::optional<Form> negotiate(std::string_view accept, bool protobuf, bool watch) {
  if (net::trim(accept).empty()) return Form();
  for (const Clause& clause : read_accept(accept)) {
    Form form;
    const auto encoding = encoding_of(clause.type, protobuf);
    if (!encoding) continue;
    if (watch && *encoding == Encoding::kYaml) continue;
    form.encoding = *encoding;
    if (read_shape(clause, &form)) return form;
  }
  return std::nullopt;
}

std::string negotiate_discovery(std::string_view accept) {
  for (const Clause& clause : read_accept(accept)) {
    if (!encoding_of(clause.type, false)) continue;
    if (clause.as.empty()) return "";
    const bool known = clause.version == "v2" || clause.version == "v2beta1";
    if (clause.group == "apidiscovery.k8s.io" && clause.as == "APIGroupDiscoveryList" && known) {
      return clause.version;
    }
  }
  return "";
}

bool wants_openapi_protobuf(std::string_view accept) {
  for (const Clause& clause : read_accept(accept)) {
    if (clause.type.starts_with("application/com.github.proto-openapi.spec.v2")) return true;
    if (encoding_of(clause.type, false)) return false;
  }
  return false;
}

std::optional<Encoding> body_encoding(std::string_view content_type) {
  const std::string type = media_type(content_type);
  if (type.empty() || type == kJsonType) return Encoding::kJson;
  if (type == kYamlType) return Encoding::kYaml;
  if (type == kProtobufType) return Encoding::kProtobuf;
  return std::nullopt;
}

std::optional<PatchType> patch_type(std::string_view content_type) {
  const std::string type = media_type(content_type);
  if (type == "application/json-patch+json") return PatchType::kJson;
  if (type == "application/merge-patch+json") return PatchType::kMerge;
  if (type == "application/strategic-merge-patch+json") return PatchType::kStrategic;
  if (type == "application/apply-patch+yaml") return PatchType::kApply;
  return std::nullopt;
}

}  // namespace fairlead::apiserver
