// Where the API server is and how to be somebody there: kubeconfig files and in-cluster
// configuration.
//
// Threads: values; loading reads files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::client {

struct ClientConfig {
  std::string server;           // "https://10.0.0.1:6443", no trailing slash
  std::string tls_server_name;  // empty: the host of `server`
  bool insecure_skip_tls_verify = false;
  std::string proxy_url;
  // PEM text; empty when not given. Files are read at load time, except the token file.
  std::string ca_pem;
  std::string client_certificate_pem;
  std::string client_key_pem;
  std::string token;
  std::string token_file;  // re-read when it changes (ServiceAccount tokens rotate)
  std::string username;
  std::string password;

  std::string user_agent = "fairlead";
};

// Reads a kubeconfig (YAML or JSON). `context` empty: current-context. Relative paths inside are
// relative to the file. Exec and auth-provider users are refused by name.
Result<ClientConfig> load_kubeconfig(const std::string& path, std::string_view context = {});

// The Pod's ServiceAccount: KUBERNETES_SERVICE_HOST/PORT and
// /var/run/secrets/kubernetes.io/serviceaccount (`root` for tests).
Result<ClientConfig> load_in_cluster(
    const std::string& root = "/var/run/secrets/kubernetes.io/serviceaccount");

}  // namespace fairlead::client
