#include "base/status.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/mailbox.h"

namespace fairlead {
namespace {

TEST(Status, MessageNamesOperationObjectAndReason) {
  const Status status =
      Status::error(StatusCode::kInvalid, "parse", "service default/web", "port 70000");
  EXPECT_EQ(status.message(), "parse service default/web: port 70000");
  EXPECT_EQ(Status().message(), "ok");
}

TEST(Status, ErrnoDecidesTheCode) {
  const Status status = Status::from_errno(EPERM, "open", "/proc/sys/x");
  EXPECT_EQ(status.code(), StatusCode::kPermission);
  EXPECT_EQ(status.system_errno(), EPERM);
  EXPECT_EQ(status.message(), "open /proc/sys/x: Operation not permitted");
}

Result<int> half(int value) {
  if (value % 2 != 0) return Status::error(StatusCode::kInvalid, "halve", "value", "odd");
  return value / 2;
}

Result<int> quarter(int value) {
  int halved = 0;
  ASSIGN_OR_RETURN(halved, half(value));
  return half(halved);
}

TEST(Result, MacrosPassValuesAndErrors) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).status().message(), "halve value: odd");
  EXPECT_EQ(quarter(3).status().code(), StatusCode::kInvalid);
}

TEST(Mailbox, TakesEverythingInOrder) {
  Mailbox<int> mailbox;
  mailbox.post(1);
  mailbox.post(2);
  EXPECT_EQ(mailbox.take(), (std::vector<int>{1, 2}));
  EXPECT_TRUE(mailbox.take().empty());
}

}  // namespace
}  // namespace fairlead
