#include "control/api/json_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fairlead::api {
namespace {

TEST(JsonWriter, PutsCommasBetweenSiblingsOnly) {
  JsonWriter json;
  json.begin_object()
      .key("a")
      .begin_array()
      .number(1)
      .number(2)
      .begin_object()
      .end_object()
      .end_array();
  json.key("b").boolean(true).key("c").null().key("d").raw("[0]").end_object();
  EXPECT_EQ(json.text(), R"({"a":[1,2,{}],"b":true,"c":null,"d":[0]})");
}

TEST(JsonWriter, EscapesAndRepairsStrings) {
  const struct {
    std::string in;
    std::string out;
  } cases[] = {
      {"plain", R"("plain")"},
      {"q\"b\\", R"("q\"b\\")"},
      {"\n\r\t\x01\x7f", "\"\\n\\r\\t\\u0001\x7f\""},
      {std::string("\0", 1), R"("\u0000")"},
      {"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80", "\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80\""},
      {"\xC3", "\"\xEF\xBF\xBD\""},
      {"\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                  // overlong
      {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},  // a surrogate
      {"\xF4\x90\x80\x80x", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDx\""},
  };
  for (const auto& c : cases) {
    JsonWriter json;
    json.string(c.in);
    EXPECT_EQ(json.text(), c.out);
  }
}

TEST(JsonWriter, WritesNumbersThatReadBackTheSame) {
  JsonWriter json;
  json.begin_array();
  json.number(std::numeric_limits<int64_t>::min()).number(std::numeric_limits<uint64_t>::max());
  json.number(0.1).number(1e300).number(-0.0).number(std::nan("")).number(INFINITY);
  json.end_array();
  EXPECT_EQ(json.take(), "[-9223372036854775808,18446744073709551615,0.1,1e+300,-0,null,null]");
}

}  // namespace
}  // namespace fairlead::api
