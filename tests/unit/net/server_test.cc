// Starting, stopping, TLS and HTTP/2, through libcurl.
#include "control/net/server.h"

#include <gmock/gmock.h>
#include <openssl/ssl.h>
#include <poll.h>

#include <thread>

#include "control/net/key_pair.h"
#include "control/net/tls.h"
#include "net_test_support.h"

namespace fairlead::net {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

struct Authority {
  Authority() {
    auto created = CertificateAuthority::create("test authority");
    EXPECT_TRUE(created.ok());
    authority = std::make_unique<CertificateAuthority>(std::move(created).value());
  }
  CertifiedKey issue(const LeafRequest& request) const {
    auto issued = authority->issue(request);
    EXPECT_TRUE(issued.ok()) << issued.status().message();
    return std::move(issued).value();
  }
  CertifiedKey client(const std::string& name, std::vector<std::string> groups) const {
    LeafRequest request;
    request.common_name = name;
    request.organizations = std::move(groups);
    request.client = true;
    return issue(request);
  }
  ServerOptions options(bool ask_for_clients) const {
    LeafRequest request;
    request.common_name = "server";
    request.ip_addresses = {"127.0.0.1", "::1"};
    request.server = true;
    const CertifiedKey leaf = issue(request);
    ServerOptions options;
    options.tls_enabled = true;
    options.tls.certificate_pem = leaf.certificate_pem;
    options.tls.key_pem = leaf.key_pem;
    if (ask_for_clients) options.tls.client_ca_pem = authority->certificate_pem();
    return options;
  }
  std::unique_ptr<CertificateAuthority> authority;
};

// Every way to reach a server: the same answers over each.
struct Way {
  const char* name;
  bool tls;
  bool http2;
};

class ServerWays : public ::testing::TestWithParam<Way> {
 protected:
  ServerWays() : server_(GetParam().tls ? authority_.options(false) : ServerOptions()) {}

  CurlRequest request(std::string_view path) const {
    CurlRequest request;
    request.url = server_.url(path, GetParam().tls ? "https" : "http");
    request.ca_pem = authority_.authority->certificate_pem();
    request.http1_only = !GetParam().http2;
    request.http2_prior_knowledge = GetParam().http2 && !GetParam().tls;
    return request;
  }

  Authority authority_;
  EchoServer server_;
};

TEST_P(ServerWays, Get) {
  const CurlAnswer answer = perform(request("/a%20b?x=1"));
  EXPECT_EQ(answer.status, 200) << answer.error;
  EXPECT_EQ(answer.http2, GetParam().http2);
  EXPECT_EQ(answer.body, "GET /a b [x=1] body=0 client= groups=\n");
  EXPECT_THAT(answer.head, HasSubstr("date: "));
}

TEST_P(ServerWays, PostALargeBody) {
  CurlRequest post = request("/p");
  post.body.assign(size_t{2} << 20, 'b');
  EXPECT_EQ(perform(post).body, "POST /p [] body=2097152 client= groups=\n");
}

TEST_P(ServerWays, TooLargeABodyIsRefused) {
  CurlRequest post = request("/p");
  post.body.assign(size_t{4} << 20, 'b');
  EXPECT_EQ(perform(post).status, 413);
}

TEST_P(ServerWays, HeadHasNoBody) {
  CurlRequest head = request("/h");
  head.method = "HEAD";
  const CurlAnswer answer = perform(head);
  EXPECT_EQ(answer.result, 0) << answer.error;
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.head, HasSubstr("content-length: "));
  EXPECT_EQ(answer.body, "");
}

TEST_P(ServerWays, Stream) {
  const CurlAnswer answer = perform(request("/stream"));
  EXPECT_EQ(answer.result, 0) << answer.error;
  EXPECT_EQ(answer.body, "one\ntwo\nthree\n");
}

TEST_P(ServerWays, LargeAnswerPlainAndCompressed) {
  const std::string expected(size_t{1} << 20, 'x');
  const CurlAnswer plain = perform(request("/large"));
  EXPECT_EQ(plain.body, expected);
  EXPECT_THAT(plain.head, ::testing::Not(HasSubstr("content-encoding")));
  CurlRequest compressed = request("/large");
  compressed.accept_encoding = "gzip";
  const CurlAnswer answer = perform(compressed);
  EXPECT_THAT(answer.head, HasSubstr("content-encoding: gzip"));
  EXPECT_EQ(answer.body, expected);
}

TEST_P(ServerWays, AbortedStreamIsAnErrorAfterItsBytes) {
  CurlRequest hold = request("/hold");
  Event arrived;
  hold.on_data = [&arrived](std::string_view) {
    arrived.set();
    return true;
  };
  std::thread aborter([this, &arrived] {
    EXPECT_TRUE(server_.holding.wait());
    server_.held->write(std::string("half"));
    EXPECT_TRUE(arrived.wait());
    server_.held->abort();
  });
  const CurlAnswer answer = perform(hold);
  aborter.join();
  EXPECT_NE(answer.result, 0);
  EXPECT_EQ(answer.body, "half");
  EXPECT_TRUE(server_.closed.wait());
}

TEST_P(ServerWays, CancelledStreamIsNoticed) {
  CurlRequest hold = request("/hold");
  std::thread writer([this] {
    EXPECT_TRUE(server_.holding.wait());
    server_.held->write(std::string("x"));
  });
  hold.on_data = [](std::string_view) { return false; };
  perform(hold);
  writer.join();
  EXPECT_TRUE(server_.closed.wait());
  EXPECT_FALSE(server_.held->open());
}

TEST_P(ServerWays, UnansweredGets500) {
  EXPECT_EQ(perform(request("/drop")).status, 500);
}

TEST_P(ServerWays, CloseConnectionsCutsStreamsAndGoesOnServing) {
  std::thread closer([this] {
    EXPECT_TRUE(server_.holding.wait());
    server_.server->close_connections();
  });
  EXPECT_NE(perform(request("/hold")).result, 0);
  closer.join();
  EXPECT_TRUE(server_.closed.wait());
  EXPECT_EQ(perform(request("/again")).status, 200);
}

TEST_P(ServerWays, StopEndsStreams) {
  std::thread stopper([this] {
    EXPECT_TRUE(server_.holding.wait());
    server_.server->stop();
    server_.server->stop();
  });
  EXPECT_NE(perform(request("/hold")).result, 0);
  stopper.join();
  EXPECT_TRUE(server_.closed.wait());
  EXPECT_FALSE(server_.held->open());
  server_.held->write(std::string("after the end"));
}

INSTANTIATE_TEST_SUITE_P(All, ServerWays,
                         ::testing::Values(Way{"Http1", false, false}, Way{"Http2", false, true},
                                           Way{"Http1Tls", true, false},
                                           Way{"Http2Tls", true, true}),
                         [](const auto& test) { return test.param.name; });

TEST(Server, PortInUseIsAConflict) {
  EchoServer first;
  ServerOptions options;
  options.port = first.port();
  const auto second = Server::start(options, [](const HttpRequest&, std::unique_ptr<Responder>) {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kConflict);
}

TEST(Server, BadAddressAndBadCertificateAreNamed) {
  ServerOptions options;
  options.address = "localhost";
  const auto named = Server::start(options, [](const HttpRequest&, std::unique_ptr<Responder>) {});
  EXPECT_THAT(named.status().message(), HasSubstr("localhost"));
  options = {};
  options.tls_enabled = true;
  options.tls.certificate_pem = "nonsense";
  const auto bad = Server::start(options, [](const HttpRequest&, std::unique_ptr<Responder>) {});
  EXPECT_THAT(bad.status().message(), HasSubstr("server certificate"));
}

TEST(Server, ListensOnBothFamilies) {
  ServerOptions options;
  options.address = "::";
  EchoServer server(options);
  CurlRequest request;
  request.url = server.url("/");
  EXPECT_EQ(perform(request).status, 200);
  request.url = "http://[::1]:" + std::to_string(server.port()) + "/";
  EXPECT_EQ(perform(request).status, 200);
}

TEST(Server, RestartsOnTheSamePort) {
  ServerOptions options;
  for (int i = 0; i < 3; ++i) {
    EchoServer server(options);
    options.port = server.port();
    CurlRequest request;
    request.url = server.url("/");
    EXPECT_EQ(perform(request).status, 200);
  }
}

class ClientCertificates : public ::testing::Test {
 protected:
  CurlAnswer get(const EchoServer& server, const CertifiedKey& client) const {
    CurlRequest request;
    request.url = server.url("/", "https");
    request.ca_pem = authority_.authority->certificate_pem();
    request.client = client;
    return perform(request);
  }
  Authority authority_;
};

TEST_F(ClientCertificates, AreRead) {
  EchoServer server(authority_.options(true));
  const CurlAnswer answer = get(server, authority_.client("alice", {"dev", "system:masters"}));
  EXPECT_THAT(answer.body, EndsWith("client=alice groups=dev+system:masters\n")) << answer.error;
}

TEST_F(ClientCertificates, AreOptionalUnlessRequired) {
  EchoServer server(authority_.options(true));
  EXPECT_THAT(get(server, {}).body, EndsWith("client= groups=\n"));
  ServerOptions options = authority_.options(true);
  options.tls.require_client_certificate = true;
  EchoServer strict(options);
  EXPECT_NE(get(strict, {}).result, 0);
  EXPECT_EQ(get(strict, authority_.client("alice", {})).status, 200);
}

TEST_F(ClientCertificates, OfAStrangerAreRefused) {
  EchoServer server(authority_.options(true));
  const Authority stranger;
  EXPECT_NE(get(server, stranger.client("mallory", {"system:masters"})).result, 0);
}

TEST_F(ClientCertificates, EndWithTheFirstOfTheirChain) {
  auto brief = CertificateAuthority::create("brief", std::chrono::minutes(30));
  ASSERT_TRUE(brief.ok());
  ServerOptions options = authority_.options(true);
  options.tls.client_ca_pem += brief->certificate_pem();
  EchoServer server(options);
  LeafRequest request;
  request.common_name = "alice";
  request.client = true;
  const CertifiedKey alice = std::move(brief->issue(request)).value();
  EXPECT_EQ(get(server, alice).status, 200);
  EXPECT_EQ(server.certificate_end, inspect_certificate(brief->certificate_pem())->not_after);
  request.lifetime = std::chrono::minutes(5);
  const CertifiedKey short_lived = std::move(brief->issue(request)).value();
  EXPECT_EQ(get(server, short_lived).status, 200);
  EXPECT_EQ(server.certificate_end, inspect_certificate(short_lived.certificate_pem)->not_after);
}

TEST_F(ClientCertificates, AuthoritiesMustAllBeReadable) {
  ServerOptions options = authority_.options(true);
  options.tls.client_ca_pem += "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
  const auto bad = Server::start(options, [](const HttpRequest&, std::unique_ptr<Responder>) {});
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.status().message(), HasSubstr("client certificate authority"));
}

// What a client could come back with later: a session would keep its certificate's identity.
class Resumption : public ::testing::TestWithParam<int> {};

TEST_P(Resumption, IsNotOffered) {
  const Authority authority;
  auto context = make_tls_context(authority.options(true).tls, true);
  ASSERT_TRUE(context.ok()) << context.status().message();
  const std::unique_ptr<SSL_CTX, decltype(&::SSL_CTX_free)> client_context(
      ::SSL_CTX_new(::TLS_client_method()), &::SSL_CTX_free);
  ::SSL_CTX_set_max_proto_version(client_context.get(), GetParam());
  const std::unique_ptr<SSL, decltype(&::SSL_free)> server(::SSL_new(context->get()), &::SSL_free);
  const std::unique_ptr<SSL, decltype(&::SSL_free)> client(::SSL_new(client_context.get()),
                                                           &::SSL_free);
  BIO* server_end = nullptr;
  BIO* client_end = nullptr;
  ASSERT_EQ(::BIO_new_bio_pair(&server_end, 0, &client_end, 0), 1);
  ::SSL_set_bio(server.get(), server_end, server_end);
  ::SSL_set_bio(client.get(), client_end, client_end);
  ::SSL_set_accept_state(server.get());
  ::SSL_set_connect_state(client.get());
  for (int i = 0; i < 20; ++i) {
    ::SSL_do_handshake(client.get());
    ::SSL_do_handshake(server.get());
  }
  ASSERT_EQ(::SSL_write(server.get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(::SSL_read(client.get(), &byte, 1), 1);  // with what came before it: tickets
  EXPECT_EQ(::SSL_SESSION_is_resumable(::SSL_get0_session(client.get())), 0);
}

INSTANTIATE_TEST_SUITE_P(Tls, Resumption, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION));

TEST(Server, IncompleteRequestsAreBoundedTogether) {
  ServerOptions options;
  options.max_incomplete = size_t{64} << 10;
  EchoServer server(options);
  RawClient first(server.port());
  const std::string head = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n";
  first.send(head + std::string(40000, 'x'));
  RawClient second(server.port());
  second.send(head + std::string(40000, 'x'));
  // Whichever came second is refused; the other goes on, and its room is free again after it.
  std::string refused;
  pollfd both[] = {{first.fd(), POLLIN, 0}, {second.fd(), POLLIN, 0}};
  ASSERT_EQ(::poll(both, 2, 10000), 1);
  RawClient& loser = both[0].revents != 0 ? first : second;
  RawClient& winner = both[0].revents != 0 ? second : first;
  EXPECT_THAT(loser.read_response(), HasSubstr("HTTP/1.1 503"));
  winner.send(std::string(10000, 'x'));
  EXPECT_THAT(winner.read_response(), HasSubstr("POST /p [] body=50000"));
  for (const bool http2 : {false, true}) {
    CurlRequest post;
    post.url = server.url("/p");
    post.http2_prior_knowledge = http2;
    post.body.assign(60000, 'b');
    EXPECT_EQ(perform(post).status, 200);
    post.body.assign(70000, 'b');
    EXPECT_EQ(perform(post).status, 503) << http2;
  }
}

TEST(Server, ARequestThatNeverEndsIsCutOff) {
  ServerOptions options;
  options.request_timeout = std::chrono::seconds(1);
  EchoServer server(options);
  RawClient client(server.port());
  client.send("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
  bool open = true;  // each byte is progress, and all of them are none
  for (int i = 0; i < 1000 && open; ++i) {
    open = client.send("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_FALSE(open);
}

TEST(Server, AReaderThatDoesNotReadIsCutOffThoughItWrites) {
  ServerOptions options;
  options.idle_timeout = std::chrono::seconds(1);
  EchoServer server(options);
  RawClient client(server.port());
  std::string asked;  // answers of a megabyte each: more than the sockets hold
  for (int i = 0; i < 32; ++i) asked += "GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
  client.send(asked);
  bool open = true;
  for (int i = 0; i < 1000 && open; ++i) {
    open = client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_FALSE(open);
}

TEST(Server, PlainTextOnATlsPortIsClosed) {
  const Authority authority;
  EchoServer server(authority.options(false));
  RawClient client(server.port());
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(client.read_to_end(), ::testing::Not(HasSubstr("HTTP/1.1 200")));
}

TEST(Server, BrokenHttp2IsClosed) {
  EchoServer server;
  RawClient client(server.port());
  client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(100, '\xff'));
  client.read_to_end();  // returns because the server closes
  CurlRequest request;
  request.url = server.url("/");
  EXPECT_EQ(perform(request).status, 200);
}

}  // namespace
}  // namespace fairlead::net
