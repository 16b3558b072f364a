#include "control/store/embedded/record.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace fairlead::store {
namespace {

Event event_of(Event::Type type, Entry entry) {
  return {type, std::make_shared<const Entry>(std::move(entry)), nullptr};
}

TEST(Record, ReadsWhatItWrote) {
  Entry entry{"/key", std::string("va\0lue", 6), 5, 300, 7, 1234567890123};
  const std::string head = encode_record_head(event_of(Event::Type::kPut, entry));
  const Event read = decode_record(300, head + entry.value).value();
  EXPECT_EQ(read.type, Event::Type::kPut);
  EXPECT_EQ(read.entry->key, entry.key);
  EXPECT_EQ(read.entry->value, entry.value);
  EXPECT_EQ(read.entry->create_revision, 5);
  EXPECT_EQ(read.entry->mod_revision, 300);
  EXPECT_EQ(read.entry->version, 7);
  EXPECT_EQ(read.entry->lease, 1234567890123);

  const Entry removal{"/key", "", 0, 301, 0, 0};
  const Event removed =
      decode_record(301, encode_record_head(event_of(Event::Type::kDelete, removal))).value();
  EXPECT_EQ(removed.type, Event::Type::kDelete);
  EXPECT_EQ(removed.entry->key, "/key");
}

// The bytes on disk do not change by accident.
TEST(Record, LayoutIsAsDocumented) {
  const Entry entry{"/k", "v", 1, 300, 2, 3};
  EXPECT_EQ(encode_record_head(event_of(Event::Type::kPut, entry)),
            std::string("\x01\x00\x01\x02\x03\x02/k", 8));
  EXPECT_EQ(record_key(300), std::string("r\0\0\0\0\0\0\x01\x2c", 9));
  EXPECT_EQ(lease_key(1), std::string("l\0\0\0\0\0\0\0\x01", 9));
  EXPECT_EQ(encode_number(300), "\x01\xac\x02");
}

TEST(Record, KeysSortByNumber) {
  EXPECT_LT(record_key(255), record_key(256));
  EXPECT_LT(lease_key(INT64_MAX), record_key(1));
  EXPECT_EQ(number_in_key(record_key(INT64_MAX), 'r').value(), INT64_MAX);
}

TEST(Record, RefusesWhatItCannotHaveWritten) {
  const auto refused = [](std::string_view bytes) {
    return decode_record(9, bytes).status().code() == StatusCode::kInvalid;
  };
  using std::string_view_literals::operator""sv;
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused("\x02\x00\x09\x01\x00\x01k"sv));   // format
  EXPECT_TRUE(refused("\x01\x02\x09\x01\x00\x01k"sv));   // kind
  EXPECT_TRUE(refused("\x01\x00\x09\x01\x00\x02k"sv));   // key longer than the record
  EXPECT_TRUE(refused("\x01\x00\x09\x01\x00\x00"sv));    // no key
  EXPECT_TRUE(refused("\x01\x00\x0a\x01\x00\x01k"sv));   // created after its revision
  EXPECT_TRUE(refused("\x01\x00\x09\x02\x00\x01k"sv));   // created now, but changed before
  EXPECT_TRUE(refused("\x01\x00\x08\x01\x00\x01k"sv));   // changed since, but version 1
  EXPECT_TRUE(refused("\x01\x01\x00\x00\x00\x01kv"sv));  // a removal with a value
  EXPECT_TRUE(refused("\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x00\x01k"sv));
  EXPECT_FALSE(refused("\x01\x00\x09\x01\x00\x01k"sv));
  EXPECT_FALSE(number_in_key("r\0\0\0\0\0\0\0\0"sv, 'r').ok());
  EXPECT_FALSE(number_in_key("r\xff\0\0\0\0\0\0\1"sv, 'r').ok());
  EXPECT_FALSE(number_in_key("r12"sv, 'r').ok());
  EXPECT_FALSE(decode_number("\x01\x80"sv).ok());
  EXPECT_FALSE(decode_number("\x01\x01\x01"sv).ok());
}

}  // namespace
}  // namespace fairlead::store
