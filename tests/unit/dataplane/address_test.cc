#include "dataplane/address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace fairlead::dataplane {
namespace {

struct ParseCase {
  const char* text;
  const char* expected;  // null: refused
};

class AddressParse : public ::testing::TestWithParam<ParseCase> {};

TEST_P(AddressParse, Gives) {
  const std::optional<Address> parsed = Address::parse(GetParam().text);
  ASSERT_EQ(parsed.has_value(), GetParam().expected != nullptr) << GetParam().text;
  if (parsed) {
    EXPECT_EQ(parsed->to_string(), GetParam().expected);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Texts, AddressParse,
    ::testing::Values(
        ParseCase{"10.0.0.1", "10.0.0.1"}, ParseCase{"255.255.255.255", "255.255.255.255"},
        ParseCase{"010.0.0.1", nullptr}, ParseCase{"10.0.0", nullptr},
        ParseCase{"10.0.0.256", nullptr}, ParseCase{"10.0.0.1 ", nullptr}, ParseCase{"", nullptr},
        ParseCase{"fd00::1", "fd00::1"}, ParseCase{"FD00:0:0:0:0:0:0:1", "fd00::1"},
        ParseCase{"::", "::"}, ParseCase{"::1", "::1"}, ParseCase{"1::", "1::"},
        ParseCase{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"}, ParseCase{"1:0:0:4:0:0:0:8", "1:0:0:4::8"},
        ParseCase{"::ffff:10.0.0.1", "10.0.0.1"}, ParseCase{"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
        ParseCase{"1:2:3:4:5:6:7", nullptr}, ParseCase{"1:2:3:4:5:6:7:8:9", nullptr},
        ParseCase{"1::2::3", nullptr}, ParseCase{":1:2:3:4:5:6:7", nullptr},
        ParseCase{"1:2:3:4:5:6:7:", nullptr}, ParseCase{"12345::", nullptr},
        ParseCase{"1:2:3:4:5:6:7::8", nullptr}, ParseCase{"fe80::1%eth0", nullptr},
        ParseCase{"::1.2.3.4.5", nullptr}, ParseCase{":", nullptr}, ParseCase{":::", nullptr}));

TEST(PrefixParse, ClearsHostBitsAndChecksLength) {
  EXPECT_EQ(Prefix::parse("10.1.2.3/8")->to_string(), "10.0.0.0/8");
  EXPECT_EQ(Prefix::parse("fd00:1::1/16")->to_string(), "fd00::/16");
  EXPECT_EQ(Prefix::parse("0.0.0.0/0")->to_string(), "0.0.0.0/0");
  for (const char* bad :
       {"10.0.0.0/33", "10.0.0.0", "fd00::/129", "10.0.0.0/", "10.0.0.0/08", "x/8"}) {
    EXPECT_FALSE(Prefix::parse(bad)) << bad;
  }
}

TEST(PrefixContains, KeepsFamiliesApart) {
  EXPECT_TRUE(Prefix::parse("10.0.0.0/9")->contains(*Address::parse("10.127.0.1")));
  EXPECT_FALSE(Prefix::parse("10.0.0.0/9")->contains(*Address::parse("10.128.0.1")));
  EXPECT_FALSE(Prefix::parse("0.0.0.0/0")->contains(*Address::parse("::")));
}

RC_GTEST_PROP(AddressText, ReadsBackAndAgreesWithInetNtop, ()) {
  std::array<uint8_t, 16> bytes;
  // Many zero groups, so that compression is exercised.
  for (uint8_t& byte : bytes)
    byte = *rc::gen::oneOf(rc::gen::just<uint8_t>(0), rc::gen::arbitrary<uint8_t>());
  const Address address = Address::v6(bytes);
  RC_ASSERT(Address::parse(address.to_string()) == address);
  char expected[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, bytes.data(), expected, sizeof expected);
  // glibc writes some addresses with an embedded quad; those are compared by value above.
  if (!address.is_v4() && std::string(expected).find('.') == std::string::npos) {
    RC_ASSERT(address.to_string() == expected);
  }
}

RC_GTEST_PROP(AddressText, NeverReadsWhatInetPtonRefuses, ()) {
  const auto text =
      *rc::gen::container<std::string>(rc::gen::elementOf(std::string("0123456789abcf:.")));
  const std::optional<Address> ours = Address::parse(text);
  uint8_t buffer[16];
  const bool theirs = inet_pton(AF_INET6, text.c_str(), buffer) == 1 ||
                      inet_pton(AF_INET, text.c_str(), buffer) == 1;
  RC_ASSERT(ours.has_value() == theirs);
}

}  // namespace
}  // namespace fairlead::dataplane
