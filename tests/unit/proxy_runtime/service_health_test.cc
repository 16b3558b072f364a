#include "proxy/runtime/service_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/unit/proxy_runtime/http_get.h"

namespace fairlead::proxy {
namespace {

using dataplane::Address;
using dataplane::ObjectName;
using std::chrono::milliseconds;
using testing::HasSubstr;

const ObjectName kWeb{"default", "web"};
const ObjectName kDns{"kube-system", "dns"};

size_t threads_of_this_process() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/task")) {
    ++count;
  }
  return count;
}

class ServiceHealthTest : public testing::Test {
 protected:
  void start(ServiceHealthOptions options) {
    auto started = ServiceHealthServers::start(
        std::move(options), [this] { return keeps_up_.load(); },
        [this](const ObjectName& service, uint16_t port, const Status& reason) {
          failures_.push_back(service.to_string() + " " + std::to_string(port) + " " +
                              std::string(to_string(reason.code())));
        });
    ASSERT_TRUE(started.ok()) << started.status().message();
    servers_ = std::move(*started);
  }
  void on_loopback(milliseconds retry = std::chrono::hours(1)) {
    start({{Address::parse("127.0.0.1").value()}, 1024, milliseconds(20000), retry});
  }
  void reconcile(ServiceHealthServers::Desired desired) {
    servers_->reconcile(std::move(desired));
    servers_->flush();
  }

  std::atomic<bool> keeps_up_{true};
  std::vector<std::string> failures_;  // written by the io thread; read after flush()
  std::unique_ptr<ServiceHealthServers> servers_;
};

TEST_F(ServiceHealthTest, AnswersAsKubeProxyDoes) {
  on_loopback();
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 2}}});
  const HttpReply reply = http_get(port, "/whatever?x");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body,
            "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n"
            "\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}");
  EXPECT_THAT(reply.head, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(reply.head, HasSubstr("X-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(reply.head, HasSubstr("X-Load-Balancing-Endpoint-Weight: 2\r\n"));
  EXPECT_THAT(reply.head, HasSubstr("Connection: close\r\n"));
}

TEST_F(ServiceHealthTest, NoLocalEndpointOrAProxyThatLagsIs503) {
  on_loopback();
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 0}}});
  EXPECT_EQ(http_get(port, "/healthz").status, 503);
  EXPECT_THAT(http_get(port, "/healthz").head, HasSubstr("Endpoint-Weight: 0\r\n"));
  servers_->update(kWeb, ServiceHealthTarget{port, 1});
  EXPECT_EQ(http_get(port, "/healthz").status, 200);  // at once: no flush
  keeps_up_ = false;
  EXPECT_EQ(http_get(port, "/healthz").status, 503);
  EXPECT_THAT(http_get(port, "/healthz").body, HasSubstr("\"serviceProxyHealthy\": false"));
}

TEST_F(ServiceHealthTest, PortsFollowTheServices) {
  on_loopback();
  const uint16_t one = free_port();
  reconcile({{kWeb, {one, 1}}});
  const uint16_t two = free_port();
  reconcile({{kWeb, {two, 1}}, {kDns, {one, 1}}});  // one port passes to another service
  EXPECT_EQ(servers_->open_ports(), 2U);
  EXPECT_THAT(http_get(one, "/").body, HasSubstr("kube-system"));
  EXPECT_THAT(http_get(two, "/").body, HasSubstr("default"));
  servers_->update(kDns, std::nullopt);
  servers_->flush();
  EXPECT_FALSE(connect_to(one).valid());
  EXPECT_EQ(servers_->open_ports(), 1U);
  reconcile({});
  EXPECT_FALSE(connect_to(two).valid());
}

TEST_F(ServiceHealthTest, WithoutAddressesBothFamiliesAreServed) {
  start({});
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 1}}});
  EXPECT_EQ(http_get(port, "/").status, 200);
  if (!connect_to(port, "::1").valid()) GTEST_SKIP() << "no IPv6 loopback here";
  EXPECT_EQ(http_get(port, "/", "::1").status, 200);
}

TEST_F(ServiceHealthTest, NewAddressesReopenThePorts) {
  on_loopback();
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 1}}});
  servers_->set_addresses({Address::parse("127.0.0.2").value()});
  servers_->flush();
  EXPECT_FALSE(connect_to(port, "127.0.0.1").valid());
  EXPECT_EQ(http_get(port, "/", "127.0.0.2").status, 200);
}

TEST_F(ServiceHealthTest, ATakenPortIsReportedOnceAndTheOthersWork) {
  on_loopback();
  uint16_t taken = 0;
  const Fd holder = occupy_port(taken);
  const uint16_t port = free_port();
  reconcile({{kWeb, {taken, 1}}, {kDns, {port, 1}}});
  reconcile({{kWeb, {taken, 2}}, {kDns, {port, 1}}});
  EXPECT_THAT(failures_,
              testing::ElementsAre("default/web " + std::to_string(taken) + " conflict"));
  EXPECT_EQ(servers_->failed_ports(), 1U);
  EXPECT_EQ(http_get(port, "/").status, 200);
}

TEST_F(ServiceHealthTest, ATakenPortIsOpenedOnceItIsFree) {
  on_loopback(milliseconds(1));
  uint16_t taken = 0;
  Fd holder = occupy_port(taken);
  reconcile({{kWeb, {taken, 1}}});
  ASSERT_EQ(servers_->failed_ports(), 1U);
  holder.reset();
  while (servers_->failed_ports() > 0) std::this_thread::yield();  // ctest's time-out ends this
  EXPECT_EQ(http_get(taken, "/").status, 200);
}

TEST_F(ServiceHealthTest, OtherMethodsAndNonsenseAreRefused) {
  on_loopback();
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 1}}});
  EXPECT_EQ(http_get(port, "/", "127.0.0.1", "POST").status, 405);
  EXPECT_EQ(send_and_read(port, "\x16\x03\x01 nonsense").status, 400);
  const HttpReply head = http_get(port, "/", "127.0.0.1", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
  EXPECT_THAT(head.head, HasSubstr("X-Load-Balancing-Endpoint-Weight: 1\r\n"));
  // A body that nobody reads must not lose the answer.
  const std::string big =
      "GET / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + std::string(100000, 'x');
  EXPECT_EQ(send_and_read(port, big).status, 200);
}

TEST_F(ServiceHealthTest, ARequestInPiecesIsPutTogether) {
  on_loopback();
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 1}}});
  const Fd fd = connect_to(port);
  for (const char c : std::string("GET / HTTP/1.1\r\n\r\n")) {
    ASSERT_EQ(::send(fd.get(), &c, 1, MSG_NOSIGNAL), 1);
  }
  char answer[12];
  ASSERT_EQ(::recv(fd.get(), answer, sizeof answer, MSG_WAITALL), 12);
  EXPECT_EQ(std::string(answer, 12), "HTTP/1.1 200");
}

TEST_F(ServiceHealthTest, ASilentConnectionIsClosed) {
  start({{Address::parse("127.0.0.1").value()}, 1024, milliseconds(1), milliseconds(5000)});
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 1}}});
  const Fd fd = connect_to(port);
  char byte = 0;
  EXPECT_EQ(::recv(fd.get(), &byte, 1, 0), 0);  // end of stream; the socket's own limit is far off
}

TEST_F(ServiceHealthTest, ConnectionsBeyondTheLimitAreClosed) {
  start({{Address::parse("127.0.0.1").value()}, 2, milliseconds(20000), milliseconds(5000)});
  const uint16_t port = free_port();
  reconcile({{kWeb, {port, 1}}});
  const Fd one = connect_to(port), two = connect_to(port), three = connect_to(port);
  char byte = 0;
  EXPECT_LE(::recv(three.get(), &byte, 1, 0), 0);
}

TEST_F(ServiceHealthTest, HundredsOfPortsTakeOneThread) {
  on_loopback();
  const size_t before = threads_of_this_process();
  ServiceHealthServers::Desired desired;
  std::vector<uint16_t> ports;
  std::vector<Fd> held;
  for (int i = 0; i < 300; ++i) held.push_back(occupy_port(ports.emplace_back()));
  held.clear();
  for (size_t i = 0; i < ports.size(); ++i) {
    desired[{"default", "s" + std::to_string(i)}] = {ports[i], i};
  }
  reconcile(desired);
  ASSERT_EQ(servers_->open_ports(), 300U);
  EXPECT_EQ(threads_of_this_process(), before);
  for (size_t i = 0; i < ports.size(); ++i) {
    const HttpReply reply = http_get(ports[i], "/");
    EXPECT_EQ(reply.status, i == 0 ? 503 : 200);
    EXPECT_THAT(reply.body, HasSubstr("\"s" + std::to_string(i) + "\""));
  }
}

TEST_F(ServiceHealthTest, HostileNamesAreEscaped) {
  on_loopback();
  const uint16_t port = free_port();
  reconcile({{{"a\"b", "c\r\nd"}, {port, 1}}});
  const HttpReply reply = http_get(port, "/");
  EXPECT_THAT(reply.body, HasSubstr("\"a\\\"b\""));
  EXPECT_THAT(reply.body, HasSubstr("\"c\\r\\nd\""));
}

}  // namespace
}  // namespace fairlead::proxy
