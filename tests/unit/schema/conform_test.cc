// Documents become objects: what is refused, what is complained about, what they look like then.
#include "control/schema/conform.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

// The object, or the error, and behind it the complaints.
std::string conformed(std::string_view type, std::string_view text,
                      Conform mode = Conform::kObject) {
  Document document = parsed(text);
  std::vector<std::string> complaints;
  const Status status = conform(document, *find_type(type)->shape, mode, &complaints);
  std::string result = status.ok() ? to_json(document.root) : status.detail();
  for (const std::string& complaint : complaints) result += "; " + complaint;
  return result;
}

TEST(Conform, CanonicalObjects) {
  for (const Case& c : std::initializer_list<Case>{
           {"core.v1.ConfigMap", "{kind: ConfigMap, data: {b: x, a: ''}, apiVersion: v1}",
            R"({"apiVersion":"v1","data":{"a":"","b":"x"},"kind":"ConfigMap","metadata":{}})"},
           {"core.v1.ContainerPort", "{protocol: '', hostPort: 0, containerPort: 0, name: null}",
            R"({"containerPort":0})"},
           {"apps.v1.DeploymentStatus", "{replicas: 0, conditions: [], observedGeneration: 3}",
            R"({"observedGeneration":3})"},
           {"apps.v1.ReplicaSetStatus", "{replicas: 0}", R"({"replicas":0})"},
           {"core.v1.ResourceRequirements",
            "{limits: {cpu: 0.5, memory: 1024Mi}, requests: {cpu: 1}}",
            R"({"limits":{"cpu":"500m","memory":"1Gi"},"requests":{"cpu":"1"}})"},
           {"core.v1.Container", "{name: a}", R"({"name":"a","resources":{}})"},
           {"core.v1.ResourceFieldSelector", "{resource: cpu}",
            R"({"divisor":"0","resource":"cpu"})"},
           {"meta.v1.ObjectMeta", "{creationTimestamp: '2026-01-02T05:04:05.5+02:00'}",
            R"({"creationTimestamp":"2026-01-02T03:04:05Z"})"},
           {"coordination.v1.LeaseSpec", "{renewTime: '2026-01-02T03:04:05Z'}",
            R"({"renewTime":"2026-01-02T03:04:05.000000Z"})"},
           {"core.v1.ServicePort", "{port: 80, targetPort: http}",
            R"({"port":80,"targetPort":"http"})"},
           {"core.v1.Secret", "{data: {a: aGk=}}", R"({"data":{"a":"aGk="},"metadata":{}})"},
           {"core.v1.EndpointSubset", "{addresses: [null]}", R"({"addresses":[{"ip":""}]})"},
           {"apps.v1.ControllerRevision", "{revision: 1, data: {b: 1.0, a: [null]}}",
            R"({"data":{"a":[null],"b":1},"metadata":{},"revision":1})"},
           {"apiextensions.v1.JSONSchemaProps",
            "{additionalProperties: false, items: [{type: string}]}",
            R"({"additionalProperties":false,"items":[{"type":"string"}]})"}}) {
    EXPECT_EQ(conformed(c.type, c.text), c.expected) << c.text;
  }
}

TEST(Conform, CanonicalObjectsStayAsTheyAre) {
  const Document once = object_of("core.v1.Pod",
                                  "{metadata: {name: a}, spec: {containers: [{name: c, image: i, "
                                  "resources: {limits: {cpu: 1500m}}}]}}");
  const std::string text = to_json(once.root);
  EXPECT_EQ(to_json(object_of("core.v1.Pod", text).root), text);
}

TEST(Conform, PartialObjectsKeepZeroValues) {
  EXPECT_EQ(conformed("apps.v1.DeploymentSpec",
                      "{paused: false, template: {spec: {hostNetwork: false}}}", Conform::kPartial),
            R"({"paused":false,"template":{"spec":{"hostNetwork":false}}})");
}

TEST(Conform, StrictComplaints) {
  for (const Case& c : std::initializer_list<Case>{
           {"core.v1.Pod", "{spec: {foo: 1, containers: [{name: a, immage: x}]}}",
            R"(unknown field "spec.containers[0].immage"; unknown field "spec.foo")"},
           {"apps.v1.DeploymentSpec", R"({"replicas": 1, "replicas": 2})",
            R"(duplicate field "replicas")"},
           {"core.v1.ConfigMap", R"({"data": {"a": "1", "a": "2"}})",
            R"(duplicate field "data.a")"}}) {
    const std::string found = conformed(c.type, c.text);
    EXPECT_TRUE(found.ends_with("; " + std::string(c.expected))) << found;
  }
  // The last one counts, as in Go.
  EXPECT_TRUE(conformed("apps.v1.ReplicaSetStatus", R"({"replicas": 1, "replicas": 2})")
                  .starts_with(R"({"replicas":2})"));
  EXPECT_EQ(strict_error({"unknown field \"a\"", "duplicate field \"b\""}),
            R"(strict decoding error: unknown field "a", duplicate field "b")");
}

TEST(Conform, WrongTypesInGosWords) {
  for (const Case& c : std::initializer_list<Case>{
           {"apps.v1.Deployment", "{spec: {replicas: many}}",
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of "
            "type int32"},
           {"core.v1.Pod", "{spec: {containers: [{image: 1}]}}",
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of "
            "type string"},
           {"core.v1.Pod", "{spec: {containers: {}}}",
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type "
            "[]v1.Container"},
           {"core.v1.Pod", "{metadata: {labels: {a: 1}}}",
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type "
            "string"},
           {"core.v1.Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod"},
           {"core.v1.ServicePort", "{port: 1.5}",
            "json: cannot unmarshal number 1.5 into Go struct field ServicePort.port of type "
            "int32"},
           {"core.v1.ServicePort", "{port: 3000000000}",
            "json: cannot unmarshal number 3000000000 into Go struct field ServicePort.port of "
            "type int32"},
           {"core.v1.ServicePort", "{protocol: [x]}",
            "json: cannot unmarshal array into Go struct field ServicePort.protocol of type "
            "v1.Protocol"},
           {"core.v1.ResourceRequirements", "{limits: {cpu: much}}",
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
           {"core.v1.Secret", "{data: {a: '%'}}", "illegal base64 data"},
           {"meta.v1.ObjectMeta", "{creationTimestamp: x}",
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse"}}) {
    EXPECT_EQ(conformed(c.type, c.text), c.expected) << c.text;
  }
}

TEST(Conform, ComplaintsAreBounded) {
  std::string text = "{";
  for (int i = 0; i < 1000; ++i) text += (i ? ",\"x" : "\"x") + std::to_string(i) + "\":1";
  Document document = parsed(text + "}");
  std::vector<std::string> complaints;
  ASSERT_TRUE(
      conform(document, *find_type("core.v1.Pod")->shape, Conform::kObject, &complaints).ok());
  EXPECT_LE(complaints.size(), 64u);
}

TEST(FieldValidation, Names) {
  EXPECT_EQ(parse_field_validation("").value(), FieldValidation::kWarn);
  EXPECT_EQ(parse_field_validation("Strict").value(), FieldValidation::kStrict);
  EXPECT_FALSE(parse_field_validation("strict").ok());
}

}  // namespace
}  // namespace fairlead::schema
