#include <gtest/gtest.h>

#include "control/api/decode.h"

namespace fairlead::api {
namespace {

TEST(Rfc3339, ReadsWhatIsWellFormed) {
  const struct {
    const char* text;
    int64_t micros;
  } cases[] = {
      {"1970-01-01T00:00:00Z", 0},
      {"2026-01-02T03:04:05Z", 1767323045000000},
      {"2026-01-02T03:04:05.000006Z", 1767323045000006},
      {"2026-01-02T03:04:05.5Z", 1767323045500000},
      {"2026-01-02T03:04:05.123456789Z", 1767323045123456},
      {"2026-01-02T05:04:05+02:00", 1767323045000000},
      {"2026-01-01T21:34:05-05:30", 1767323045000000},
      {"2024-02-29t00:00:00z", 1709164800000000},
      {"1969-12-31T23:59:59.5Z", -500000},
  };
  for (const auto& c : cases) EXPECT_EQ(parse_rfc3339_micros(c.text), c.micros) << c.text;
}

TEST(Rfc3339, RefusesTheRest) {
  for (const char* text : {"", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z",
                           "2026-02-29T03:04:05Z", "2026-01-02T24:04:05Z", "2026-01-02T03:60:05Z",
                           "2026-01-02T03:04:60Z", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05Zx",
                           "2026-01-02T03:04:05+0200", "26-01-02T03:04:05Z", "2026-01-02 03:04:05Z",
                           "2026-01-02T03:04:05+24:00", "-026-01-02T03:04:05Z"}) {
    EXPECT_EQ(parse_rfc3339_micros(text), std::nullopt) << text;
  }
}

TEST(Rfc3339, SecondsRoundDown) {
  EXPECT_EQ(parse_rfc3339_seconds("2026-01-02T03:04:05.999Z"), 1767323045);
  EXPECT_EQ(parse_rfc3339_seconds("1969-12-31T23:59:59.5Z"), -1);
}

TEST(Rfc3339, FormatsWithMicroseconds) {
  EXPECT_EQ(format_rfc3339_micros(1767323045000006), "2026-01-02T03:04:05.000006Z");
  EXPECT_EQ(format_rfc3339_micros(-1), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(parse_rfc3339_micros(format_rfc3339_micros(1709164800123456)), 1709164800123456);
}

}  // namespace
}  // namespace fairlead::api
