#include "proxy/runtime/conntrack.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "proxy/runtime/conntrack_message.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::Family;
using dataplane::Protocol;
using dataplane::SocketAddress;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

SocketAddress at(const std::string& address, uint16_t port) {
  return {Address::parse(address).value(), port};
}

ConntrackTargets targets(std::vector<SocketAddress> list) {
  return std::make_shared<const std::vector<SocketAddress>>(std::move(list));
}

// A table of flows in memory; ids say which of them are left.
struct FakeKernel {
  std::mutex mutex;
  std::vector<ConntrackFlow> flows;
  std::vector<ConntrackFilter> lists;
  std::deque<Status> list_failures;    // for the next lists
  std::deque<Status> remove_failures;  // for the next removals
  std::function<void()> while_listing;

  void add(uint32_t id, Protocol protocol, SocketAddress destination, SocketAddress replies_from,
           uint16_t zone = 0) {
    const SocketAddress client =
        at(destination.address.is_v4() ? "10.1.1.1" : "fd01::1", static_cast<uint16_t>(id));
    flows.push_back({protocol, {client, destination}, {replies_from, client}, id, zone});
  }
  std::vector<uint32_t> left() {
    const std::lock_guard lock(mutex);
    std::vector<uint32_t> ids;
    for (const ConntrackFlow& flow : flows) ids.push_back(flow.id);
    return ids;
  }
};

class FakeTable final : public ConntrackTable {
 public:
  explicit FakeTable(FakeKernel& kernel) : kernel_(kernel) {}

  Status list(const ConntrackFilter& filter,
              const std::function<bool(const ConntrackFlow&)>& visit) override {
    std::vector<ConntrackFlow> flows;
    {
      const std::lock_guard lock(kernel_.mutex);
      kernel_.lists.push_back(filter);
      if (!kernel_.list_failures.empty()) {
        const Status failure = kernel_.list_failures.front();
        kernel_.list_failures.pop_front();
        if (!failure.ok()) return failure;
      }
      flows = kernel_.flows;
    }
    if (kernel_.while_listing) kernel_.while_listing();
    for (const ConntrackFlow& flow : flows) {
      const bool passes = flow.protocol == filter.protocol &&
                          flow.original.destination.address.family() == filter.family;
      if (passes && !visit(flow)) break;
    }
    return Status();
  }

  Status remove(const ConntrackFlow& flow) override {
    const std::lock_guard lock(kernel_.mutex);
    if (!kernel_.remove_failures.empty()) {
      const Status failure = kernel_.remove_failures.front();
      kernel_.remove_failures.pop_front();
      if (!failure.ok()) return failure;
    }
    std::erase(kernel_.flows, flow);
    return Status();
  }

 private:
  FakeKernel& kernel_;
};

class ConntrackTest : public testing::Test {
 protected:
  void start(std::chrono::milliseconds backoff = std::chrono::hours(1),
             std::chrono::milliseconds answer_patience = {}) {
    reconciler_ = ConntrackReconciler::start(
        std::make_unique<FakeTable>(kernel_), {backoff, backoff, answer_patience},
        [this](const ConntrackPass& pass) { passes_.push_back(pass); });
  }
  void reconcile(std::vector<ConntrackChange> changes, std::vector<Address> node_addresses = {}) {
    if (!reconciler_) start();
    reconciler_->post({std::move(changes), std::move(node_addresses)});
    reconciler_->flush();
  }

  FakeKernel kernel_;
  std::vector<ConntrackPass> passes_;  // written by the reconciler's thread; read after flush()
  std::unique_ptr<ConntrackReconciler> reconciler_;

  const SocketAddress vip_ = at("10.96.0.10", 53);
  const SocketAddress pod_ = at("10.0.0.1", 5353);
  const SocketAddress gone_ = at("10.0.0.2", 5353);
};

TEST_F(ConntrackTest, FlowsToAnEndpointThatIsGoneAreDeleted) {
  kernel_.add(1, Protocol::kUdp, vip_, pod_);
  kernel_.add(2, Protocol::kUdp, vip_, gone_);
  reconcile({{{Protocol::kUdp, vip_}, targets({pod_})}});
  EXPECT_THAT(kernel_.left(), ElementsAre(1));
  ASSERT_EQ(passes_.size(), 1U);
  EXPECT_EQ(passes_[0].family, Family::kIPv4);
  EXPECT_EQ(passes_[0].frontends, 1U);
  EXPECT_EQ(passes_[0].scanned, 2U);
  EXPECT_EQ(passes_[0].deleted, 1U);
}

// A question that is on its way when its endpoint goes: its answer may come, or never.
TEST_F(ConntrackTest, AFlowWithoutAReplyIsGivenAMoment) {
  kernel_.add(1, Protocol::kUdp, vip_, gone_);
  kernel_.add(2, Protocol::kUdp, vip_, gone_);
  kernel_.add(3, Protocol::kUdp, vip_, vip_);  // never translated: nobody will answer
  kernel_.flows[1].answered = kernel_.flows[2].answered = false;
  constexpr auto kPatience = std::chrono::milliseconds(100);
  start(std::chrono::hours(1), kPatience);
  const auto began = std::chrono::steady_clock::now();
  reconcile({{{Protocol::kUdp, vip_}, targets({pod_})}});
  if (std::chrono::steady_clock::now() - began < kPatience) {
    EXPECT_THAT(kernel_.left(), ElementsAre(2));
  }
  while (!kernel_.left().empty()) {
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
    if (HasFailure()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_GE(std::chrono::steady_clock::now() - began, kPatience);
}

TEST_F(ConntrackTest, ZeroEndpointsAndDeletedServicesLoseEveryFlow) {
  kernel_.add(1, Protocol::kUdp, vip_, pod_);
  kernel_.add(2, Protocol::kUdp, at("10.96.0.11", 53), pod_);
  reconcile(
      {{{Protocol::kUdp, vip_}, targets({})}, {{Protocol::kUdp, at("10.96.0.11", 53)}, nullptr}});
  EXPECT_THAT(kernel_.left(), IsEmpty());
}

TEST_F(ConntrackTest, FlowsThatWereNeverTranslatedAreDeleted) {
  kernel_.add(1, Protocol::kUdp, vip_, vip_);
  reconcile({{{Protocol::kUdp, vip_}, targets({pod_})}});
  EXPECT_THAT(kernel_.left(), IsEmpty());
}

TEST_F(ConntrackTest, OtherServicesPortsAndZonesAreLeft) {
  kernel_.add(1, Protocol::kUdp, at("10.96.0.11", 53), gone_);  // not in the request
  kernel_.add(2, Protocol::kUdp, at("10.96.0.10", 54), gone_);
  kernel_.add(3, Protocol::kUdp, vip_, gone_, 5);  // another zone
  kernel_.add(4, Protocol::kUdp, pod_, pod_);      // straight to the pod
  reconcile({{{Protocol::kUdp, vip_}, targets({pod_})}});
  EXPECT_THAT(kernel_.left(), ElementsAre(1, 2, 3, 4));
}

TEST_F(ConntrackTest, SctpIsHandledAndTcpIsNot) {
  kernel_.add(1, Protocol::kSctp, vip_, gone_);
  kernel_.add(2, Protocol::kTcp, vip_, gone_);
  kernel_.add(3, Protocol::kUdp, vip_, gone_);  // the same address of another protocol
  reconcile(
      {{{Protocol::kSctp, vip_}, targets({pod_})}, {{Protocol::kTcp, vip_}, targets({pod_})}});
  EXPECT_THAT(kernel_.left(), ElementsAre(2, 3));
  EXPECT_EQ(passes_.at(0).frontends, 1U);
}

TEST_F(ConntrackTest, NodePortsCountOnNodeAddressesOnly) {
  kernel_.add(1, Protocol::kUdp, at("192.0.2.1", 30053), gone_);
  kernel_.add(2, Protocol::kUdp, at("192.0.2.1", 30053), pod_);
  kernel_.add(3, Protocol::kUdp, at("198.51.100.9", 30053), at("198.51.100.9", 30053));
  kernel_.add(4, Protocol::kUdp, at("192.0.2.1", 30054), gone_);
  reconcile({{{Protocol::kUdp, {Address(), 30053}}, targets({pod_})}},
            {Address::parse("192.0.2.1").value()});
  EXPECT_THAT(kernel_.left(), ElementsAre(2, 3, 4));
}

TEST_F(ConntrackTest, FamiliesArePassedSeparately) {
  const SocketAddress vip6 = at("fd00::a", 53), gone6 = at("fd00:1::2", 5353);
  kernel_.add(1, Protocol::kUdp, vip_, gone_);
  kernel_.add(2, Protocol::kUdp, vip6, gone6);
  kernel_.add(3, Protocol::kUdp, at("fd00::ff", 30053), gone6);
  reconcile({{{Protocol::kUdp, vip_}, nullptr},
             {{Protocol::kUdp, vip6}, nullptr},
             {{Protocol::kUdp, {Address::v6({}), 30053}}, nullptr}},
            {Address::parse("fd00::ff").value()});
  EXPECT_THAT(kernel_.left(), IsEmpty());
  ASSERT_EQ(passes_.size(), 2U);
  EXPECT_EQ(passes_[1].family, Family::kIPv6);
  EXPECT_EQ(passes_[1].deleted, 2U);
}

TEST_F(ConntrackTest, ASingleAddressIsLeftToTheKernelToFilter) {
  reconcile({{{Protocol::kUdp, vip_}, nullptr}, {{Protocol::kUdp, at("10.96.0.10", 54)}, nullptr}});
  reconcile({{{Protocol::kUdp, vip_}, nullptr}, {{Protocol::kUdp, at("10.96.0.12", 53)}, nullptr}});
  reconcile({{{Protocol::kUdp, vip_}, nullptr}, {{Protocol::kUdp, {Address(), 30000}}, nullptr}});
  ASSERT_EQ(kernel_.lists.size(), 3U);
  EXPECT_EQ(kernel_.lists[0].destination, vip_.address);
  EXPECT_EQ(kernel_.lists[1].destination, std::nullopt);
  EXPECT_EQ(kernel_.lists[2].destination, std::nullopt);
}

TEST_F(ConntrackTest, NothingToDoListsNothing) {
  reconcile({});
  EXPECT_THAT(kernel_.lists, IsEmpty());
  EXPECT_THAT(passes_, IsEmpty());
}

TEST_F(ConntrackTest, AFlowThatWentByItselfIsNotCounted) {
  kernel_.add(1, Protocol::kUdp, vip_, gone_);
  kernel_.remove_failures = {Status::from_errno(ENOENT, "delete", "flow")};
  reconcile({{{Protocol::kUdp, vip_}, nullptr}});
  ASSERT_EQ(passes_.size(), 1U);
  EXPECT_TRUE(passes_[0].status.ok());
  EXPECT_EQ(passes_[0].deleted, 0U);
}

TEST_F(ConntrackTest, AFailedPassIsMergedIntoTheNext) {
  kernel_.add(1, Protocol::kUdp, vip_, gone_);
  kernel_.add(2, Protocol::kUdp, at("10.96.0.11", 53), gone_);
  kernel_.list_failures = {Status::from_errno(ENOBUFS, "list", "flows")};
  reconcile({{{Protocol::kUdp, vip_}, nullptr}});
  EXPECT_THAT(kernel_.left(), ElementsAre(1, 2));
  EXPECT_FALSE(passes_.at(0).status.ok());
  reconcile({{{Protocol::kUdp, at("10.96.0.11", 53)}, nullptr}});
  EXPECT_THAT(kernel_.left(), IsEmpty());
  EXPECT_EQ(passes_.at(1).frontends, 2U);
}

TEST_F(ConntrackTest, TheNewestStateOfAFrontendCounts) {
  kernel_.add(1, Protocol::kUdp, vip_, pod_);
  kernel_.list_failures = {Status::from_errno(ENOBUFS, "list", "flows")};
  reconcile({{{Protocol::kUdp, vip_}, nullptr}});
  reconcile({{{Protocol::kUdp, vip_}, targets({pod_})}});
  EXPECT_THAT(kernel_.left(), ElementsAre(1));
}

// The rules change while a pass is under way: what it lists may be of the rules to come.
TEST_F(ConntrackTest, FlowsToAFrontendThatChangesMeanwhileAreLeftToTheNextPass) {
  const SocketAddress other = at("10.96.0.11", 53);
  kernel_.add(1, Protocol::kUdp, vip_, pod_);
  kernel_.add(2, Protocol::kUdp, vip_, gone_);
  kernel_.add(3, Protocol::kUdp, other, gone_);
  kernel_.add(4, Protocol::kUdp, at("192.0.2.1", 30053), pod_);
  const ConntrackFrontend node_port = {Protocol::kUdp, {Address(), 30053}};
  const ConntrackRequest next = {
      {{{Protocol::kUdp, vip_}, targets({pod_})}, {node_port, targets({pod_})}},
      {Address::parse("192.0.2.1").value()}};
  start();
  kernel_.while_listing = [&] { reconciler_->announce(next); };
  reconcile(
      {{{Protocol::kUdp, vip_}, nullptr}, {{Protocol::kUdp, other}, nullptr}, {node_port, nullptr}},
      next.node_addresses);
  EXPECT_THAT(kernel_.left(), ElementsAre(1, 2, 4));

  kernel_.while_listing = {};
  reconcile(next.changes, next.node_addresses);
  EXPECT_THAT(kernel_.left(), ElementsAre(1, 4));
}

// A second change is announced before the request of the first one is merged.
TEST_F(ConntrackTest, ALaterAnnouncementOutlivesAnEarlierRequest) {
  kernel_.add(1, Protocol::kUdp, vip_, pod_);
  const ConntrackRequest first = {{{{Protocol::kUdp, vip_}, nullptr}}, {}};
  start();
  bool once = false;
  kernel_.while_listing = [&] {
    if (std::exchange(once, true)) return;
    reconciler_->announce(first);
    reconciler_->post(first);
    reconciler_->announce(first);  // the second: by now the flow may be to what it brings
  };
  reconcile({{{Protocol::kUdp, at("10.96.0.11", 53)}, nullptr}});
  reconciler_->flush();
  EXPECT_EQ(passes_.size(), 2U);
  EXPECT_THAT(kernel_.left(), ElementsAre(1));
  reconcile({{{Protocol::kUdp, vip_}, targets({pod_})}});
  EXPECT_THAT(kernel_.left(), ElementsAre(1));
  reconcile(first.changes);
  EXPECT_THAT(kernel_.left(), IsEmpty());
}

TEST_F(ConntrackTest, AFailureIsRetriedByItself) {
  kernel_.add(1, Protocol::kUdp, vip_, gone_);
  kernel_.remove_failures = {Status::from_errno(EBUSY, "delete", "flow")};
  std::promise<void> done;
  reconciler_ =
      ConntrackReconciler::start(std::make_unique<FakeTable>(kernel_),
                                 {std::chrono::milliseconds(1), std::chrono::milliseconds(1)},
                                 [&done](const ConntrackPass& pass) {
                                   if (pass.status.ok()) done.set_value();
                                 });
  reconciler_->post({{{{Protocol::kUdp, vip_}, nullptr}}, {}});
  ASSERT_EQ(done.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_THAT(kernel_.left(), IsEmpty());
}

TEST(ConntrackRequestTest, TakesFrontendsAndTargetsOfAnEntry) {
  dataplane::ForwardingEntry entry;
  entry.key.protocol = Protocol::kUdp;
  entry.frontends.resize(2);
  entry.frontends[0].address = at("10.96.0.10", 53);
  entry.frontends[1].address = {Address(), 30053};
  entry.cluster.targets = {{at("10.0.0.1", 5353), false}};
  entry.local.targets = {{at("10.0.0.2", 5353), true}};
  ConntrackRequest request;
  request.add(entry);
  ASSERT_EQ(request.changes.size(), 2U);
  EXPECT_EQ(request.changes[1].frontend.address, entry.frontends[1].address);
  EXPECT_THAT(*request.changes[0].targets,
              UnorderedElementsAre(at("10.0.0.1", 5353), at("10.0.0.2", 5353)));

  entry.key.protocol = Protocol::kTcp;
  request.add(entry);
  EXPECT_EQ(request.changes.size(), 2U);
}

// --- messages
// ----------------------------------------------------------------------------------------

TEST(ConntrackMessage, ADeleteRequestHoldsTheTupleThatParsingGives) {
  // A delete request carries one tuple; a flow message two. Both are built of the same attributes,
  // so a flow is put together from two requests.
  const ConntrackFlow flow{Protocol::kUdp,
                           {at("10.1.1.1", 1000), at("10.96.0.10", 53)},
                           {at("10.0.0.1", 5353), at("10.1.1.1", 1000)},
                           77,
                           3};
  ConntrackFlow reply_as_original = flow;
  reply_as_original.original = flow.reply;
  netlink::MessageBuilder one = conntrack_delete_request(flow);
  netlink::MessageBuilder two = conntrack_delete_request(reply_as_original);
  const netlink::Bytes first = one.finish(1);
  const netlink::Bytes second = two.finish(1);
  std::vector<uint8_t> message(first.begin() + 16, first.end());
  std::vector<uint8_t> reply(second.begin() + 20, second.end());
  reply.at(2) = 2;  // CTA_TUPLE_REPLY
  message.insert(message.end(), reply.begin(), reply.end());

  EXPECT_EQ(parse_conntrack_flow(message), flow);
  for (size_t size = 0; size < message.size(); ++size) {
    // Cut off anywhere: refused or read, never out of bounds (ASan tells).
    parse_conntrack_flow(netlink::Bytes(message.data(), size));
  }
  EXPECT_EQ(parse_conntrack_flow(netlink::Bytes(message.data(), 30)), std::nullopt);
}

}  // namespace
}  // namespace fairlead::proxy
