// Discovery and OpenAPI: what clients look for is there, and everything refers to something.
#include "control/schema/discovery.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>

#include "control/schema/wire.h"
#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

const Value* item_named(const Value& list, std::string_view field, std::string_view name) {
  for (const Value& item : list.items()) {
    if (item.at(field).as_string() == name) return &item;
  }
  return nullptr;
}

TEST(Discovery, Legacy) {
  const Catalog catalog;
  EXPECT_EQ(api_versions_json("1.2.3.4:6443"),
            R"({"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[)"
            R"({"clientCIDR":"0.0.0.0/0","serverAddress":"1.2.3.4:6443"}]})");
  const Document groups = parsed(api_group_list_json(catalog));
  const Value* scaling = item_named(groups.root.get("groups"), "name", "autoscaling");
  ASSERT_TRUE(scaling);
  EXPECT_EQ(scaling->at("preferredVersion.groupVersion").as_string(), "autoscaling/v2");
  EXPECT_EQ(scaling->get("versions").size(), 2u);
  EXPECT_EQ(api_group_json(catalog, "nothing"), "");
  EXPECT_EQ(
      api_group_json(catalog, "apps"),
      R"({"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],)"
      R"("preferredVersion":{"groupVersion":"apps/v1","version":"v1"}})");
  const Document core = parsed(api_resource_list_json(catalog, {"", "v1"}));
  EXPECT_EQ(core.root.get("groupVersion").as_string(), "v1");
  EXPECT_EQ(
      to_json(*item_named(core.root.get("resources"), "name", "pods")),
      R"({"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["create","delete",)"
      R"("deletecollection","get","list","patch","update","watch"],"shortNames":["po"],"categories":["all"]})");
  EXPECT_EQ(
      to_json(*item_named(core.root.get("resources"), "name", "pods/eviction")),
      R"({"name":"pods/eviction","singularName":"","namespaced":true,"group":"policy","version":"v1",)"
      R"("kind":"Eviction","verbs":["create"]})");
}

TEST(Discovery, Aggregated) {
  const Catalog catalog;
  for (const std::string_view version : {"v2", "v2beta1"}) {
    const Document groups = parsed(aggregated_discovery_json(catalog, version, false));
    EXPECT_EQ(groups.root.get("apiVersion").as_string(),
              "apidiscovery.k8s.io/" + std::string(version));
    const Value* apps = item_named(groups.root.get("items"), "metadata.name", "apps");
    ASSERT_TRUE(apps);
    const Value& served = apps->get("versions").items()[0];
    EXPECT_EQ(served.get("freshness").as_string(), "Current");
    const Value* deployments = item_named(served.get("resources"), "resource", "deployments");
    ASSERT_TRUE(deployments);
    EXPECT_EQ(to_json(deployments->get("responseKind")),
              R"({"group":"","version":"","kind":"Deployment"})");
    EXPECT_EQ(to_json(deployments->get("subresources").items()[0].get("responseKind")),
              R"({"group":"autoscaling","version":"v1","kind":"Scale"})");
  }
  const Document core = parsed(aggregated_discovery_json(catalog, "v2", true));
  EXPECT_EQ(core.root.get("items").size(), 1u);
}

// Every "$ref" of the document must lead to one of its definitions.
void references_lead(const Value& value, std::string_view prefix, const Value& definitions) {
  for (const Value& item : value.items()) references_lead(item, prefix, definitions);
  for (const Member& member : value.members()) {
    if (member.key == "$ref" && member.value.is_string()) {
      const std::string_view target = member.value.as_string();
      ASSERT_TRUE(target.starts_with(prefix)) << target;
      EXPECT_TRUE(definitions.find(target.substr(prefix.size()))) << target;
    }
    references_lead(member.value, prefix, definitions);
  }
}

TEST(OpenApi, Version3) {
  const Catalog catalog;
  const Document index = parsed(openapi_v3_index_json(
      catalog, [](const GroupVersion& version) { return std::string(version.version); }));
  EXPECT_EQ(index.root.get("paths").get("apis/apps/v1").get("serverRelativeURL").as_string(),
            "/openapi/v3/apis/apps/v1?hash=v1");
  for (const GroupVersion& version : catalog.versions) {
    const std::string text = openapi_v3_json(catalog, version);
    const Result<Document> document = parse_json(text);
    ASSERT_TRUE(document.ok()) << version.api_version();
    const Value& schemas = document->root.at("components.schemas");
    EXPECT_FALSE(schemas.empty());
    references_lead(document->root, "#/components/schemas/", schemas);
  }
  const Document apps = parsed(openapi_v3_json(catalog, {"apps", "v1"}));
  const Value& patch = apps.root.get("paths")
                           .get("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
                           .get("patch");
  EXPECT_EQ(to_json(patch.get("x-kubernetes-group-version-kind")),
            R"({"group":"apps","kind":"Deployment","version":"v1"})");
  EXPECT_TRUE(item_named(patch.get("parameters"), "name", "fieldValidation"));
  const Value& schemas = apps.root.at("components.schemas");
  EXPECT_EQ(
      to_json(schemas.get("io.k8s.api.apps.v1.Deployment").get("x-kubernetes-group-version-kind")),
      R"([{"group":"apps","kind":"Deployment","version":"v1"}])");
  EXPECT_EQ(
      to_json(schemas.get("io.k8s.api.core.v1.PodSpec").get("properties").get("containers")),
      R"({"type":"array","items":{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.Container"}]},)"
      R"("x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],)"
      R"("x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"})");
  EXPECT_EQ(to_json(schemas.get("io.k8s.api.core.v1.PodSpec").get("required")),
            R"(["containers"])");
}

TEST(OpenApi, Version2InBothForms) {
  const std::string json = openapi_v2_json({});
  const Result<Document> document = parse_json(json, {json.size(), 64});
  ASSERT_TRUE(document.ok());
  const Value& definitions = document->root.get("definitions");
  references_lead(document->root, "#/definitions/", definitions);
  EXPECT_EQ(to_json(definitions.get("io.k8s.apimachinery.pkg.util.intstr.IntOrString")),
            R"({"type":"string","format":"int-or-string"})");

  // The protobuf has as many definitions and paths, under their names.
  const std::string message = openapi_v2_protobuf(json);
  WireReader reader(message);
  WireField field;
  size_t found[2] = {0, 0};
  while (!reader.done()) {
    ASSERT_TRUE(reader.next(&field));
    if (field.number == 1) {
      EXPECT_EQ(field.bytes, "2.0");
    }
    if (field.number != 8 && field.number != 9) continue;
    const bool paths = field.number == 8;
    const Value& expected = document->root.get(paths ? "paths" : "definitions");
    WireReader entries(field.bytes);
    WireField entry;
    while (!entries.done()) {
      ASSERT_TRUE(entries.next(&entry));
      EXPECT_EQ(entry.number, paths ? 2u : 1u);
      WireReader inner(entry.bytes);
      WireField name;
      ASSERT_TRUE(inner.next(&name));
      EXPECT_EQ(name.number, 1u);
      EXPECT_TRUE(expected.find(name.bytes)) << name.bytes;
      ++found[paths ? 0 : 1];
    }
  }
  EXPECT_EQ(found[0], document->root.get("paths").size());
  EXPECT_EQ(found[1], definitions.size());
}

}  // namespace
}  // namespace fairlead::schema
