// Paths, queries, Accept and Content-Type, bodies: what a request asks for.
#include <gmock/gmock.h>

#include "control/apiserver/body.h"
#include "control/apiserver/health.h"
#include "control/apiserver/negotiation.h"
#include "control/apiserver/query_options.h"
#include "control/apiserver/request_info.h"
#include "control/apiserver/yaml_writer.h"
#include "control/schema/json_text.h"
#include "control/schema/protobuf.h"

namespace fairlead::apiserver {
namespace {

using ::testing::HasSubstr;

// "verb group/version resource[/subresource] space/name", or the verb alone.
std::string info_text(std::string_view method, std::string_view target) {
  const size_t question = target.find('?');
  const RequestInfo info =
      parse_request_info(method, target.substr(0, question),
                         question == std::string_view::npos ? "" : target.substr(question + 1));
  if (!info.is_resource) return info.verb;
  std::string text = info.verb + " " + info.group + "/" + info.version + " " + info.resource;
  if (!info.subresource.empty()) text += "/" + info.subresource;
  return text + " " + info.space + "/" + info.name;
}

TEST(ApiRequestInfo, Paths) {
  struct Case {
    const char* method;
    const char* target;
    const char* expected;
  };
  const Case cases[] = {
      {"GET", "/api/v1/pods", "list /v1 pods /"},
      {"GET", "/api/v1/namespaces/a/pods/b", "get /v1 pods a/b"},
      {"GET", "/api/v1/pods?watch=true", "watch /v1 pods /"},
      {"GET", "/api/v1/pods?watch=1", "watch /v1 pods /"},
      {"GET", "/api/v1/pods?watch=false", "list /v1 pods /"},
      {"GET", "/api/v1/watch/namespaces/a/pods", "watch /v1 pods a/"},
      {"GET", "/api/v1/namespaces", "list /v1 namespaces /"},
      {"PUT", "/api/v1/namespaces/a/finalize", "update /v1 namespaces/finalize /a"},
      {"PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale",
       "patch apps/v1 deployments/scale a/b"},
      {"POST", "/api/v1/namespaces/a/pods/b/eviction", "create /v1 pods/eviction a/b"},
      {"DELETE", "/api/v1/namespaces/a/pods", "deletecollection /v1 pods a/"},
      {"DELETE", "/api/v1/nodes/n", "delete /v1 nodes /n"},
      {"GET", "/api/v1/namespaces/a/pods/b/proxy/x/y", "get /v1 pods/proxy a/b"},
      {"GET", "/api/v1/namespaces/a/pods/b/log/x", "get"},
      {"GET", "/apis/apps/v1", "get"},
      {"GET", "/api", "get"},
      {"GET", "//", "get"},
      {"DELETE", "/api/v1/namespaces//pods", "delete"},
      {"GET", "/api//v1/pods", "get"},
      {"GET", "/api/v1/pods/", "list /v1 pods /"},
      {"GET", "/api/v1/namespaces/a/namespaces/b", "get"},
      {"POST", "/api/v1/watch/pods", " /v1 pods /"},
      {"HEAD", "/api/v1/pods?watch=true", " /v1 pods /"},
      {"HEAD", "/api/v1/pods", "list /v1 pods /"},
      {"BREW", "/api/v1/pods", " /v1 pods /"},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(info_text(each.method, each.target), each.expected) << each.target;
  }
}

std::string form_text(std::string_view accept, bool watch = false) {
  const auto form = negotiate(accept, true, watch);
  return form ? form->content_type(watch) : "406";
}

TEST(ApiNegotiation, Accept) {
  const std::string table = "application/json;as=Table;g=meta.k8s.io;v=v1";
  const std::string protobuf = "application/vnd.kubernetes.protobuf";
  EXPECT_EQ(form_text(""), "application/json");
  EXPECT_EQ(form_text("*/*"), "application/json");
  EXPECT_EQ(form_text("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), table);
  EXPECT_EQ(form_text("application/json;as=Table;v=v2;g=meta.k8s.io, application/json"),
            "application/json");
  EXPECT_EQ(form_text(protobuf + ",application/json"), protobuf);
  EXPECT_EQ(form_text(protobuf + ";q=0.1,application/json;q=0.9"), "application/json");
  EXPECT_EQ(form_text(protobuf, true), protobuf + ";stream=watch");
  EXPECT_EQ(form_text(protobuf + ";as=Table;v=v1;g=meta.k8s.io," + table), table);
  EXPECT_EQ(form_text("application/yaml"), "application/yaml");
  EXPECT_EQ(form_text("application/yaml", true), "406");
  EXPECT_EQ(form_text("text/html"), "406");
  EXPECT_EQ(form_text("application/json;q=0"), "406");
  EXPECT_EQ(form_text("application/json;q=nan"), "406");
}

TEST(ApiNegotiation, DiscoveryEchoesTheVersion) {
  const std::string v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
  const std::string beta =
      "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
  EXPECT_EQ(negotiate_discovery(v2 + "," + beta + ",application/json"), "v2");
  EXPECT_EQ(negotiate_discovery(beta + ",application/json"), "v2beta1");
  EXPECT_EQ(negotiate_discovery("application/json"), "");
  EXPECT_EQ(negotiate_discovery(""), "");
}

Target pods() {
  return {schema::find_resource("", "v1", "pods"), nullptr, "default", ""};
}

// "ok", or the code and message.
std::string body_result(std::string_view body, std::string_view type, std::string* json = nullptr) {
  auto document = decode_body(body, type, pods());
  if (!document) return std::to_string(document.error().code) + " " + document.error().message;
  if (json != nullptr) *json = schema::to_json(document->root);
  return "ok";
}

TEST(ApiBody, TextAndProtobuf) {
  const std::string pod = R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}})";
  std::string json;
  EXPECT_EQ(body_result(pod, "application/json", &json), "ok");
  EXPECT_EQ(json, pod);
  EXPECT_EQ(body_result(pod, ""), "ok");
  EXPECT_EQ(body_result("kind: Pod\napiVersion: v1\n", "application/yaml"), "ok");
  EXPECT_EQ(body_result(R"({"metadata":{"name":"a"}})", "application/json", &json), "ok");
  EXPECT_THAT(json, HasSubstr(R"("kind":"Pod")"));

  auto document = schema::parse_json(pod);
  const std::string raw = schema::encode_protobuf(document->root, *pods().resource->type());
  const std::string sealed = schema::seal_envelope("v1", "Pod", raw);
  EXPECT_EQ(body_result(sealed, "application/vnd.kubernetes.protobuf", &json), "ok");
  EXPECT_THAT(json, HasSubstr(R"("name":"a")"));
  const std::string other = schema::seal_envelope("v1", "Service", raw);
  EXPECT_THAT(body_result(other, "application/vnd.kubernetes.protobuf"), HasSubstr("400"));
}

TEST(ApiBody, Refused) {
  EXPECT_THAT(body_result("", "application/json"), HasSubstr("400"));
  EXPECT_THAT(body_result("{", "application/json"), HasSubstr("400"));
  EXPECT_THAT(body_result("[]", "application/json"), HasSubstr("400"));
  EXPECT_THAT(body_result("{}", "text/plain"), HasSubstr("415"));
  EXPECT_THAT(body_result(R"({"kind":"Service"})", "application/json"), HasSubstr("400"));
  EXPECT_THAT(body_result("k8s", "application/vnd.kubernetes.protobuf"), HasSubstr("400"));
  EXPECT_THAT(body_result(std::string(kMaxBody + 1, ' '), "application/json"), HasSubstr("413"));
  const std::string deep = std::string(100'000, '[');
  EXPECT_THAT(body_result("{\"a\":" + deep, "application/json"), HasSubstr("400"));
  EXPECT_THAT(body_result("a: " + deep, "application/yaml"), HasSubstr("400"));
}

TEST(ApiQuery, Lists) {
  const schema::Resource& resource = *pods().resource;
  const auto code = [&resource](std::string_view query) {
    const auto options = parse_list_query(query, resource, "");
    return options ? 200 : options.error().code;
  };
  EXPECT_EQ(code("limit=500&labelSelector=a%3Db,c&fieldSelector=spec.nodeName%3Dn"), 200);
  EXPECT_EQ(code("resourceVersion=0"), 200);
  EXPECT_EQ(code("resourceVersion=x"), 400);
  EXPECT_EQ(code("resourceVersion=-1"), 400);
  EXPECT_EQ(code("resourceVersionMatch=Exact"), 400);
  EXPECT_EQ(code("resourceVersionMatch=Sometimes&resourceVersion=1"), 400);
  EXPECT_EQ(code("limit=many"), 400);
  EXPECT_EQ(code("labelSelector=a%3D%3D%3Db"), 400);
  EXPECT_EQ(code("fieldSelector=spec.nothing%3D1"), 400);
  const auto watch = parse_watch_query("timeoutSeconds=7&allowWatchBookmarks=true", resource, "p");
  ASSERT_TRUE(watch.ok());
  EXPECT_EQ(watch->timeout, std::chrono::seconds(7));
  EXPECT_TRUE(watch->options.bookmarks);
  EXPECT_EQ(watch->options.fields.name(), "p");
  EXPECT_FALSE(parse_watch_query("sendInitialEvents=true", resource, "").ok());
}

TEST(ApiQuery, Writes) {
  const auto context = parse_write_query("dryRun=All", "kubectl/v1.30 (linux/amd64)", {});
  ASSERT_TRUE(context.ok());
  EXPECT_EQ(context->field_manager, "kubectl");
  EXPECT_TRUE(context->dry_run);
  EXPECT_FALSE(parse_write_query("dryRun=Some", "", {}).ok());
  EXPECT_FALSE(parse_write_query("fieldValidation=Perhaps", "", {}).ok());
  EXPECT_FALSE(parse_write_query("fieldManager=" + std::string(200, 'a'), "", {}).ok());
}

TEST(ApiQuery, ManagersAreText) {
  const auto from_agent = [](const std::string& agent) {
    return parse_write_query("", agent, {})->field_manager;
  };
  EXPECT_EQ(from_agent("\xff/1"), "unknown");
  EXPECT_EQ(from_agent("a\xff\xc3"
                       "b\x7f\x01/1"),
            "ab");
  EXPECT_EQ(from_agent("tool\xc3\xa9 \xe4\xb8\xad\xf0\x9f\x9a\xa2\xe2\x80\xa8/2"),
            "tool\xc3\xa9 \xe4\xb8\xad\xf0\x9f\x9a\xa2");
  // Cut before the character that has no room.
  EXPECT_EQ(from_agent(std::string(127, 'a') + "\xc3\xa9/1"), std::string(127, 'a'));
  for (const char* name : {"%ff", "a%01b", "%e2%80%a8", "%c3", "%ed%a0%80"}) {
    const auto context = parse_write_query(std::string("fieldManager=") + name, "", {});
    ASSERT_FALSE(context.ok()) << name;
    EXPECT_EQ(context.error().code, 400);
  }
  EXPECT_EQ(parse_write_query("fieldManager=caf%c3%a9", "", {})->field_manager, "caf\xc3\xa9");
}

TEST(ApiHealth, ReasonsAreWithheldAndChecksLeftOut) {
  const auto fails = [] { return Status::error(StatusCode::kUnavailable, "read", "db-7", "away"); };
  const std::vector<HealthCheck> checks = {
      {"one", fails, true}, {"two", fails, true}, {"fine", [] { return Status(); }, true}};
  const auto body = [&checks](std::string_view query) {
    return health_page(checks, "/livez", query)->body;
  };
  EXPECT_EQ(
      body("exclude=one"),
      "[+]one excluded: ok\n[-]two failed: reason withheld\n[+]fine ok\nlivez check failed\n");
  EXPECT_EQ(body("exclude=one&exclude=two"), "ok");
}

TEST(ApiQuery, Deletions) {
  auto body = decode_delete_options(
      R"({"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":3,)"
      R"("propagationPolicy":"Foreground","preconditions":{"uid":"u"},"dryRun":["All"]})",
      "application/json");
  ASSERT_TRUE(body.ok());
  bool dry_run = false;
  const auto options = parse_delete_options("gracePeriodSeconds=9", &body->root, &dry_run);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->grace_seconds, 3);
  EXPECT_EQ(options->propagation, "Foreground");
  EXPECT_EQ(options->uid, "u");
  EXPECT_TRUE(dry_run);
  EXPECT_FALSE(parse_delete_options("propagationPolicy=Never", nullptr, &dry_run).ok());
  EXPECT_FALSE(decode_delete_options(R"({"kind":"Pod"})", "application/json").ok());
}

TEST(ApiYaml, ReadsBackAsItWas) {
  const std::string json =
      R"({"a":"yes","b":["x",{"c":1,"d":{}},[]],"e":"1","f":"two words","g":"plain","h":"",)"
      R"("i":true,"j":"- x","k":{"l":{"m":"n\no"}},"true":"null"})";
  auto document = schema::parse_json(json);
  ASSERT_TRUE(document.ok());
  const std::string yaml = to_yaml(document->root);
  auto again = schema::parse_yaml(yaml);
  ASSERT_TRUE(again.ok()) << again.status().message() << "\n" << yaml;
  EXPECT_EQ(schema::to_json(again->root), json) << yaml;
}

}  // namespace
}  // namespace fairlead::apiserver
