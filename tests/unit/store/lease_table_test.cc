#include "control/store/lease_table.h"

#include <gtest/gtest.h>

namespace fairlead::store {
namespace {

using std::chrono::seconds;

EntryPtr entry(const std::string& key, LeaseId lease) {
  auto made = std::make_shared<Entry>();
  made->key = key;
  made->lease = lease;
  return made;
}

TEST(LeaseTable, ExpiresWhenNotKeptAlive) {
  LeaseTable table;
  const LeaseTable::Time start;
  EXPECT_FALSE(table.next_deadline());
  table.grant(1, seconds(10), start);
  table.grant(2, seconds(20), start);
  EXPECT_EQ(table.next_deadline(), start + seconds(10));
  EXPECT_TRUE(table.expired(start + seconds(9)).empty());
  EXPECT_EQ(table.keep_alive(1, start + seconds(9)), seconds(10));
  EXPECT_TRUE(table.expired(start + seconds(18)).empty());
  EXPECT_EQ(table.expired(start + seconds(19)), std::vector<LeaseId>{1});
  EXPECT_EQ(table.expired(start + seconds(20)), (std::vector<LeaseId>{1, 2}));
  EXPECT_FALSE(table.keep_alive(3, start));
}

TEST(LeaseTable, KeysFollowTheirEntries) {
  LeaseTable table;
  table.grant(1, seconds(10), {});
  table.grant(2, seconds(10), {});
  table.follow(nullptr, entry("a", 1));
  table.follow(nullptr, entry("b", 1));
  table.follow(nullptr, entry("c", 1));
  table.follow(entry("a", 1), entry("a", 2));
  table.follow(entry("b", 1), nullptr);
  table.follow(nullptr, entry("d", 3));  // of a lease that is gone
  EXPECT_EQ(table.remove(1), std::vector<std::string>{"c"});
  EXPECT_EQ(table.remove(2), std::vector<std::string>{"a"});
  EXPECT_TRUE(table.remove(2).empty());
  EXPECT_FALSE(table.next_deadline());
}

}  // namespace
}  // namespace fairlead::store
