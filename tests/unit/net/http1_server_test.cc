#include <gmock/gmock.h>
#include <sys/socket.h>

#include "net_test_support.h"

namespace fairlead::net {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

TEST(Http1Server, AnswersAndKeepsTheConnection) {
  EchoServer server;
  RawClient client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.send(kGet);
    const std::string answer = client.read_response();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("date: "));
    EXPECT_THAT(answer, HasSubstr("GET /a [] body=0"));
  }
  EXPECT_EQ(server.server->connections(), 1u);
}

TEST(Http1Server, AnswersPipelinedRequestsInOrder) {
  EchoServer server;
  RawClient client(server.port());
  std::string all;
  for (int i = 0; i < 200; ++i) {
    all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  }
  client.send(all);
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(client.read_response(), HasSubstr("GET /" + std::to_string(i) + " "));
  }
}

TEST(Http1Server, PipelinedRequestsWaitForAStreamBeforeThem) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n" + std::string(kGet));
  ASSERT_TRUE(server.holding.wait());
  server.held->write(std::string("first"));
  server.held->finish();
  EXPECT_THAT(client.read_until("0\r\n\r\n"), HasSubstr("5\r\nfirst\r\n"));
  EXPECT_THAT(client.read_response(), HasSubstr("GET /a "));
}

TEST(Http1Server, TakesARequestByteByByte) {
  EchoServer server;
  RawClient client(server.port());
  for (const char c :
       std::string_view("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")) {
    client.send({&c, 1});
  }
  EXPECT_THAT(client.read_response(), HasSubstr("POST /x [] body=3"));
}

TEST(Http1Server, StreamsInChunks) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string answer = client.read_until("0\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("transfer-encoding: chunked\r\n"));
  EXPECT_THAT(answer, EndsWith("4\r\none\n\r\n4\r\ntwo\n\r\n6\r\nthree\n\r\n0\r\n\r\n"));
}

TEST(Http1Server, StreamsToHttp10UntilTheEnd) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  const std::string answer = client.read_to_end();
  EXPECT_THAT(answer, EndsWith("\r\n\r\none\ntwo\nthree\n"));
  EXPECT_THAT(answer, HasSubstr("connection: close"));
}

TEST(Http1Server, WritesToAStreamArriveAtOnce) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(server.holding.wait());
  client.read_until("\r\n\r\n");  // the head comes before any write
  const auto shared = std::make_shared<const std::string>("shared\n");
  server.held->write(shared);
  EXPECT_EQ(client.read_until("shared\n\r\n"), "7\r\nshared\n\r\n");
  server.held->write(std::string(100000, 'z'));
  EXPECT_THAT(client.read_until("z\r\n"), StartsWith("186a0\r\nzzz"));
  EXPECT_TRUE(server.held->open());
}

TEST(Http1Server, AbortCutsAfterWhatWasWritten) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(server.holding.wait());
  server.held->write(std::string("half a li"));
  server.held->abort();
  EXPECT_FALSE(server.held->open());
  EXPECT_THAT(client.read_to_end(), EndsWith("9\r\nhalf a li\r\n"));
  EXPECT_TRUE(server.closed.wait());
}

TEST(Http1Server, DroppingAStreamAbortsIt) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(server.holding.wait());
  server.held.reset();
  EXPECT_THAT(client.read_to_end(), Not(HasSubstr("0\r\n\r\n")));
}

TEST(Http1Server, NoticesThatAWatcherHasGone) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(server.holding.wait());
  client.reset();
  EXPECT_TRUE(server.closed.wait());
  EXPECT_FALSE(server.held->open());
  server.held->write(std::string("to nobody"));
}

TEST(Http1Server, CutsAReaderThatLagsTooFar) {
  ServerOptions options;
  options.max_backlog = size_t{1} << 20;
  EchoServer server(options);
  RawClient client(server.port());
  client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(server.holding.wait());
  const auto piece = std::make_shared<const std::string>(size_t{64} << 10, 'x');
  size_t written = 0;
  // More than any socket buffers hold; the client reads nothing.
  while (server.held->open() && written < (size_t{1} << 30)) {
    server.held->write(piece);
    written += piece->size();
  }
  EXPECT_FALSE(server.held->open());
  EXPECT_TRUE(server.closed.wait());
}

TEST(Http1Server, DeliversALargeAnswerToASlowReader) {
  EchoServer server;
  RawClient client(server.port());
  const int small = 128 << 10;
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(client.read_response(), EndsWith(std::string(size_t{1} << 20, 'x')));
}

TEST(Http1Server, HeadHasLengthButNoBody) {
  EchoServer server;
  RawClient client(server.port());
  client.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(client.read_until("\r\n\r\n"), HasSubstr("content-length: "));
  client.send(kGet);
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 200"));
}

TEST(Http1Server, SaysContinueBeforeABody) {
  EchoServer server;
  RawClient client(server.port());
  client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  EXPECT_THAT(client.read_response(), HasSubstr("body=3"));
}

TEST(Http1Server, RefusesATooLargeBodyWithoutContinue) {
  ServerOptions options;
  options.max_body = 10;
  EchoServer server(options);
  RawClient client(server.port());
  client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(client.read_to_end(), StartsWith("HTTP/1.1 413 "));
}

TEST(Http1Server, RefusesMalformedRequestsAndCloses) {
  EchoServer server;
  for (const std::string_view bad : {"nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
                                     "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: "
                                     "4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"}) {
    RawClient client(server.port());
    client.send(std::string(bad) + std::string(kGet));
    const std::string answer = client.read_to_end();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 Bad Request\r\n"));
    EXPECT_THAT(answer, HasSubstr("connection: close"));
    EXPECT_THAT(answer, Not(HasSubstr("HTTP/1.1 200"))) << "a smuggled request was answered";
  }
}

TEST(Http1Server, AnswersAPeerThatHasFinishedSending) {
  EchoServer server;
  RawClient client(server.port());
  client.send(kGet);
  client.finish_sending();
  EXPECT_THAT(client.read_to_end(), HasSubstr("GET /a "));
}

TEST(Http1Server, ClosesAfterConnectionClose) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const std::string answer = client.read_to_end();
  EXPECT_THAT(answer, HasSubstr("connection: close\r\n"));
  EXPECT_THAT(answer, HasSubstr("GET /a "));
}

TEST(Http1Server, HeaderTimeoutEndsAHalfRequest) {
  ServerOptions options;
  options.header_timeout = std::chrono::seconds(0);
  EchoServer server(options);
  RawClient client(server.port());
  client.send("GET / HTTP/1.1\r\nHos");
  EXPECT_EQ(client.read_to_end(), "");
}

TEST(Http1Server, IdleTimeoutEndsAQuietConnectionButNoStream) {
  ServerOptions options;
  options.idle_timeout = std::chrono::seconds(0);
  EchoServer server(options);
  RawClient watcher(server.port());
  watcher.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(server.holding.wait());
  RawClient client(server.port());
  client.send(kGet);
  client.read_to_end();
  // The idle connection has been swept away by now; the stream that began earlier still stands.
  EXPECT_TRUE(server.held->open());
  server.held->write(std::string("alive"));
  EXPECT_THAT(watcher.read_until("alive"), EndsWith("alive"));
}

TEST(Http1Server, ClosesConnectionsAboveTheLimit) {
  ServerOptions options;
  options.max_connections = 1;
  EchoServer server(options);
  RawClient first(server.port());
  first.send(kGet);
  EXPECT_THAT(first.read_response(), StartsWith("HTTP/1.1 200"));
  RawClient second(server.port());
  EXPECT_EQ(second.read_to_end(), "");
  first.send(kGet);
  EXPECT_THAT(first.read_response(), StartsWith("HTTP/1.1 200"));
}

TEST(Http1Server, UnansweredRequestsGet500) {
  EchoServer server;
  RawClient client(server.port());
  client.send("GET /drop HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(client.read_response(), StartsWith("HTTP/1.1 500 "));
}

TEST(Http1Server, HeadersCannotBeInjected) {
  auto server = Server::start({}, [](const HttpRequest&, std::unique_ptr<Responder> responder) {
    HttpResponse response;
    response.headers = {{"x-good", "1"}, {"x-bad", "1\r\nx-injected: 1"}};
    responder->respond(std::move(response));
  });
  ASSERT_TRUE(server.ok());
  RawClient client((*server)->port());
  client.send(kGet);
  const std::string answer = client.read_response();
  EXPECT_THAT(answer, HasSubstr("x-good: 1"));
  EXPECT_THAT(answer, Not(HasSubstr("injected")));
}

}  // namespace
}  // namespace fairlead::net
