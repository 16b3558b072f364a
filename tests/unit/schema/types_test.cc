// The tables: every row leads somewhere, and what kubectl relies on is there.
#include "control/schema/types.h"

#include <gtest/gtest.h>

#include <set>

#include "control/schema/resources.h"

namespace fairlead::schema {
namespace {

TEST(Types, EveryFieldHasAShapeAndANumberOfItsOwn) {
  size_t fields = 0;
  for (const Type& type : all_types()) {
    std::set<int> numbers;
    for (const Field& field : type.own_fields()) {
      ++fields;
      ASSERT_NE(field.shape, nullptr) << type.name;
      if (field.number != 0) {
        EXPECT_TRUE(numbers.insert(field.number).second) << type.name;
      }
      if (field.merge == Merge::kMap) {
        ASSERT_EQ(field.shape->kind, Kind::kList) << type.name << '.' << field.name;
        for (const std::string_view key : field.list_keys()) {
          EXPECT_TRUE(field.shape->element->type->find(key)) << type.name << '.' << field.name;
        }
      }
      if (!field.patch_key.empty()) {
        EXPECT_TRUE(field.shape->element->type->find(field.patch_key)) << type.name;
      }
    }
  }
  EXPECT_GT(fields, 2000u);
}

TEST(Types, InlinedFieldsAreFoundByName) {
  const Type* volume = find_type("core.v1.Volume");
  ASSERT_NE(volume, nullptr);
  const Field* config_map = volume->find("configMap");
  ASSERT_NE(config_map, nullptr);
  EXPECT_EQ(config_map->shape->type->name, "core.v1.ConfigMapVolumeSource");
  EXPECT_EQ(volume->find("nothing"), nullptr);
  EXPECT_EQ(find_type("core.v1.Nothing"), nullptr);
}

TEST(Types, NamesInMessagesAndDocuments) {
  const Type* spec = find_type("core.v1.PodSpec");
  EXPECT_EQ(go_type_name(*spec->find("containers")->shape), "[]v1.Container");
  EXPECT_EQ(go_type_name(*spec->find("nodeSelector")->shape), "map[string]string");
  EXPECT_EQ(openapi_name("core.v1.Pod"), "io.k8s.api.core.v1.Pod");
  EXPECT_EQ(openapi_name("meta.v1.ObjectMeta"), "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
}

TEST(Resources, EveryRowHasItsTypes) {
  std::set<std::string> seen;
  for (const Resource& row : all_resources()) {
    EXPECT_TRUE(row.type()) << row.kind;
    if (row.verbs & kList) {
      EXPECT_TRUE(row.list_type()) << row.kind;
    }
    EXPECT_TRUE(seen.insert(row.api_version() + "/" + std::string(row.plural)).second) << row.kind;
    EXPECT_EQ(find_kind(row.api_version(), row.kind), &row);
    EXPECT_EQ(find_resource(row.group, row.version, row.plural), &row);
    for (const std::string_view name : words(row.subresources)) {
      const Subresource* sub = find_subresource(row, name);
      ASSERT_TRUE(sub) << row.kind << '/' << name;
      if (!sub->type_name.empty()) {
        EXPECT_TRUE(find_type(sub->type_name)) << sub->type_name;
      }
    }
    const bool served = std::any_of(all_group_versions().begin(), all_group_versions().end(),
                                    [&row](const GroupVersion& gv) {
                                      return gv.group == row.group && gv.version == row.version;
                                    });
    EXPECT_TRUE(served) << row.api_version();
  }
}

TEST(Resources, NamesAndVerbs) {
  const Resource* pods = find_resource("", "v1", "pods");
  ASSERT_TRUE(pods);
  EXPECT_EQ(pods->singular(), "pod");
  EXPECT_EQ(pods->list_kind(), "PodList");
  EXPECT_EQ(find_resource("apps", "v1", "deployments")->api_version(), "apps/v1");
  EXPECT_EQ(find_subresource(*pods, "scale"), nullptr);
  EXPECT_EQ(verb_names(kGet | kCreate), (std::vector<std::string_view>{"create", "get"}));
  EXPECT_EQ(verb_names(kAllVerbs).size(), 8u);
}

}  // namespace
}  // namespace fairlead::schema
