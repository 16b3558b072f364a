// The change of SCTP's checksum that the programs compute, against a CRC32c over the whole packet.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "bpf/programs/sctp.bpf.h"

namespace fairlead::bpf {
namespace {

uint32_t crc32c(const std::vector<uint8_t>& bytes) {
  uint32_t crc = 0xffffffff;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
  }
  return ~crc;
}

void expect_right_change(std::mt19937& random, uint32_t size) {
  std::vector<uint8_t> packet(size);
  for (uint8_t& byte : packet) byte = static_cast<uint8_t>(random());
  uint32_t before, after = random();
  std::memcpy(&before, packet.data(), sizeof(before));
  const uint32_t old = crc32c(packet);
  std::memcpy(packet.data(), &after, sizeof(after));
  EXPECT_EQ(sctp_crc_change(old, before, after, size), crc32c(packet)) << size << " bytes";
}

TEST(SctpCrc, TheReferenceIsCrc32c) {
  const std::string digits = "123456789";
  EXPECT_EQ(crc32c({digits.begin(), digits.end()}), 0xe3069283U);
}

TEST(SctpCrc, EveryPowerOfTwoAndItsNeighbours) {
  std::mt19937 random(1);
  for (uint32_t power = 16; power <= 32768; power *= 2) {
    for (const uint32_t size : {power - 1, power, power + 1}) expect_right_change(random, size);
  }
  expect_right_change(random, 65535);
}

TEST(SctpCrc, AnyLength) {
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) expect_right_change(random, 12 + random() % 1500);
}

TEST(SctpCrc, NoChangeOfPortsChangesNothing) {
  EXPECT_EQ(sctp_crc_change(0x12345678, 0xabcd1234, 0xabcd1234, 1000), 0x12345678U);
}

}  // namespace
}  // namespace fairlead::bpf
