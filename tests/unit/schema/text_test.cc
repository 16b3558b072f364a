// Text to documents and back: nothing lost, limits kept.
#include <gtest/gtest.h>

#include <string>

#include "control/schema/json_text.h"
#include "control/schema/value.h"
#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

TEST(JsonText, ComesBackAsItWent) {
  for (const std::string_view text :
       {R"({})", R"([])", R"({"a":1,"b":-9223372036854775808,"c":9223372036854775807})",
        R"({"large":18446744073709551616,"small":1e-400,"as written":1.0,"zero":-0,"e":1E0})",
        R"({"a":[true,false,null,[],{}],"b":{"c":{"d":"é\n\t\"\\"}}})", R"({"a":"\u0001"})",
        R"({"b":1,"a":2,"b":3})"}) {
    const Result<Document> document = parse_json(text);
    ASSERT_TRUE(document.ok()) << text << document.status().message();
    EXPECT_EQ(to_json(document->root), text);
  }
  EXPECT_EQ(to_json(parsed(R"({"\u00e9\"":"\ud83d\ude00\/"})").root), R"({"é\"":"😀/"})");
}

TEST(JsonText, MalformedTextIsAnError) {
  for (const std::string_view text : {"",
                                      "  ",
                                      "1",
                                      "\"a\"",
                                      "{",
                                      "[",
                                      "{]",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":01}",
                                      "{\"a\":1.}",
                                      "{\"a\":.5}",
                                      "{\"a\":+1}",
                                      "{\"a\":1e}",
                                      "{\"a\":nul}",
                                      "{\"a\":tru}",
                                      "{\"a\":1}x",
                                      "{\"a\":1} {}",
                                      "{\"a\":\"\\x\"}",
                                      "{\"a\":\"\xff\"}",
                                      "{a:1}",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "{\"a\":\"\n\"}"}) {
    EXPECT_FALSE(parse_json(text).ok()) << text;
  }
}

TEST(JsonText, LimitsHold) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(parse_json(nested(256)).ok());
  EXPECT_FALSE(parse_json(nested(257)).ok());
  EXPECT_FALSE(parse_json(nested(100000)).ok());
  EXPECT_TRUE(parse_json("[1,2]", {5, 10}).ok());
  EXPECT_EQ(parse_json("[1,23]", {5, 10}).status().code(), StatusCode::kExhausted);
}

TEST(YamlText, ReadsAsKubectlDoes) {
  EXPECT_EQ(json_of("a: 1\nb: [x, z]\nc: {d: 0755, e: n}\n"),
            R"({"a":1,"b":["x","z"],"c":{"d":493,"e":false}})");
  EXPECT_EQ(json_of("{\"a\": \"x\"}"), R"({"a":"x"})");
  EXPECT_FALSE(parse_yaml("a: [").ok());
}

TEST(Value, ChangesKeepTheRest) {
  Document document = parsed("{a: 1, b: [1, 2, 3], c: {d: x}}");
  Value& root = document.root;
  root.set(document.arena, "a", Value::integer(7));
  root.set(document.arena, "e", Value::boolean(true));
  root.find("b")->insert(document.arena, 1, Value::string("new"));
  root.find("b")->erase_at(0);
  root.ensure(document.arena, "c.f.g").set(document.arena, "h", Value());
  EXPECT_TRUE(root.erase("e"));
  EXPECT_FALSE(root.erase("e"));
  EXPECT_EQ(to_json(root), R"({"a":7,"b":["new",2,3],"c":{"d":"x","f":{"g":{"h":null}}}})");
  EXPECT_EQ(root.at("c.d").as_string(), "x");
  EXPECT_TRUE(root.at("c.nothing.there").is_null());
}

TEST(Value, EqualityIgnoresOrderOfMembersOnly) {
  EXPECT_TRUE(parsed("{a: 1, b: {c: [1, 2]}}").root == parsed("{b: {c: [1, 2]}, a: 1}").root);
  EXPECT_FALSE(parsed("{a: [1, 2]}").root == parsed("{a: [2, 1]}").root);
  EXPECT_FALSE(parsed("{a: 1}").root == parsed("{a: 1, b: 1}").root);
  EXPECT_FALSE(parsed("{a: 1}").root == parsed("{a: '1'}").root);
}

TEST(Value, ManyMembersAreFound) {
  Document document;
  document.root = Value::object();
  for (int i = 0; i < 1000; ++i) {
    document.root.append(document.arena, document.arena.copy("key" + std::to_string(i)),
                         Value::integer(i));
  }
  const MemberIndex index(document.root);
  EXPECT_EQ(index.find("key999")->value.as_int(), 999);
  EXPECT_EQ(index.find("key1000"), nullptr);
  document.root.sort_members();
  EXPECT_EQ(document.root.get("key500").as_int(), 500);
  const Document copied = document.clone();
  EXPECT_TRUE(copied.root == document.root);
}

}  // namespace
}  // namespace fairlead::schema
