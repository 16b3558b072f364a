#include "tests/unit/proxy_runtime/netns.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <thread>

namespace fairlead::proxy {

bool can_create_netns() {
  bool can = false;
  std::thread([&can] { can = ::unshare(CLONE_NEWNET) == 0; }).join();
  return can;
}

void in_new_netns(const std::function<void()>& body) {
  std::thread([&body] {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    ASSERT_TRUE(shell("ip link set lo up"));
    body();
  }).join();
}

bool shell(const std::string& command) {
  return std::system(command.c_str()) == 0;
}

}  // namespace fairlead::proxy
