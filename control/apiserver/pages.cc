#include "control/apiserver/pages.h"

#include <fmt/core.h>

#include "control/apiserver/negotiation.h"
#include "control/apiserver/request_info.h"
#include "control/net/text.h"
#include "control/schema/discovery.h"
#include "control/schema/json_text.h"

namespace fairlead::apiserver {
namespace {

// Clients ask for "...v2@v1.0+protobuf"; the at sign is no letter of a media type, and Go's parser
// refuses an answer that has it.
constexpr std::string_view kOpenapiProtobuf =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

// FNV-1a: tells one text from another, protects nothing.
std::string fingerprint(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016X}", hash);
}

std::string document_hash(const schema::GroupVersion& version) {
  return fingerprint(schema::openapi_v3_json(schema::Catalog(), version));
}

std::string accept_of(const net::HttpRequest& request) {
  const std::string* accept = request.header("accept");
  return accept == nullptr ? "" : *accept;
}

// With an entity tag; 304 when the client has it already.
net::HttpResponse tagged(const net::HttpRequest& request, const std::string& text,
                         std::string_view type) {
  net::HttpResponse response;
  const std::string tag = "\"" + fingerprint(text) + "\"";
  response.content_type = type;
  response.headers.emplace_back("etag", tag);
  response.headers.emplace_back("vary", "Accept");
  const std::string* known = request.header("if-none-match");
  if (known != nullptr && known->find(tag) != std::string::npos) {
    response.status = 304;
  } else {
    response.body = text;
  }
  return response;
}

const schema::GroupVersion* find_version(std::string_view group, std::string_view version) {
  for (const schema::GroupVersion& each : schema::all_group_versions()) {
    if (each.group == group && each.version == version) return &each;
  }
  return nullptr;
}

// "api/v1", "apis/apps/v1"; null when it is no version that is served.
const schema::GroupVersion* version_at(std::string_view path) {
  if (path.starts_with("api/")) return find_version("", path.substr(4));
  if (!path.starts_with("apis/")) return nullptr;
  path.remove_prefix(5);
  const size_t slash = path.find('/');
  if (slash == std::string_view::npos) return nullptr;
  return find_version(path.substr(0, slash), path.substr(slash + 1));
}

std::string version_json(const std::string& version) {
  const size_t dot = version.find('.');
  const size_t end = version.find('.', dot + 1);
  std::string text =
      fmt::format(R"({{"major":"{}","minor":"{}","gitVersion":)", version.substr(1, dot - 1),
                  version.substr(dot + 1, end - dot - 1));
  schema::append_json_string(version, &text);
  return text + R"(,"gitCommit":"","gitTreeState":"clean","buildDate":"1970-01-01T00:00:00Z",)"
                R"("goVersion":"none","compiler":"none","platform":"linux/amd64"})";
}

std::string paths_json() {
  std::string text = R"({"paths":["/api","/api/v1","/apis")";
  for (const schema::GroupVersion& each : schema::all_group_versions()) {
    if (!each.group.empty()) text += fmt::format(R"(,"/apis/{}")", each.api_version());
  }
  return text + R"(,"/healthz","/livez","/metrics","/openapi/v2","/openapi/v3","/readyz",)"
                R"("/version"]})";
}

}  // namespace

Pages::Text Pages::keep(const std::string& key, const std::function<std::string()>& make) {
  {
    MutexLock lock(mutex_);
    if (const auto found = kept_.find(key); found != kept_.end()) return found->second;
  }
  auto text = std::make_shared<const std::string>(make());
  MutexLock lock(mutex_);
  return kept_.emplace(key, std::move(text)).first->second;
}

std::optional<net::HttpResponse> Pages::openapi(const net::HttpRequest& request,
                                                std::string_view path) {
  const schema::Catalog catalog;
  if (path == "openapi/v2") {
    const auto json = [&catalog] { return schema::openapi_v2_json(catalog); };
    if (!wants_openapi_protobuf(accept_of(request))) {
      return tagged(request, *keep("v2", json), "application/json");
    }
    const Text binary =
        keep("v2 protobuf", [&json] { return schema::openapi_v2_protobuf(json()); });
    return tagged(request, *binary, kOpenapiProtobuf);
  }
  if (path == "openapi/v3") {
    const Text index =
        keep("v3", [&catalog] { return schema::openapi_v3_index_json(catalog, document_hash); });
    return tagged(request, *index, "application/json");
  }
  if (!path.starts_with("openapi/v3/")) return std::nullopt;
  const schema::GroupVersion* version =
      version_at(path.substr(std::string_view("openapi/v3/").size()));
  if (version == nullptr) return std::nullopt;
  const Text text = keep("v3 " + version->api_version(), [&catalog, version] {
    return schema::openapi_v3_json(catalog, *version);
  });
  net::HttpResponse response = tagged(request, *text, "application/json");
  if (!net::query_value(request.query, "hash").empty()) {
    response.headers.emplace_back("cache-control", "public, immutable");
  }
  return response;
}

std::optional<net::HttpResponse> Pages::discovery(const net::HttpRequest& request,
                                                  std::string_view path) {
  const schema::Catalog catalog;
  const bool root = path == "api" || path == "apis";
  const std::string aggregated = root ? negotiate_discovery(accept_of(request)) : "";
  std::string type = "application/json";
  Text text;
  if (!aggregated.empty()) {
    const bool core = path == "api";
    type += fmt::format(";g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", aggregated);
    text = keep(fmt::format("{} {}", path, aggregated),
                [&] { return schema::aggregated_discovery_json(catalog, aggregated, core); });
    return tagged(request, *text, type);
  }
  net::HttpResponse response;
  response.content_type = type;
  if (path == "api") {
    response.body = schema::api_versions_json(address_);
  } else if (path == "apis") {
    response.body = schema::api_group_list_json(catalog);
  } else if (const schema::GroupVersion* version = version_at(path)) {
    response.body = schema::api_resource_list_json(catalog, *version);
  } else if (path.starts_with("apis/") && path.find('/', 5) == std::string_view::npos) {
    response.body = schema::api_group_json(catalog, path.substr(5));
  }
  if (response.body.empty()) return std::nullopt;
  response.headers.emplace_back("vary", "Accept");
  return response;
}

std::optional<net::HttpResponse> Pages::get(const net::HttpRequest& request) {
  std::string_view path = request.path;
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.starts_with("openapi/")) return openapi(request, path);
  if (path.starts_with("api")) return discovery(request, path);
  if (path == "version")
    return net::HttpResponse{200, "application/json", {}, version_json(version_)};
  if (path.empty()) return net::HttpResponse{200, "application/json", {}, paths_json()};
  return std::nullopt;
}

}  // namespace fairlead::apiserver
