// A real server on a loopback port and a client whose loop runs on the test's thread.
//
// Threads: the test's; handlers are called on the server's.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/client/client.h"
#include "control/net/certificates.h"
#include "control/net/server.h"

namespace fairlead::client {

class ServerFixture : public ::testing::Test {
 protected:
  static const net::CertificateAuthority& authority() {
    static const net::CertificateAuthority kAuthority =
        net::CertificateAuthority::create("fairlead test").value();
    return kAuthority;
  }

  static net::CertifiedKey issue(const std::string& name, bool server) {
    net::LeafRequest request;
    request.common_name = name;
    if (server) request.dns_names = {name};
    if (server) request.ip_addresses = {"127.0.0.1"};
    request.organizations = {"system:nodes"};
    request.server = server;
    request.client = !server;
    return authority().issue(request).value();
  }

  // TLS with HTTP/2 and required client certificates unless `options` is changed before.
  ServerFixture() {
    const net::CertifiedKey key = issue("api.test", true);
    options_.tls_enabled = true;
    options_.tls.certificate_pem = key.certificate_pem;
    options_.tls.key_pem = key.key_pem;
    options_.tls.client_ca_pem = authority().certificate_pem();
    options_.tls.require_client_certificate = true;
  }

  void serve(net::Handler handler) {
    auto started = net::Server::start(
        options_, [this, handler = std::move(handler)](const net::HttpRequest& request,
                                                       std::unique_ptr<net::Responder> responder) {
          {
            const std::lock_guard<std::mutex> lock(mutex_);
            peers_.insert(request.peer);
          }
          handler(request, std::move(responder));
        });
    ASSERT_TRUE(started.ok()) << started.status().message();
    server_ = std::move(started).value();
    const net::CertifiedKey me = issue("system:node:n1", false);
    config_.server = std::string(options_.tls_enabled ? "https" : "http") +
                     "://127.0.0.1:" + std::to_string(server_->port());
    if (options_.tls_enabled) {
      config_.ca_pem = authority().certificate_pem();
      config_.client_certificate_pem = me.certificate_pem;
      config_.client_key_pem = me.key_pem;
    }
  }

  void connect() {
    auto created = Client::create(config_);
    ASSERT_TRUE(created.ok()) << created.status().message();
    client_ = std::move(created).value();
  }

  // Runs the loop until stop_loop(); fails the test when that takes half a minute.
  void run_loop() {
    bool late = false;
    const auto watchdog = client_->after(std::chrono::seconds(30), [&] {
      late = true;
      client_->stop();
    });
    client_->run();
    client_->cancel(watchdog);
    ASSERT_FALSE(late) << "nothing happened";
  }

  Result<Response> request(Request request) {
    Result<Response> answer = Response();
    client_->send(std::move(request), [&](Result<Response> result) {
      answer = std::move(result);
      client_->stop();
    });
    run_loop();
    return answer;
  }
  Result<Response> get(const std::string& path) {
    Request wanted;
    wanted.path = path;
    return request(std::move(wanted));
  }

  // How many different client ports the server has seen.
  size_t connections() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return peers_.size();
  }

  net::ServerOptions options_;
  ClientConfig config_;
  std::mutex mutex_;
  std::set<std::string> peers_;
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<Client> client_;
};

// Answers every request with what it was.
inline void echo(const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
  net::HttpResponse response;
  response.body =
      request.method + " " + request.path + " " + request.client_certificate_common_name;
  for (const char* name : {"authorization", "user-agent", "content-type", "host", ":authority"}) {
    if (const std::string* value = request.header(name))
      response.body += std::string("\n") + name + ": " + *value;
  }
  response.body += "\n" + request.body;
  responder->respond(std::move(response));
}

}  // namespace fairlead::client
