#include "control/server/options.h"

#include <CLI/CLI.hpp>

namespace fairlead::server {
namespace {

void declare(CLI::App& app, Options& options) {
  app.add_option("--data-dir", options.data_dir, "where the store, keys and certificates are kept")
      ->capture_default_str();
  app.add_option("--store", options.store,
                 "etcd://host:port,... to keep objects there; the default is a store of its own in "
                 "the data directory");
  app.add_option("--etcd-cafile", options.store_tls.ca_file, "PEM file: whom to trust as etcd");
  app.add_option("--etcd-certfile", options.store_tls.certificate_file,
                 "PEM file: the certificate to show to etcd");
  app.add_option("--etcd-keyfile", options.store_tls.key_file, "PEM file: its key");
  app.add_option(
         "--store-quota-bytes", options.store_quota_bytes,
         "how much the store of its own may hold, all of which is in memory; writes that add "
         "are refused beyond it; 0: no limit")
      ->capture_default_str();
  app.add_option("--listen-address,--bind-address", options.listen_address,
                 "the address of the secure port")
      ->capture_default_str();
  app.add_option("--advertise-address", options.advertise_address,
                 "the address that pods and the kubeconfig use; the default is the first of this "
                 "machine, or the one listened on");
  app.add_option("--secure-port", options.secure_port, "the port, with TLS")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  app.add_option("--insecure-port", options.insecure_port,
                 "a port on 127.0.0.1 without TLS where everybody is an administrator; 0: any free "
                 "one; not opened unless given")
      ->check(CLI::Range(0, 65535));
  app.add_option("--service-cluster-ip-range", options.service_range,
                 "the addresses of services: one range, or an IPv4 and an IPv6 range")
      ->capture_default_str();
  app.add_option("--service-node-port-range", options.node_ports, "the node ports of services")
      ->capture_default_str();
  app.add_option("--token-auth-file", options.token_file,
                 "CSV of token,user,uid,\"group,...\": who may come with a bearer token");
  app.add_option("--client-ca-file", options.client_ca_file,
                 "PEM file of further authorities of client certificates");
  app.add_option("--tls-cert-file", options.certificate_file,
                 "PEM file: the server's certificate; the default is one of its own authority");
  app.add_option("--tls-private-key-file", options.key_file, "PEM file: its key");
  app.add_option("--tls-san", options.names, "a further name or address in the certificate");
  app.add_option("--kubeconfig-out", options.kubeconfig_out,
                 "a further place to write the administrator's kubeconfig to");
  app.add_option("--max-requests-inflight", options.max_reads, "reads at a time")
      ->capture_default_str();
  app.add_option("--max-mutating-requests-inflight", options.max_writes, "writes at a time")
      ->capture_default_str();
  app.add_option("--controllers", options.controllers, "whether to run the controllers")
      ->capture_default_str();
  app.add_option("-v,--v", options.verbosity, "how much to log");
  app.add_flag("--log-json", options.json_logs, "log lines as JSON");
}

Status check(const Options& options) {
  const auto wrong = [](std::string_view flag, std::string_view why) {
    return Status::error(StatusCode::kInvalid, "read flags", flag, why);
  };
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return wrong("--tls-cert-file", "needs --tls-private-key-file, and the other way round");
  }
  if (options.data_dir.empty()) return wrong("--data-dir", "must not be empty");
  if (options.max_reads == 0 || options.max_writes == 0) {
    return wrong("--max-requests-inflight", "must be at least 1");
  }
  return {};
}

}  // namespace

Result<Invocation> parse_arguments(std::vector<std::string> arguments) {
  Invocation invocation;
  CLI::App app("Fairlead's control plane", "fairlead");
  app.require_subcommand(1);
  app.set_version_flag("--version", "fairlead " FAIRLEAD_VERSION);
  CLI::App* server = app.add_subcommand("server", "Runs the Kubernetes API server");
  declare(*server, invocation.options);
  std::reverse(arguments.begin(), arguments.end());  // as the library wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    invocation.output = app.help();
    return invocation;
  } catch (const CLI::CallForVersion&) {
    invocation.output = "fairlead " FAIRLEAD_VERSION "\n";
    return invocation;
  } catch (const CLI::ParseError& error) {
    return Status::error(StatusCode::kInvalid, "read", "the command line",
                         std::string(error.what()) + "; see fairlead server --help");
  }
  RETURN_IF_ERROR(check(invocation.options));
  invocation.serve = true;
  return invocation;
}

}  // namespace fairlead::server
