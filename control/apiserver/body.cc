#include "control/apiserver/body.h"

#include <fmt/core.h>

#include "control/schema/json_text.h"
#include "control/schema/protobuf.h"

namespace fairlead::apiserver {
namespace {

// What a body must say that it is.
struct Expected {
  std::string api_version;
  std::string kind;
  const schema::Type* type = nullptr;
};

Expected expected_of(const Target& target) {
  Expected expected;
  expected.api_version = target.resource->api_version();
  expected.kind = target.resource->kind;
  expected.type = target.resource->type();
  if (const schema::Subresource* sub = target.subresource) {
    if (!sub->kind.empty()) expected.kind = sub->kind;
    if (!sub->version.empty()) {
      expected.api_version = schema::GroupVersion{sub->group, sub->version}.api_version();
    }
    if (!sub->type_name.empty()) expected.type = schema::find_type(sub->type_name);
  }
  return expected;
}

ApiError unsupported() {
  return unsupported_media_type(
      {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"});
}

ApiError unreadable(const Status& status) {
  return bad_request("the request body cannot be decoded: " + status.detail());
}

ApiError wrong_kind(const Expected& expected, std::string_view api_version, std::string_view kind) {
  return bad_request(fmt::format(
      "the object provided is unrecognized (must be of type {}): it says apiVersion \"{}\", kind "
      "\"{}\", and {} was expected",
      expected.kind, api_version, kind, expected.api_version));
}

Outcome<schema::Document> decode_text(std::string_view body, bool yaml) {
  auto document = yaml ? schema::parse_yaml(body) : schema::parse_json(body);
  if (!document) return unreadable(document.status());
  return std::move(document).value();
}

Outcome<schema::Document> decode_envelope(std::string_view body, const Expected& expected,
                                          bool check_version) {
  if (!schema::is_protobuf(body)) {
    return bad_request("the body is said to be protobuf and does not begin like it");
  }
  auto envelope = schema::open_envelope(body);
  if (!envelope) return unreadable(envelope.status());
  if (envelope->kind != expected.kind ||
      (check_version && envelope->api_version != expected.api_version)) {
    return wrong_kind(expected, envelope->api_version, envelope->kind);
  }
  if (!envelope->content_type.empty() &&
      envelope->content_type != "application/vnd.kubernetes.protobuf") {
    return unsupported();
  }
  if (expected.type == nullptr) return unsupported();
  auto document = schema::decode_protobuf(envelope->raw, *expected.type);
  if (!document) return unreadable(document.status());
  schema::Document result = std::move(document).value();
  if (!result.root.is_object()) result.root = schema::Value::object();
  return result;
}

void stamp(schema::Document* document, const Expected& expected) {
  auto put = [document](std::string_view key, std::string_view text) {
    document->root.set(document->arena, key, schema::Value::string(document->arena.copy(text)));
  };
  put("apiVersion", expected.api_version);
  put("kind", expected.kind);
}

}  // namespace

Outcome<schema::Document> decode_body(std::string_view body, std::string_view content_type,
                                      const Target& target) {
  if (body.size() > kMaxBody) return too_large_body(kMaxBody);
  const auto encoding = body_encoding(content_type);
  if (!encoding) return unsupported();
  const Expected expected = expected_of(target);
  if (body.empty()) return bad_request("the request has no body");
  if (*encoding == Encoding::kProtobuf) {
    auto document = decode_envelope(body, expected, target.subresource == nullptr);
    if (document) stamp(&document.value(), expected);
    return document;
  }
  auto document = decode_text(body, *encoding == Encoding::kYaml);
  if (!document) return document;
  if (!document->root.is_object()) return bad_request("the request body is no object");
  const schema::Value& root = document->root;
  const std::string_view kind = root.get("kind").as_string();
  const std::string_view version = root.get("apiVersion").as_string();
  // Subresources come in more than one version of their kinds (Eviction); what is not said follows
  // from the address.
  const bool other_version = version != expected.api_version && target.subresource == nullptr;
  if ((!kind.empty() && kind != expected.kind) || (!version.empty() && other_version)) {
    return wrong_kind(expected, version, kind);
  }
  if (kind.empty() || version.empty()) stamp(&document.value(), expected);
  return document;
}

Outcome<schema::Document> decode_patch(std::string_view body, PatchType type) {
  if (body.size() > kMaxBody) return too_large_body(kMaxBody);
  if (body.empty()) return bad_request("the patch has no body");
  auto document = decode_text(body, type == PatchType::kApply);
  if (!document) return document;
  const bool array = type == PatchType::kJson;
  if (array != document->root.is_array()) {
    return bad_request(array ? "a JSON patch is an array of operations"
                             : "a patch of this type is an object");
  }
  return document;
}

Outcome<schema::Document> decode_delete_options(std::string_view body,
                                                std::string_view content_type) {
  if (body.empty()) return schema::Document();
  if (body.size() > kMaxBody) return too_large_body(kMaxBody);
  const auto encoding = body_encoding(content_type);
  if (!encoding) return unsupported();
  const Expected expected{"v1", "DeleteOptions", schema::find_type("meta.v1.DeleteOptions")};
  if (*encoding == Encoding::kProtobuf) return decode_envelope(body, expected, false);
  auto document = decode_text(body, *encoding == Encoding::kYaml);
  if (!document) return document;
  const std::string_view kind = document->root.get("kind").as_string();
  if (!document->root.is_object() || (!kind.empty() && kind != expected.kind)) {
    return wrong_kind(expected, document->root.get("apiVersion").as_string(), kind);
  }
  return document;
}

}  // namespace fairlead::apiserver
