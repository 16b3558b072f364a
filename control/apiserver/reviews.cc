#include "control/apiserver/reviews.h"

#include "control/schema/conform.h"

namespace fairlead::apiserver {
namespace {

using schema::Arena;
using schema::Document;
using schema::Value;

constexpr std::string_view kAudience = "https://kubernetes.default.svc";

Value text_of(Arena& arena, std::string_view text) {
  return Value::string(arena.copy(text));
}

Value list_of(Arena& arena, const std::vector<std::string>& texts) {
  Value list = Value::array();
  for (const std::string& each : texts) list.push(arena, text_of(arena, each));
  return list;
}

std::vector<std::string> texts_of(const Value& list) {
  std::vector<std::string> texts;
  for (const Value& each : list.items()) texts.emplace_back(each.as_string());
  return texts;
}

Value user_info(Arena& arena, const auth::User& user) {
  Value info = Value::object();
  info.set(arena, "username", text_of(arena, user.name));
  if (!user.uid.empty()) info.set(arena, "uid", text_of(arena, user.uid));
  if (!user.groups.empty()) info.set(arena, "groups", list_of(arena, user.groups));
  if (!user.extra.empty()) {
    Value extra = Value::object();
    for (const auto& [key, values] : user.extra) {
      extra.set(arena, arena.copy(key), list_of(arena, values));
    }
    info.set(arena, "extra", extra);
  }
  return info;
}

Value token_status(Arena& arena, const Value& spec, const auth::Authentication& authentication) {
  Value status = Value::object();
  const auto user = authentication.check_token(spec.get("token").as_string());
  if (!user) {
    status.set(arena, "error", Value::string("the token is not known"));
    return status;
  }
  // A token is for this server. Whoever asks on behalf of others must not let it pass for theirs.
  const Value& audiences = spec.get("audiences");
  bool ours = audiences.empty();
  for (const Value& each : audiences.items()) ours = ours || each.as_string() == kAudience;
  if (!ours) {
    status.set(arena, "error", Value::string("the token is for another audience"));
    return status;
  }
  status.set(arena, "authenticated", Value::boolean(true));
  status.set(arena, "user", user_info(arena, *user));
  if (!audiences.empty()) {
    Value affirmed = Value::array();
    affirmed.push(arena, Value::string(kAudience));
    status.set(arena, "audiences", affirmed);
  }
  return status;
}

Outcome<auth::Attributes> attributes_of(const Value& spec) {
  const Value& resource = spec.get("resourceAttributes");
  const Value& path = spec.get("nonResourceAttributes");
  if (resource.is_object() == path.is_object()) {
    return bad_request(
        "exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be set");
  }
  const Value& from = resource.is_object() ? resource : path;
  const auto get = [&from](std::string_view key) { return std::string(from.get(key).as_string()); };
  auth::Attributes attributes;
  attributes.verb = get("verb");
  attributes.group = get("group");
  attributes.version = get("version");
  attributes.resource = get("resource");
  attributes.subresource = get("subresource");
  attributes.space = get("namespace");
  attributes.name = get("name");
  attributes.path = get("path");
  return attributes;
}

Value access_status(Arena& arena, const auth::Verdict& verdict) {
  Value status = Value::object();
  status.set(arena, "allowed", Value::boolean(verdict.allowed()));
  if (verdict.decision == auth::Decision::kDeny) status.set(arena, "denied", Value::boolean(true));
  if (!verdict.reason.empty()) status.set(arena, "reason", text_of(arena, verdict.reason));
  return status;
}

Value rules_status(Arena& arena, const std::vector<auth::Rule>& rules) {
  Value resources = Value::array();
  Value paths = Value::array();
  for (const auth::Rule& rule : rules) {
    Value each = Value::object();
    each.set(arena, "verbs", list_of(arena, rule.verbs));
    if (rule.paths.empty()) {
      each.set(arena, "apiGroups", list_of(arena, rule.groups));
      each.set(arena, "resources", list_of(arena, rule.resources));
      resources.push(arena, each);
    } else {
      each.set(arena, "nonResourceURLs", list_of(arena, rule.paths));
      paths.push(arena, each);
    }
  }
  Value status = Value::object();
  status.set(arena, "resourceRules", resources);
  status.set(arena, "nonResourceRules", paths);
  status.set(arena, "incomplete", Value::boolean(false));
  return status;
}

auth::User user_of(const Value& spec) {
  auth::User user;
  user.name = spec.get("user").as_string();
  user.uid = spec.get("uid").as_string();
  user.groups = texts_of(spec.get("groups"));
  for (const schema::Member& member : spec.get("extra").members()) {
    user.extra.emplace_back(member.key, texts_of(member.value));
  }
  return user;
}

Outcome<Value> review_status(const Target& target, Document& body, const auth::User& user,
                             const auth::Authentication& authentication,
                             const auth::Authorizer& authorizer) {
  Arena& arena = body.arena;
  const Value& spec = body.root.get("spec");
  const std::string_view kind = target.resource->kind;
  if (kind == "TokenReview") return token_status(arena, spec, authentication);
  if (kind == "SelfSubjectReview") {
    Value status = Value::object();
    status.set(arena, "userInfo", user_info(arena, user));
    return status;
  }
  if (kind == "SelfSubjectRulesReview") {
    const std::string_view space = spec.get("namespace").as_string();
    if (space.empty()) return bad_request("spec.namespace: Required value");
    return rules_status(arena, authorizer.rules(user, space));
  }
  auto attributes = attributes_of(spec);
  if (!attributes) return attributes.error();
  if (kind == "SelfSubjectAccessReview") {
    return access_status(arena, authorizer.authorize(user, *attributes));
  }
  const auth::User asked = user_of(spec);
  if (asked.name.empty() && asked.groups.empty()) {
    return bad_request("spec.user or spec.groups: at least one must be set");
  }
  if (kind == "LocalSubjectAccessReview" && attributes->space != target.space) {
    return bad_request("spec.resourceAttributes.namespace: must be the namespace of the review");
  }
  return access_status(arena, authorizer.authorize(asked, *attributes));
}

}  // namespace

bool is_review(const schema::Resource& resource) {
  return resource.group == "authentication.k8s.io" || resource.group == "authorization.k8s.io";
}

Outcome<ObjectPtr> answer_review(const Target& target, Document body, const auth::User& user,
                                 const auth::Authentication& authentication,
                                 const auth::Authorizer& authorizer) {
  const schema::Type* type = target.resource->type();
  if (type == nullptr) return internal_error("a review without a type");
  const auto conform = [&body, type] {
    return schema::conform(body, *type->shape, schema::Conform::kObject, nullptr);
  };
  if (const Status status = conform(); !status) return bad_request(status.detail());
  auto status = review_status(target, body, user, authentication, authorizer);
  if (!status) return status.error();
  body.root.set(body.arena, "status", *status);
  if (const Status again = conform(); !again) return internal_error(again.message());
  return object_of(std::move(body), target.resource, type);
}

}  // namespace fairlead::apiserver
