#include "control/net/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/net/gzip.h"

namespace fairlead::net {
namespace {

TEST(Text, PercentDecode) {
  EXPECT_EQ(percent_decode("a%20b+c", false), "a b+c");
  EXPECT_EQ(percent_decode("a%20b+c", true), "a b c");
  EXPECT_EQ(percent_decode("%e2%82%AC", false), "\xe2\x82\xac");
  for (const char* bad : {"%", "%1", "%zz", "a%00b"}) {
    EXPECT_EQ(percent_decode(bad, false), std::nullopt) << bad;
  }
}

TEST(Text, SplitTarget) {
  struct Target {
    const char* target;
    bool ok;
    const char* path;
    const char* query;
  };
  for (const Target& each :
       {Target{"/a/b?c=d?e", true, "/a/b", "c=d?e"}, Target{"/", true, "/", ""},
        Target{"http://h:1/x", true, "/x", ""}, Target{"http://h?q", true, "/", "q"},
        Target{"*", true, "*", ""}, Target{"a/b", false, "", ""}, Target{"", false, "", ""},
        Target{"/%zz", false, "", ""}}) {
    std::string path;
    std::string query;
    EXPECT_EQ(split_target(each.target, path, query), each.ok) << each.target;
    if (each.ok) {
      EXPECT_EQ(path, each.path);
      EXPECT_EQ(query, each.query);
    }
  }
}

TEST(Text, DateLooksLikeADate) {
  EXPECT_THAT(http_date(), ::testing::MatchesRegex(
                               "[A-Z][a-z][a-z], [0-9][0-9] [A-Z][a-z][a-z] [0-9][0-9][0-9][0-9] "
                               "[0-9][0-9]:[0-9][0-9]:[0-9][0-9] GMT"));
}

TEST(Gzip, Negotiation) {
  for (const char* yes : {"gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br;q=1.0, gzip ; q=0.001"}) {
    EXPECT_TRUE(accepts_gzip(yes)) << yes;
  }
  for (const char* no : {"", "identity", "gzip;q=0", "gzip;q=0.000", "xgzip"}) {
    EXPECT_FALSE(accepts_gzip(no)) << no;
  }
}

TEST(Gzip, CompressesAnything) {
  std::string noise;
  uint32_t state = 1;
  for (int i = 0; i < 100000; ++i)
    noise += static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  EXPECT_GT(gzip_compress(noise)->size(), 90000u);  // does not compress, but must come through
  EXPECT_LT(gzip_compress(std::string(100000, 'a'))->size(), 2000u);
  EXPECT_FALSE(gzip_compress("")->empty());
}

}  // namespace
}  // namespace fairlead::net
