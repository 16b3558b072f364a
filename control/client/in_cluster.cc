#include <fmt/format.h>

#include <cstdlib>

#include "control/client/config.h"
#include "control/client/kubeconfig.h"

namespace fairlead::client {

namespace {

constexpr std::string_view kLoadInCluster = "load in-cluster configuration";

}  // namespace

Result<ClientConfig> load_in_cluster(const std::string& root) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (!host || !*host || !port || !*port) {
    return Status::error(StatusCode::kNotFound, kLoadInCluster, "environment",
                         "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
  }
  const bool bare_ipv6 =
      std::string_view(host).find(':') != std::string_view::npos && host[0] != '[';
  ClientConfig config;
  ASSIGN_OR_RETURN(config.server,
                   check_server(bare_ipv6 ? fmt::format("https://[{}]:{}", host, port)
                                          : fmt::format("https://{}:{}", host, port),
                                "KUBERNETES_SERVICE_HOST"));
  const std::string ca_file = root + "/ca.crt";
  ASSIGN_OR_RETURN(config.ca_pem, read_whole_file(ca_file));
  RETURN_IF_ERROR(check_pem(config.ca_pem, "CERTIFICATE", ca_file));
  // Read once now, so that a Pod without a token hears about it at start and not at the first
  // request.
  config.token_file = root + "/token";
  ASSIGN_OR_RETURN(const std::string token, read_whole_file(config.token_file));
  if (token.empty()) {
    return Status::error(StatusCode::kInvalid, kLoadInCluster, config.token_file, "is empty");
  }
  return config;
}

}  // namespace fairlead::client
