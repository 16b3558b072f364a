#include "proxy/runtime/process_stats.h"

#include <gtest/gtest.h>

#include <chrono>

namespace fairlead::proxy {
namespace {

TEST(ProcStat, ReadsAroundAnyName) {
  const auto stat = parse_proc_stat(
      "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0 7 0 5000 4096000 300 "
      "18446744073709551615");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->cpu_ticks, 123U);
  EXPECT_EQ(stat->threads, 7U);
  EXPECT_EQ(stat->start_ticks, 5000U);
  EXPECT_EQ(stat->virtual_bytes, 4096000U);
  EXPECT_EQ(stat->resident_pages, 300U);
}

TEST(ProcStat, RefusesOtherText) {
  for (const char* text :
       {"", "42", "42 (a) S 1 2", "42 (a) S x x x x x x x x x x x x x x x x x x x x x x"}) {
    EXPECT_FALSE(parse_proc_stat(text)) << text;
  }
}

TEST(ProcessStats, SpeakOfThisProcess) {
  const auto stats = read_process_stats();
  ASSERT_TRUE(stats.ok()) << stats.status().message();
  EXPECT_GT(stats->resident_bytes, 100'000U);
  EXPECT_GE(stats->virtual_bytes, stats->resident_bytes);
  EXPECT_GE(stats->open_fds, 3U);
  EXPECT_GE(stats->max_fds, stats->open_fds);
  EXPECT_GE(stats->threads, 1U);
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_LE(stats->start_time, now + 60);
  EXPECT_GT(stats->start_time, now - 24.0 * 3600);
}

TEST(ProcessStats, MissingProcIsAnError) {
  EXPECT_FALSE(read_process_stats("/nowhere").ok());
}

}  // namespace
}  // namespace fairlead::proxy
