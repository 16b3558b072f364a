// Selectors: what they match, what they refuse.
#include "control/schema/selector.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

TEST(LabelSelector, Matches) {
  struct Row {
    std::string_view selector;
    std::string_view labels;
    bool matches;
  };
  for (const Row& row : std::initializer_list<Row>{{"", "{}", true},
                                                   {"a=b", "{a: b}", true},
                                                   {"a==b,c!=d", "{a: b}", true},
                                                   {"a=b", "{a: c}", false},
                                                   {"a=b", "{}", false},
                                                   {"a!=b", "{}", true},
                                                   {"a in (b, c)", "{a: c}", true},
                                                   {"a in (b,c)", "{a: d}", false},
                                                   {"a notin (b,c)", "{}", true},
                                                   {"a notin (b),c", "{a: b, c: ''}", false},
                                                   {"a", "{a: ''}", true},
                                                   {"!a", "{a: ''}", false},
                                                   {"!a", "{b: ''}", true},
                                                   {"a>1", "{a: '2'}", true},
                                                   {"a<1", "{a: '2'}", false},
                                                   {"a>1", "{a: x}", false},
                                                   {"example.com/a=b", "{example.com/a: b}", true},
                                                   {"a=", "{a: ''}", true}}) {
    const Result<LabelSelector> selector = LabelSelector::parse(row.selector);
    ASSERT_TRUE(selector.ok()) << row.selector << selector.status().message();
    const Document labels = parsed(row.labels);
    EXPECT_EQ(selector->matches(labels.root), row.matches) << row.selector << ' ' << row.labels;
    // What it is written as means the same.
    const Result<LabelSelector> again = LabelSelector::parse(selector->to_string());
    ASSERT_TRUE(again.ok()) << selector->to_string();
    EXPECT_EQ(again->matches(labels.root), row.matches) << selector->to_string();
  }
}

TEST(LabelSelector, MalformedOnesAreRefused) {
  for (const std::string_view text : {"a=b=c", "=b", "a in b", "a in (b", "a(b)", "a b", "a!b",
                                      "-a=b", "a=-b", "a>x", ",", "a=b,"}) {
    EXPECT_FALSE(LabelSelector::parse(text).ok()) << text;
  }
}

TEST(LabelSelector, OfObjects) {
  const Document selector =
      parsed("{matchLabels: {a: b}, matchExpressions: [{key: c, operator: In, values: [e, d]}]}");
  const Result<LabelSelector> made = LabelSelector::from_object(selector.root);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->to_string(), "a=b,c in (d,e)");
  EXPECT_TRUE(made->matches(parsed("{a: b, c: d}").root));
  EXPECT_FALSE(made->matches(parsed("{a: b}").root));
  EXPECT_FALSE(LabelSelector::from_object(Value())->matches(parsed("{}").root));
  EXPECT_TRUE(LabelSelector::from_object(parsed("{}").root)->matches(parsed("{}").root));
  EXPECT_FALSE(
      LabelSelector::from_object(parsed("{matchExpressions: [{key: a, operator: x}]}").root).ok());
}

TEST(FieldSelector, Matches) {
  struct Row {
    std::string_view kind;
    std::string_view selector;
    std::string_view object;
    bool matches;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"Pod", "spec.nodeName=a,status.phase!=Failed", "{spec: {nodeName: a}}", true},
           {"Pod", "spec.nodeName==a", "{spec: {nodeName: b}}", false},
           {"Pod", "metadata.name=a", "{metadata: {name: a}}", true},
           {"Pod", "spec.hostNetwork=false", "{spec: {}}", true},
           {"Pod", "status.podIPs=1.2.3.4", "{status: {podIPs: [{ip: 1.2.3.4}]}}", true},
           {"Node", "spec.unschedulable=true", "{spec: {unschedulable: true}}", true},
           {"Secret", "type=Opaque", "{type: Opaque}", true},
           {"Event", "involvedObject.name=a,source=kubelet",
            "{involvedObject: {name: a}, source: {component: kubelet}}", true},
           {"ReplicationController", "status.replicas=0", "{status: {}}", true}}) {
    const Resource* resource = find_kind("v1", row.kind);
    ASSERT_TRUE(resource);
    const Result<FieldSelector> selector = FieldSelector::parse(row.selector, *resource);
    ASSERT_TRUE(selector.ok()) << row.selector;
    EXPECT_EQ(selector->matches(parsed(row.object).root), row.matches) << row.selector;
  }
  const Resource& nodes = *find_kind("v1", "Node");
  EXPECT_EQ(FieldSelector::parse("metadata.name=a", nodes)->name(), "a");
  EXPECT_EQ(FieldSelector::parse("spec.foo=a", nodes).status().detail(),
            "field label not supported: spec.foo");
  EXPECT_FALSE(FieldSelector::parse("metadata.namespace=a", nodes).ok());
  EXPECT_FALSE(FieldSelector::parse("metadata.name", nodes).ok());
}

}  // namespace
}  // namespace fairlead::schema
