// Patches: the examples of the RFCs, and every directive of strategic merge patch.
#include "control/schema/patch.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

std::string result_of(const Document& document, const Status& status) {
  return status.ok() ? to_json(document.root) : "error: " + status.detail();
}

std::string json_patched(std::string_view text, std::string_view patch) {
  Document document = parsed(text);
  const Status status = apply_json_patch(document, parsed(patch).root);
  return result_of(document, status);
}

std::string merged(std::string_view text, std::string_view patch) {
  Document document = parsed(text);
  Document change = parsed(patch);
  sort_deep(change.root);
  return result_of(document, apply_merge_patch(document, change.root));
}

std::string strategic(std::string_view type, std::string_view text, std::string_view patch) {
  Document document = parsed(text);
  Document change = parsed(patch);
  sort_deep(change.root);
  const Status status = apply_strategic_patch(document, change.root, *find_type(type));
  sort_deep(document.root);
  return result_of(document, status);
}

struct PatchCase {
  std::string_view text;
  std::string_view patch;
  std::string_view expected;
};

TEST(JsonPatch, OfRfc6902) {
  for (const PatchCase& c : std::initializer_list<PatchCase>{
           {"{foo: bar}", "[{op: add, path: /baz, value: qux}]", R"({"foo":"bar","baz":"qux"})"},
           {"{foo: [bar, baz]}", "[{op: add, path: /foo/1, value: qux}]",
            R"({"foo":["bar","qux","baz"]})"},
           {"{foo: [bar]}", "[{op: add, path: /foo/-, value: [a]}]", R"({"foo":["bar",["a"]]})"},
           {"{baz: qux, foo: bar}", "[{op: remove, path: /baz}]", R"({"foo":"bar"})"},
           {"{foo: [a, b, c]}", "[{op: remove, path: /foo/1}]", R"({"foo":["a","c"]})"},
           {"{baz: qux}", "[{op: replace, path: /baz, value: boo}]", R"({"baz":"boo"})"},
           {"{foo: {bar: 1, waldo: 2}, qux: {corge: 3}}",
            "[{op: move, from: /foo/waldo, path: /qux/thud}]",
            R"({"foo":{"bar":1},"qux":{"corge":3,"thud":2}})"},
           {"{foo: [a, b, c, d]}", "[{op: move, from: /foo/1, path: /foo/3}]",
            R"({"foo":["a","c","d","b"]})"},
           {"{foo: {a: 1}}", "[{op: copy, from: /foo, path: /bar}]",
            R"({"foo":{"a":1},"bar":{"a":1}})"},
           {"{a: 1}", "[{op: test, path: /a, value: 1}]", R"({"a":1})"},
           {"{a: 1}", "[{op: test, path: /b, value: null}]", R"({"a":1})"},
           {"{a: 1}", "[{op: test, path: /a, value: '1'}]", "error: testing the value failed"},
           {"{a/b: {m~n: 1}}", "[{op: replace, path: '/a~1b/m~0n', value: 2}]",
            R"({"a/b":{"m~n":2}})"},
           {"{a: 1}", "[{op: add, path: '', value: {b: 2}}]", R"({"b":2})"},
           {"{a: {}}", "[{op: add, path: /a/b/c, value: 1}]", "error: the path does not exist"},
           {"{a: []}", "[{op: add, path: /a/1, value: 1}]", "error: no such index"},
           {"{a: [1]}", "[{op: remove, path: /a/01}]", "error: no such index"},
           {"{a: 1}", "[{op: remove, path: /b}]", "error: the path does not exist"},
           {"{a: 1}", "[{op: add, path: /a/b, value: 1}]", "error: the path leads into a scalar"},
           {"{a: {}}", "[{op: move, from: /a, path: /a/b}]", "error: cannot be moved into itself"},
           {"{a: 1}", "[{op: frob, path: /a}]", "error: unknown operation \"frob\""},
           {"{a: 1}", "[{op: add, path: /b}]", "error: the operation add has no value"},
           {"{a: 1}", "[{op: add, path: b, value: 1}]", "error: the path does not start with '/'"},
           {"{a: 1}", "[{op: remove, path: '/~2'}]", "error: '~' is followed by neither 0 nor 1"},
           {"{a: 1}", "{op: add}", "error: the patch is not an array of operations"}}) {
    EXPECT_EQ(json_patched(c.text, c.patch), c.expected) << c.patch;
  }
}

TEST(JsonPatch, GrowthIsBounded) {
  std::string patch = "[";
  for (int i = 0; i < 60; ++i) {
    patch += (i ? "," : "") + std::string(R"({"op":"copy","from":"","path":"/x)") +
             std::to_string(i) + "\"}";
  }
  EXPECT_EQ(json_patched("{a: 1}", patch + "]"), "error: the result is too large in memory");
}

TEST(MergePatch, OfRfc7386) {
  for (const PatchCase& c : std::initializer_list<PatchCase>{
           {"{a: b}", "{a: c}", R"({"a":"c"})"},
           {"{a: b}", "{b: c}", R"({"a":"b","b":"c"})"},
           {"{a: b}", "{a: null}", "{}"},
           {"{a: b, b: c}", "{a: null}", R"({"b":"c"})"},
           {"{a: [b]}", "{a: c}", R"({"a":"c"})"},
           {"{a: c}", "{a: [b]}", R"({"a":["b"]})"},
           {"{a: {b: c}}", "{a: {b: d, c: null}}", R"({"a":{"b":"d"}})"},
           {"{a: [{b: c}]}", "{a: [1]}", R"({"a":[1]})"},
           {"{e: null}", "{a: 1}", R"({"e":null,"a":1})"},
           {"{}", "{a: {bb: {ccc: null}}}", R"({"a":{"bb":{}}})"},
           {"{a: b}", "[c]", "error: the patch is not an object"}}) {
    EXPECT_EQ(merged(c.text, c.patch), c.expected) << c.patch;
  }
}

struct StrategicCase {
  std::string_view type;
  std::string_view text;
  std::string_view patch;
  std::string_view expected;
};

TEST(StrategicPatch, ListsOfNamedThings) {
  for (const StrategicCase& c : std::initializer_list<StrategicCase>{
           {"core.v1.PodSpec", "{containers: [{name: a, image: x}, {name: b, image: y}]}",
            "{containers: [{name: b, image: z}]}",
            "{containers: [{name: a, image: x}, {name: b, image: z}]}"},
           {"core.v1.PodSpec", "{containers: [{name: a, image: x}]}",
            "{containers: [{name: b, image: z}]}",
            "{containers: [{name: a, image: x}, {name: b, image: z}]}"},
           {"core.v1.PodSpec", "{containers: [{name: a}, {name: b}]}",
            "{containers: [{name: a, $patch: delete}]}", "{containers: [{name: b}]}"},
           {"core.v1.PodSpec", "{containers: [{name: a}, {name: b}]}",
            "{containers: [{$patch: replace}, {name: c}]}", "{containers: [{name: c}]}"},
           {"core.v1.PodSpec", "{containers: [{name: a}, {name: b}]}",
            "{$setElementOrder/containers: [{name: c}, {name: b}, {name: a}], containers: [{name: "
            "c}]}",
            "{containers: [{name: c}, {name: b}, {name: a}]}"},
           {"core.v1.PodSpec", "{containers: [{name: s}, {name: a}, {name: b}]}",
            "{$setElementOrder/containers: [{name: b}, {name: a}]}",
            "{containers: [{name: s}, {name: b}, {name: a}]}"},
           {"core.v1.PodSpec",
            "{containers: [{name: a, env: [{name: X, value: 1}, {name: Y, value: 2}]}]}",
            "{containers: [{name: a, env: [{name: X, value: 3}]}]}",
            "{containers: [{name: a, env: [{name: X, value: 3}, {name: Y, value: 2}]}]}"},
           {"core.v1.PodSpec", "{tolerations: [{key: a}]}", "{tolerations: [{key: b}]}",
            "{tolerations: [{key: b}]}"},
           {"core.v1.ServiceSpec", "{ports: [{port: 80, name: a}, {port: 81}]}",
            "{ports: [{port: 80, name: b}]}", "{ports: [{port: 80, name: b}, {port: 81}]}"},
           {"core.v1.PodSpec", "{}", "{containers: [{name: a}, {name: b, $patch: delete}]}",
            "{containers: [{name: a}]}"},
           {"core.v1.NodeStatus", "{conditions: [{type: Ready, status: 'True'}]}",
            "{conditions: [{type: Ready, status: 'False'}]}",
            "{conditions: [{type: Ready, status: 'False'}]}"}}) {
    EXPECT_EQ(strategic(c.type, c.text, c.patch), json_of(c.expected)) << c.patch;
  }
}

TEST(StrategicPatch, MapsAndPrimitives) {
  for (const StrategicCase& c : std::initializer_list<StrategicCase>{
           {"meta.v1.ObjectMeta", "{labels: {a: b, c: d}}", "{labels: {a: null, e: f}}",
            "{labels: {c: d, e: f}}"},
           {"meta.v1.ObjectMeta", "{labels: {a: b}}", "{labels: {$patch: replace, c: d}}",
            "{labels: {c: d}}"},
           {"meta.v1.ObjectMeta", "{labels: {a: b}}", "{labels: {$patch: delete}}", "{labels: {}}"},
           {"meta.v1.ObjectMeta", "{}", "{labels: {a: null, $patch: merge}}", "{labels: {}}"},
           {"meta.v1.ObjectMeta", "{finalizers: [a, b]}", "{finalizers: [b, c]}",
            "{finalizers: [a, b, c]}"},
           {"meta.v1.ObjectMeta", "{finalizers: [a, b, c]}",
            "{$deleteFromPrimitiveList/finalizers: [b]}", "{finalizers: [a, c]}"},
           {"meta.v1.ObjectMeta", "{finalizers: [a, b]}",
            "{$deleteFromPrimitiveList/finalizers: [a], $setElementOrder/finalizers: [c, b], "
            "finalizers: [c]}",
            "{finalizers: [c, b]}"},
           {"apps.v1.DeploymentSpec",
            "{strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}}",
            "{strategy: {$retainKeys: [type], type: Recreate}}", "{strategy: {type: Recreate}}"},
           {"core.v1.PodSpec", "{volumes: [{name: a, emptyDir: {}}]}",
            "{volumes: [{name: a, $retainKeys: [name, secret], secret: {secretName: s}}]}",
            "{volumes: [{name: a, secret: {secretName: s}}]}"},
           {"policy.v1.PodDisruptionBudgetSpec", "{selector: {matchLabels: {a: b}}}",
            "{selector: {matchLabels: {c: d}}}", "{selector: {matchLabels: {c: d}}}"},
           {"apps.v1.ControllerRevision", "{data: {a: 1, l: [1]}}", "{data: {b: 2, l: [2]}}",
            "{data: {a: 1, l: [2], b: 2}}"}}) {
    EXPECT_EQ(strategic(c.type, c.text, c.patch), json_of(c.expected)) << c.patch;
  }
}

TEST(StrategicPatch, WhatIsRefused) {
  EXPECT_EQ(strategic("core.v1.PodSpec", "{}", "{containers: [{image: a}]}"),
            "error: map: {\"image\":\"a\"} does not contain declared merge key: name");
  EXPECT_EQ(strategic("core.v1.PodSpec", "{}", "{containers: [a]}"),
            "error: an element of the list is not an object");
  EXPECT_EQ(strategic("core.v1.PodSpec", "{}", "{$patch: frob}"),
            "error: unknown directive \"frob\"");
  EXPECT_EQ(strategic("core.v1.PodSpec", "{}", "[]"), "error: the patch is not an object");
}

}  // namespace
}  // namespace fairlead::schema
