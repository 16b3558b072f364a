#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "control/net/gzip.h"
#include "tests/unit/client/server_fixture.h"

namespace fairlead::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ClientServerTest : public ServerFixture {
 protected:
  // Streams that the handler opened, kept open.
  std::mutex streams_mutex_;
  std::vector<std::shared_ptr<net::Stream>> streams_;

  // Paths under /watch become streams that say "hello" and stay open; the rest is echoed.
  net::Handler watches_and_echo() {
    return [this](const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
      if (request.path.rfind("/watch", 0) != 0) return echo(request, std::move(responder));
      const auto stream = responder->start_stream({}, [] {});
      stream->write("hello\n");
      const std::lock_guard<std::mutex> lock(streams_mutex_);
      streams_.push_back(stream);
    };
  }

  static Request watch(const std::string& path = "/watch") {
    Request request;
    request.path = path;
    request.timeout = milliseconds(0);
    return request;
  }
};

TEST_F(ClientServerTest, SpeaksHttp2WithAClientCertificate) {
  serve(echo);
  connect();
  const auto answer = get("/api/v1/nodes/n1");
  ASSERT_TRUE(answer.ok()) << answer.status().message();
  EXPECT_EQ(answer->status, 200);
  EXPECT_TRUE(answer->http2);
  EXPECT_THAT(answer->body, HasSubstr("GET /api/v1/nodes/n1 system:node:n1"));
  EXPECT_THAT(answer->body, HasSubstr("user-agent: fairlead"));
}

TEST_F(ClientServerTest, SendsBodies) {
  serve(echo);
  connect();
  for (const char* method : {"POST", "PUT", "PATCH"}) {
    Request post;
    post.method = method;
    post.path = "/x";
    post.body = "{\"a\":1}";
    if (post.method == "PATCH") post.content_type = "application/merge-patch+json";
    const auto answer = request(post);
    ASSERT_TRUE(answer.ok()) << answer.status().message();
    EXPECT_THAT(answer->body, HasSubstr(std::string(method) + " /x"));
    EXPECT_THAT(answer->body,
                HasSubstr(post.method == "PATCH" ? "content-type: application/merge-patch+json"
                                                 : "content-type: application/json"));
    EXPECT_THAT(answer->body, HasSubstr("{\"a\":1}"));
  }
  Request remove;
  remove.method = "DELETE";
  remove.path = "/x";
  EXPECT_THAT(request(remove)->body, HasSubstr("DELETE /x"));
}

TEST_F(ClientServerTest, AllStreamsShareOneConnection) {
  serve(watches_and_echo());
  connect();
  constexpr int kStreams = 40;
  constexpr int kRequests = 60;
  int left = kStreams + kRequests;
  const auto one_done = [&] {
    if (--left == 0) client_->stop();
  };
  for (int i = 0; i < kStreams; ++i) {
    StreamCallbacks callbacks;
    callbacks.on_data = [&](std::string_view bytes) {
      EXPECT_EQ(bytes, "hello\n");
      one_done();
      return true;
    };
    client_->stream(watch("/watch/" + std::to_string(i)), std::move(callbacks));
  }
  for (int i = 0; i < kRequests; ++i) {
    Request request;
    request.path = "/echo";
    client_->send(request, [&](Result<Response> answer) {
      ASSERT_TRUE(answer.ok()) << answer.status().message();
      EXPECT_TRUE(answer->http2);
      one_done();
    });
  }
  run_loop();
  EXPECT_EQ(left, 0);
  EXPECT_EQ(connections(), 1u);
}

TEST_F(ClientServerTest, FallsBackToHttp1) {
  options_.http2 = false;
  serve(watches_and_echo());
  connect();
  bool streaming = false;
  StreamCallbacks callbacks;
  callbacks.on_data = [&](std::string_view) {
    streaming = true;
    client_->stop();
    return true;
  };
  client_->stream(watch(), std::move(callbacks));
  run_loop();
  EXPECT_TRUE(streaming);
  const auto answer = get("/x");  // beside the stream, so on a connection of its own
  ASSERT_TRUE(answer.ok()) << answer.status().message();
  EXPECT_FALSE(answer->http2);
  EXPECT_EQ(connections(), 2u);
}

TEST_F(ClientServerTest, PlainHttpWorksToo) {
  options_.tls_enabled = false;
  serve(echo);
  connect();
  const auto answer = get("/x");
  ASSERT_TRUE(answer.ok()) << answer.status().message();
  EXPECT_EQ(answer->status, 200);
}

TEST_F(ClientServerTest, InflatesGzipAndBoundsWhatComesOut) {
  const std::string text(5000000, 'a');
  serve([&](const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
    const std::string* accepted = request.header("accept-encoding");
    EXPECT_TRUE(accepted && net::accepts_gzip(*accepted));
    net::HttpResponse response;
    response.headers = {{"content-encoding", "gzip"}};
    response.body = net::gzip_compress(text).value();
    EXPECT_LT(response.body.size(), 100000u);
    responder->respond(std::move(response));
  });
  connect();
  const auto whole = get("/x");
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  EXPECT_EQ(whole->body, text);
  Request bounded;
  bounded.path = "/x?limit=1";
  bounded.max_body = 1000000;
  const auto refused = request(bounded);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kExhausted);
  EXPECT_THAT(refused.status().message(), HasSubstr("larger than 1000000 bytes"));
  // The connection is still good for others.
  EXPECT_TRUE(get("/x").ok());
  EXPECT_EQ(connections(), 1u);
}

TEST_F(ClientServerTest, TheServersCertificateMatters) {
  serve(echo);
  config_.tls_server_name = "api.test";
  connect();
  const auto renamed = get("/x");
  ASSERT_TRUE(renamed.ok()) << renamed.status().message();
  EXPECT_THAT(renamed->body, HasSubstr("127.0.0.1:" + std::to_string(server_->port())));

  config_.tls_server_name = "other.test";
  connect();
  EXPECT_EQ(get("/x").status().code(), StatusCode::kPermission);

  config_.tls_server_name.clear();
  config_.ca_pem = net::CertificateAuthority::create("somebody else").value().certificate_pem();
  connect();
  const auto untrusted = get("/x");
  EXPECT_EQ(untrusted.status().code(), StatusCode::kPermission);
  EXPECT_THAT(untrusted.status().message(), HasSubstr("certificate"));

  config_.ca_pem.clear();
  connect();
  EXPECT_EQ(get("/x").status().code(), StatusCode::kPermission);

  config_.insecure_skip_tls_verify = true;
  connect();
  EXPECT_TRUE(get("/x").ok());

  config_.client_certificate_pem.clear();
  config_.client_key_pem.clear();
  connect();
  EXPECT_FALSE(get("/x").ok());
}

TEST_F(ClientServerTest, SendsTokensAndPasswords) {
  options_.tls.require_client_certificate = false;
  serve(echo);
  char folder[] = "/tmp/fairlead-client-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string file = std::string(folder) + "/token";
  std::ofstream(file) << "first";
  config_.token_file = file;
  connect();
  EXPECT_THAT(get("/x")->body, HasSubstr("authorization: Bearer first"));
  std::ofstream(file, std::ios::trunc) << "the second";
  EXPECT_THAT(get("/x")->body, HasSubstr("authorization: Bearer first"));  // that is no token
  std::ofstream(file, std::ios::trunc) << "second";
  EXPECT_THAT(get("/x")->body, HasSubstr("authorization: Bearer second"));
  std::filesystem::remove_all(folder);

  config_.token_file.clear();
  config_.username = "me";
  config_.password = "secret";
  connect();
  EXPECT_THAT(get("/x")->body, HasSubstr("authorization: Basic bWU6c2VjcmV0"));
}

TEST_F(ClientServerTest, AStatusIsAnAnswerAndNoFailure) {
  serve([](const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
    net::HttpResponse response;
    response.status = 429;
    response.headers = {{"Retry-After", "7"}};
    response.body = request.path == "/long" ? std::string(100000, 'x') : "slow down";
    responder->respond(std::move(response));
  });
  connect();
  const auto answer = get("/x");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->status, 429);
  EXPECT_EQ(answer->retry_after, "7");
  EXPECT_EQ(answer->body, "slow down");

  std::vector<std::string> calls;
  for (const char* path : {"/x", "/long"}) {
    StreamCallbacks callbacks;
    callbacks.on_headers = [&](int status) { calls.push_back(std::to_string(status)); };
    callbacks.on_data = [&](std::string_view) {
      calls.push_back("data");
      return true;
    };
    callbacks.on_end = [&](Result<Response> end) {
      calls.push_back(end.ok() ? end->body : std::string(to_string(end.status().code())));
      client_->stop();
    };
    Request request = watch(path);
    request.max_body = 1000;
    client_->stream(std::move(request), std::move(callbacks));
    run_loop();
  }
  EXPECT_THAT(calls, ElementsAre("429", "slow down", "429", "exhausted"));
}

TEST_F(ClientServerTest, ACancelledRequestIsSilent) {
  serve(watches_and_echo());
  connect();
  std::vector<std::string> calls;
  const auto callbacks = [&](const std::string& name, std::function<bool()> data) {
    StreamCallbacks result;
    result.on_data = [&calls, name, data](std::string_view) {
      calls.push_back(name);
      return data();
    };
    result.on_end = [&calls, name](Result<Response>) { calls.push_back(name + " ended"); };
    return result;
  };
  Client::RequestId itself = 0;
  client_->stream(watch(), callbacks("returns false", [] { return false; }));
  itself = client_->stream(watch(), callbacks("cancels itself", [&] {
                             client_->cancel(itself);
                             return true;
                           }));
  const auto before = client_->stream(watch(), callbacks("cancelled at once", [] { return true; }));
  client_->cancel(before);
  const auto timer = client_->after(milliseconds(1), [&] { calls.push_back("timer"); });
  client_->cancel(timer);
  client_->cancel(12345);
  client_->after(milliseconds(0), [&] { calls.push_back("after"); });
  // The stream's last word is behind everything else that the others could say.
  StreamCallbacks last;
  last.on_data = [&](std::string_view) {
    server_->close_connections();
    return true;
  };
  last.on_end = [&](Result<Response> end) {
    EXPECT_FALSE(end.ok());
    client_->stop();
  };
  client_->stream(watch(), std::move(last));
  run_loop();
  EXPECT_THAT(calls, ::testing::UnorderedElementsAre("returns false", "cancels itself", "after"));
}

TEST_F(ClientServerTest, ABrokenConnectionEndsTheStreamAndTheNextRequestWorks) {
  for (const bool http2 : {true, false}) {
    options_.http2 = http2;
    serve(watches_and_echo());
    connect();
    Result<Response> ended = Response();
    StreamCallbacks callbacks;
    callbacks.on_data = [&](std::string_view) {
      server_->close_connections();
      return true;
    };
    callbacks.on_end = [&](Result<Response> end) {
      ended = std::move(end);
      client_->stop();
    };
    client_->stream(watch(), std::move(callbacks));
    run_loop();
    ASSERT_FALSE(ended.ok());
    EXPECT_EQ(ended.status().code(), StatusCode::kUnavailable);
    EXPECT_TRUE(get("/x").ok());
  }
}

TEST_F(ClientServerTest, AStreamThatIsCutIsNotAStreamThatEnds) {
  for (const bool http2 : {true, false}) {
    for (const bool cut : {true, false}) {
      options_.http2 = http2;
      serve([cut](const net::HttpRequest&, std::unique_ptr<net::Responder> responder) {
        const auto stream = responder->start_stream({}, [] {});
        stream->write("half a li");
        cut ? stream->abort() : stream->finish();
      });
      connect();
      Result<Response> ended = Response();
      StreamCallbacks callbacks;
      callbacks.on_end = [&](Result<Response> end) {
        ended = std::move(end);
        client_->stop();
      };
      client_->stream(watch(), std::move(callbacks));
      run_loop();
      EXPECT_EQ(ended.ok(), !cut) << http2;
    }
  }
}

TEST_F(ClientServerTest, ASilentServerIsGivenUpOnANewConnection) {
  serve(watches_and_echo());
  connect();
  std::vector<std::string> calls;
  StreamCallbacks other;
  other.on_data = [&](std::string_view) {
    calls.push_back("other");
    client_->stop();
    return true;
  };
  client_->stream(watch(), std::move(other));
  run_loop();
  Request silent = watch();
  silent.silence_limit = milliseconds(50);
  StreamCallbacks callbacks;
  callbacks.on_end = [&](Result<Response> end) {
    EXPECT_EQ(end.status().code(), StatusCode::kUnavailable);
    EXPECT_THAT(end.status().message(), HasSubstr("silent for too long"));
    calls.push_back("ended");
    client_->stop();
  };
  client_->stream(std::move(silent), std::move(callbacks));
  run_loop();
  EXPECT_EQ(connections(), 1u);
  EXPECT_TRUE(get("/x").ok());
  EXPECT_EQ(connections(), 2u);
  // The other stream goes on where it was.
  {
    const std::lock_guard<std::mutex> lock(streams_mutex_);
    for (const auto& stream : streams_) stream->write("again\n");
  }
  run_loop();
  EXPECT_THAT(calls, ElementsAre("other", "ended", "other"));
}

TEST_F(ClientServerTest, ARequestWithoutAnswerTimesOut) {
  std::mutex mutex;
  std::vector<std::unique_ptr<net::Responder>> kept;
  serve([&](const net::HttpRequest&, std::unique_ptr<net::Responder> responder) {
    const std::lock_guard<std::mutex> lock(mutex);
    kept.push_back(std::move(responder));
  });
  connect();
  Request impatient;
  impatient.path = "/x";
  impatient.timeout = milliseconds(50);
  const auto answer = request(impatient);
  EXPECT_EQ(answer.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(answer.status().message(), HasSubstr("time"));
  server_->stop();
}

TEST_F(ClientServerTest, NobodyListening) {
  serve(echo);
  server_->stop();
  connect();
  const auto answer = get("/x");
  EXPECT_EQ(answer.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(answer.status().message(), HasSubstr("GET " + config_.server + "/x"));
}

TEST_F(ClientServerTest, RequestsAreReported) {
  serve(watches_and_echo());
  connect();
  std::vector<std::string> reports;
  client_->set_request_observer([&](const Client::RequestReport& report) {
    EXPECT_GT(report.duration.count(), 0);
    EXPECT_EQ("https://" + report.host, config_.server);
    reports.push_back(report.verb + " " + report.method + " " + std::to_string(report.code));
  });
  EXPECT_TRUE(get("/api/v1/nodes?limit=1").ok());
  StreamCallbacks callbacks;
  callbacks.on_headers = [&](int) { client_->stop(); };
  callbacks.on_end = [&](Result<Response>) { client_->stop(); };
  client_->stream(watch("/watch/x"), callbacks);
  run_loop();
  server_->stop();
  run_loop();
  EXPECT_FALSE(get("/api/v1/nodes/x").ok());
  EXPECT_THAT(reports, ElementsAre("LIST GET 200", "GET GET 200", "GET GET 0"));
}

TEST_F(ClientServerTest, WorkMayBePostedFromAnyThread) {
  serve(echo);
  connect();
  std::atomic<int> called = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 250; ++j) {
        client_->post([&] {
          if (++called == 1000) client_->stop();
        });
      }
    });
  }
  run_loop();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(called, 1000);
}

TEST_F(ClientServerTest, AStopBeforeTheLoopRunsIsNotLost) {
  serve(echo);
  connect();
  client_->stop();
  client_->run();
  EXPECT_TRUE(get("/x").ok());
}

TEST_F(ClientServerTest, MayBeDestroyedWithRequestsOpen) {
  serve(watches_and_echo());
  connect();
  int calls = 0;
  StreamCallbacks callbacks;
  callbacks.on_data = [&](std::string_view) {
    ++calls;
    client_->stop();
    return true;
  };
  callbacks.on_end = [&](Result<Response>) { ++calls; };
  client_->stream(watch(), callbacks);
  run_loop();
  client_->stream(watch(), callbacks);  // not even started
  client_.reset();
  EXPECT_EQ(calls, 1);
}

TEST(ClientCreate, RefusesWhatCannotWork) {
  for (const char* server : {"", "10.0.0.1:6443", "https://", "https://a b", "ftp://a"}) {
    ClientConfig config;
    config.server = server;
    EXPECT_FALSE(Client::create(config).ok()) << server;
  }
  ClientConfig config;
  config.server = "https://a";
  config.ca_pem = "junk";
  EXPECT_FALSE(Client::create(config).ok());
  config.ca_pem.clear();
  config.client_key_pem = "x";
  EXPECT_FALSE(Client::create(config).ok());
}

}  // namespace
}  // namespace fairlead::client
