#include "proxy/runtime/addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <functional>

#include "proxy/runtime/address_message.h"
#include "tests/unit/proxy_runtime/netns.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Prefix;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

std::vector<std::string> select(std::vector<std::string> addresses,
                                std::vector<std::string> prefixes) {
  std::vector<InterfaceAddress> held;
  for (const std::string& text : addresses) {
    held.push_back({Address::parse(text).value(), 24, 1, "eth0", false});
  }
  std::vector<Prefix> wanted;
  for (const std::string& text : prefixes) wanted.push_back(Prefix::parse(text).value());
  std::vector<std::string> chosen;
  for (const Address& address : select_addresses(held, wanted)) {
    chosen.push_back(address.to_string());
  }
  return chosen;
}

TEST(SelectAddresses, TakesWhatThePrefixesContainOnce) {
  EXPECT_THAT(
      select({"10.0.0.1", "10.0.0.1", "192.0.2.1", "fd00::1"}, {"10.0.0.0/8", "10.0.0.0/24"}),
      ElementsAre("10.0.0.1"));
  EXPECT_THAT(select({"10.0.0.1", "fd00::1"}, {}), IsEmpty());
}

TEST(SelectAddresses, EverythingMeansNeitherLoopbackNorLinkLocalIpv6) {
  EXPECT_THAT(select({"127.0.0.1", "10.0.0.1", "169.254.1.1", "::1", "fe80::1", "fd00::1"},
                     {"0.0.0.0/0", "::/0"}),
              ElementsAre("10.0.0.1", "169.254.1.1", "fd00::1"));
  EXPECT_THAT(select({"127.0.0.1", "10.0.0.1"}, {"127.0.0.0/8"}), ElementsAre("127.0.0.1"));
}

// The payload of an RTM_NEWADDR message.
std::vector<uint8_t> address_payload(const ifaddrmsg& head,
                                     const std::function<void(netlink::MessageBuilder&)>& fill) {
  netlink::MessageBuilder message(RTM_NEWADDR, 0);
  message.header(head);
  fill(message);
  const netlink::Bytes bytes = message.finish(0);
  return {bytes.begin() + sizeof(nlmsghdr), bytes.end()};
}

TEST(AddressMessageTest, OursIsTheLocalAddressNotThePeers) {
  ifaddrmsg head{};
  head.ifa_family = AF_INET;
  head.ifa_prefixlen = 32;
  head.ifa_index = 4;
  const auto payload = address_payload(head, [](netlink::MessageBuilder& message) {
    message.attribute(IFA_ADDRESS, std::array<uint8_t, 4>{10, 0, 0, 2});
    message.attribute(IFA_LOCAL, std::array<uint8_t, 4>{10, 0, 0, 1});
  });
  const auto parsed = parse_address_message(payload);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->address.to_string(), "10.0.0.1");
  EXPECT_EQ(parsed->interface_index, 4U);
  EXPECT_TRUE(parsed->usable);
}

TEST(AddressMessageTest, AFailedDuplicateDetectionIsNotUsable) {
  ifaddrmsg head{};
  head.ifa_family = AF_INET6;
  head.ifa_prefixlen = 64;
  const auto payload = address_payload(head, [](netlink::MessageBuilder& message) {
    message.attribute(IFA_ADDRESS, std::array<uint8_t, 16>{0xfd, 1});
    message.attribute(IFA_FLAGS, uint32_t{IFA_F_DADFAILED | IFA_F_PERMANENT});
  });
  ASSERT_TRUE(parse_address_message(payload));
  EXPECT_FALSE(parse_address_message(payload)->usable);
}

TEST(AddressMessageTest, MalformedMessagesAreRefused) {
  ifaddrmsg head{};
  head.ifa_family = AF_INET;
  head.ifa_prefixlen = 33;
  EXPECT_FALSE(parse_address_message({}));
  const auto with_address = [](netlink::MessageBuilder& message) {
    message.attribute(IFA_ADDRESS, std::array<uint8_t, 4>{10, 0, 0, 2});
  };
  EXPECT_FALSE(parse_address_message(address_payload(head, with_address)));
  head.ifa_prefixlen = 24;
  EXPECT_TRUE(parse_address_message(address_payload(head, with_address)));
  EXPECT_FALSE(parse_address_message(address_payload(head, [](netlink::MessageBuilder&) {})));
  EXPECT_FALSE(parse_address_message(address_payload(head, [](netlink::MessageBuilder& message) {
    message.attribute(IFA_ADDRESS, std::array<uint8_t, 5>{});
  })));
  auto cut = address_payload(head, with_address);
  cut.pop_back();
  EXPECT_FALSE(parse_address_message(cut));
}

std::vector<std::string> names(const AddressWatcher& watcher) {
  std::vector<std::string> list;
  for (const InterfaceAddress& held : watcher.addresses()) {
    list.push_back(held.interface_name + " " + held.address.to_string() + "/" +
                   std::to_string(held.prefix_length));
  }
  return list;
}

// Waits for news; fails the test rather than hang.
void wait_for_change(AddressWatcher& watcher) {
  while (true) {
    pollfd news{watcher.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&news, 1, 20000), 1);
    const auto changed = watcher.process();
    ASSERT_TRUE(changed.ok()) << changed.status().message();
    if (*changed) return;
  }
}

TEST(AddressWatcherTest, FollowsTheInterfaces) {
  if (!can_create_netns()) GTEST_SKIP() << "needs to create a network namespace";
  in_new_netns([] {
    auto opened = AddressWatcher::open();
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    AddressWatcher& watcher = **opened;
    EXPECT_THAT(names(watcher), UnorderedElementsAre("lo 127.0.0.1/8", "lo ::1/128"));
    EXPECT_TRUE(watcher.addresses()[0].loopback_interface);

    ASSERT_TRUE(shell("ip link add d0 type veth peer name d1 && ip addr add 10.9.0.1/24 dev d0"));
    wait_for_change(watcher);
    EXPECT_THAT(names(watcher),
                UnorderedElementsAre("lo 127.0.0.1/8", "lo ::1/128", "d0 10.9.0.1/24"));

    ASSERT_TRUE(shell("ip addr del 10.9.0.1/24 dev d0"));
    wait_for_change(watcher);
    EXPECT_THAT(names(watcher), UnorderedElementsAre("lo 127.0.0.1/8", "lo ::1/128"));
    const auto again = watcher.process();
    ASSERT_TRUE(again.ok());
    EXPECT_FALSE(*again);
  });
}

TEST(AddressWatcherTest, ListsAgainAfterAnOverrun) {
  if (!can_create_netns()) GTEST_SKIP() << "needs to create a network namespace";
  in_new_netns([] {
    auto opened = AddressWatcher::open();
    ASSERT_TRUE(opened.ok());
    ASSERT_TRUE(shell("ip link add d0 type veth peer name d1"));
    // Room for next to nothing: the kernel must drop notifications.
    const int tiny = 1;
    ASSERT_EQ(::setsockopt((*opened)->fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny), 0);
    ASSERT_TRUE(
        shell("for i in $(seq 1 60); do echo addr add 10.9.0.$i/32 dev d0; done | ip -b -"));
    const auto changed = (*opened)->process();
    ASSERT_TRUE(changed.ok()) << changed.status().message();
    EXPECT_TRUE(*changed);
    EXPECT_EQ((*opened)->addresses().size(), 62U);
  });
}

}  // namespace
}  // namespace fairlead::proxy
