#include "tests/e2e/api.h"

#include <gtest/gtest.h>

#include "tests/api_server/api_server.h"

namespace fairlead::e2e {
namespace {

std::string path_of(std::string_view resource) {
  return resource == "endpointslices" ? "/apis/discovery.k8s.io/v1/endpointslices"
                                      : "/api/v1/" + std::string(resource);
}

}  // namespace

struct Api::State {
  harness::Namespace* where;
  std::unique_ptr<api_server::ApiServer> server;
};

Api::Api(std::unique_ptr<State> state) : state_(std::move(state)) {}
Api::~Api() = default;

Result<std::unique_ptr<Api>> Api::start(harness::Namespace& where) {
  auto state = std::make_unique<State>();
  state->where = &where;
  // The server's thread is born inside the namespace and stays there, with all of its sockets.
  api_server::ApiServerOptions options;
  options.port =
      6443;  // below the range of clients' ports: free when it comes back after an outage
  ASSIGN_OR_RETURN(state->server,
                   where.run([&] { return api_server::ApiServer::start(std::move(options)); }));
  return std::unique_ptr<Api>(new Api(std::move(state)));
}

std::string Api::url() const {
  return state_->server->url();
}

void Api::put(std::string_view resource, std::string_view name, std::string json) {
  const Status status = state_->server->put(json);
  EXPECT_TRUE(status.ok()) << resource << " " << name << ": " << status.message();
}

void Api::remove(std::string_view resource, std::string_view name) {
  const Status status = state_->server->remove(path_of(resource), std::string(harness::kNamespace),
                                               std::string(name));
  EXPECT_TRUE(status.ok()) << status.message();
}

int Api::count_events(std::string_view reason, std::string_view about) {
  const std::string wanted = "\"reason\":\"" + std::string(reason) + "\"";
  int count = 0;
  for (const api_server::RecordedRequest& request :
       state_->server->recorded("/apis/events.k8s.io/")) {
    if (request.body.find(wanted) != std::string::npos &&
        request.body.find(about) != std::string::npos) {
      ++count;
    }
  }
  return count;
}

void Api::take_down() {
  state_->server->stop_listening();
  state_->server->close_connections();
}

Status Api::bring_up() {
  return state_->where->run([&] { return state_->server->start_listening(); });
}

}  // namespace fairlead::e2e
