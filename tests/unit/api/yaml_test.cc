#include "control/api/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fairlead::api {
namespace {

using ::testing::HasSubstr;

void expect_json(std::string_view yaml, std::string_view json) {
  const Result<std::string> result = yaml_to_json(yaml, "test.yaml");
  ASSERT_TRUE(result.ok()) << yaml << "\n" << result.status().message();
  EXPECT_EQ(result.value(), json) << yaml;
}

void expect_error(std::string_view yaml, const std::string& reason) {
  const Result<std::string> result = yaml_to_json(yaml, "test.yaml");
  ASSERT_FALSE(result.ok()) << yaml << "\n" << result.value();
  EXPECT_EQ(result.status().object(), "test.yaml");
  EXPECT_THAT(result.status().message(), HasSubstr(reason));
}

TEST(Yaml, Structures) {
  expect_json("", "null");
  expect_json("---\n...\n", "null");
  expect_json("a: 1\nb: [x, 'y', {c: d}]\n", R"({"a":1,"b":["x","y",{"c":"d"}]})");
  expect_json("a:\n- 1\n- b: 2\n  c:\n", R"({"a":[1,{"b":2,"c":null}]})");
  expect_json("a: |\n  one\n  two\nb: >-\n  x\n  y\n", R"({"a":"one\ntwo\n","b":"x y"})");
  expect_json("{\"a\":[1,2,\"x\"],\"b\":{}}", R"({"a":[1,2,"x"],"b":{}})");
}

TEST(Yaml, PlainScalars) {
  const struct {
    const char* yaml;
    const char* json;
  } cases[] = {
      {"~", "null"},
      {"Null", "null"},
      {"nUll", "\"nUll\""},
      {"yes", "true"},
      {"on", "true"},
      {"y", "true"},
      {"Off", "false"},
      {"N", "false"},
      {"tRUE", "\"tRUE\""},
      {"12", "12"},
      {"-12", "-12"},
      {"+12", "12"},
      {"0x1F", "31"},
      {"0b101", "5"},
      {"010", "8"},
      {"0o17", "15"},
      {"09", "9"},
      {"1_000", "1000"},
      {"1.50", "1.5"},
      {".5", "0.5"},
      {"1e3", "1000"},
      {"-0", "0"},
      {"1.", "1"},
      {"1e", "\"1e\""},
      {"10.0.0.1", "\"10.0.0.1\""},
      {"2001-01-02", "\"2001-01-02\""},
      {"fd00::/64", "\"fd00::/64\""},
      {"12:30", "\"12:30\""},
      {"18446744073709551615", "18446744073709551615"},
      {"18446744073709551616", "1.8446744073709552e+19"},
      {"+", "\"+\""},
      {"1s", "\"1s\""},
      {"0x", "\"0x\""},
      {"-9223372036854775808", "-9223372036854775808"},
  };
  for (const auto& c : cases) {
    expect_json(std::string("[") + c.yaml + "]", std::string("[") + c.json + "]");
  }
  expect_json("['yes', \"12\", '~']", R"(["yes","12","~"])");
}

TEST(Yaml, KeysBecomeStrings) {
  expect_json("80: a\ntrue: b\n0x10: c\n1.5: d\n", R"({"80":"a","true":"b","16":"c","1.5":"d"})");
  expect_error("~: a", "a key must not be null");
  expect_error("[a]: b", "a key must be a scalar");
}

TEST(Yaml, AnchorsAliasesAndMerges) {
  expect_json("a: &x [1, 2]\nb: *x\n", R"({"a":[1,2],"b":[1,2]})");
  expect_json("base: &b {a: 1, c: 2}\nd:\n  <<: *b\n  a: 3\n",
              R"({"base":{"a":1,"c":2},"d":{"a":3,"c":2}})");
  expect_json("x: {<<: [{a: 1}, {a: 2, b: 3}]}", R"({"x":{"a":1,"b":3}})");
  expect_error("a: *nobody", "unknown anchor");
  expect_error("a: &x [1, *x]", "anchor contains itself");
  expect_error("<<: 3", "a merge key needs a mapping");
}

TEST(Yaml, SaysWhereItIsWrong) {
  expect_error("a: 1\nb: 2\na: 3\n", "line 3, column 1: duplicate key \"a\"");
  expect_error("1: a\n0x1: b\n", "duplicate key \"1\"");
  expect_error("a: !!str 1\n", "line 1, column 4: tag tag:yaml.org,2002:str is not supported");
  expect_error("a: !mine {}\n", "tag !mine is not supported");
  expect_error("a: [1, 2\nb: 3", "line 2");
  expect_error("a: .inf", ".inf cannot be written as JSON");
  expect_error("a: 1\n---\nb: 2\n", "more than one document");
  expect_error("a: \xff\xfe\xff", "byte");
  expect_error("{\"a\": 1, \"a\": 2}", "duplicate key");
}

TEST(Yaml, BombsAndDepthAreBounded) {
  std::string bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string below = "*l" + std::to_string(i - 1);
    bomb += "l" + std::to_string(i) + ": &l" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) bomb += (j ? ", " : "") + below;
    bomb += "]\n";
  }
  expect_error(bomb, "aliases make the text too large");
  expect_error(std::string(100000, '['), "nested too deeply");
  // Deep only through aliases.
  std::string chain = "- &a0 [[[[[[[[[[]]]]]]]]]]\n";
  for (int i = 1; i < 40; ++i) {
    chain += "- &a" + std::to_string(i) + " [[[[[[[[*a" + std::to_string(i - 1) + "]]]]]]]]\n";
  }
  expect_error(chain, "nested too deeply");
  expect_error(std::string((size_t{16} << 20) + 1, ' '), "bytes are more than");
}

TEST(Yaml, JsonThatIsNoYamlIsStillRead) {
  expect_json("{\n\t\"a\":\t\"\\ud83d\\ude00\"\n}", "{\n\t\"a\":\t\"\\ud83d\\ude00\"\n}");
}

}  // namespace
}  // namespace fairlead::api
