// Quantities, durations and ages: the spellings of the API.
#include "control/schema/scalars.h"

#include <gtest/gtest.h>

#include <string_view>
#include <utility>

#include "control/schema/quantity.h"

namespace fairlead::schema {
namespace {

std::string canonical(std::string_view text) {
  const auto quantity = Quantity::parse(text);
  return quantity ? quantity->to_string() : "malformed";
}

TEST(Quantity, CanonicalForms) {
  for (const auto& [text, expected] : std::initializer_list<std::pair<const char*, const char*>>{
           {"0", "0"},
           {"0.0Gi", "0"},
           {"1", "1"},
           {"0.5", "500m"},
           {".5", "500m"},
           {"1.", "1"},
           {"100m", "100m"},
           {"1000m", "1"},
           {"1500m", "1500m"},
           {"1Gi", "1Gi"},
           {"1024Mi", "1Gi"},
           {"1.5Gi", "1536Mi"},
           {"1536", "1536"},
           {"1Ki", "1Ki"},
           {"0.5Ki", "512"},
           {"0.5Mi", "512Ki"},
           {"1000", "1k"},
           {"1e3", "1e3"},
           {"12e6", "12e6"},
           {"1E3", "1e3"},
           {"1E", "1E"},
           {"1.5e3", "1500"},
           {"-5", "-5"},
           {"-1.5Gi", "-1536Mi"},
           {"+3", "3"},
           {"1n", "1n"},
           {"0.1n", "1n"},
           {"1u", "1u"},
           {"0.001u", "1n"},
           {"128974848", "128974848"},
           {"129e6", "129e6"},
           {"123Mi", "123Mi"},
           {"9223372036854775807", "9223372036854775807"},
           {"100Ei", "9223372036854775807"},
           {"1e100", "9223372036854775807"},
           {"0.0000000000001", "1n"},
           {"00001", "1"},
           {"", "malformed"},
           {"Gi", "malformed"},
           {"1gi", "malformed"},
           {"1 Gi", "malformed"},
           {"1..5", "malformed"},
           {"1.5.5", "malformed"},
           {"1e", "malformed"},
           {"1K", "malformed"},
           {"--1", "malformed"},
           {"0x1", "malformed"},
           {"1e9999999999", "malformed"}}) {
    const std::string found = canonical(text);
    EXPECT_EQ(found, expected) << text;
    if (found != "malformed") {
      EXPECT_EQ(canonical(found), found) << text;
    }
  }
}

TEST(Quantity, ComparesAndRounds) {
  const auto of = [](std::string_view text) { return *Quantity::parse(text); };
  EXPECT_LT(of("999m"), of("1"));
  EXPECT_EQ(of("1024"), of("1Ki"));
  EXPECT_GT(of("1Gi"), of("1G"));
  EXPECT_EQ(of("1001m").whole(), 2);
  EXPECT_EQ(of("1500u").milli(), 2);
  EXPECT_EQ((of("1Gi") + of("512Mi")).to_string(), "1536Mi");
  EXPECT_TRUE(of("-1").negative());
}

TEST(Duration, GoForms) {
  for (const auto& [text, expected] :
       std::initializer_list<std::pair<const char*, const char*>>{{"0", "0s"},
                                                                  {"1h30m", "1h30m0s"},
                                                                  {"90s", "1m30s"},
                                                                  {"1.5s", "1.5s"},
                                                                  {"100ms", "100ms"},
                                                                  {"1us", "1µs"},
                                                                  {"-1m", "-1m0s"},
                                                                  {"1h0.5s", "1h0m0.5s"},
                                                                  {"15ns", "15ns"},
                                                                  {"", "bad"},
                                                                  {"1", "bad"},
                                                                  {"s", "bad"},
                                                                  {"1x", "bad"},
                                                                  {"1h-1m", "bad"},
                                                                  {"999999999h", "bad"},
                                                                  {".s", "bad"}}) {
    const auto duration = parse_duration(text);
    EXPECT_EQ(duration ? format_duration(*duration) : "bad", expected) << text;
  }
}

TEST(HumanDuration, AsTablesPrintAges) {
  for (const auto& [seconds, expected] :
       std::initializer_list<std::pair<int64_t, const char*>>{{-5, "<invalid>"},
                                                              {0, "0s"},
                                                              {119, "119s"},
                                                              {120, "2m"},
                                                              {185, "3m5s"},
                                                              {599, "9m59s"},
                                                              {600, "10m"},
                                                              {10799, "179m"},
                                                              {10800, "3h"},
                                                              {12660, "3h31m"},
                                                              {28800, "8h"},
                                                              {172799, "47h"},
                                                              {172800, "2d"},
                                                              {180000, "2d2h"},
                                                              {691200, "8d"},
                                                              {63072000, "2y"},
                                                              {63158400, "2y1d"},
                                                              {252288000, "8y"}}) {
    EXPECT_EQ(human_duration(seconds), expected) << seconds;
  }
}

TEST(Time, Format) {
  EXPECT_EQ(format_time(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_time(-1), "1969-12-31T23:59:59Z");
  EXPECT_EQ(format_time(1767323045), "2026-01-02T03:04:05Z");
  EXPECT_EQ(format_time(INT64_MAX), "9999-12-31T23:59:59Z");
  EXPECT_EQ(format_time(INT64_MIN), "0000-01-01T00:00:00Z");
}

}  // namespace
}  // namespace fairlead::schema
