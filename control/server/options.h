// What `fairlead server` can be told.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "control/store/open.h"
#include "control/store/store.h"

namespace fairlead::server {

struct Options {
  std::string data_dir = "/var/lib/fairlead";
  std::string store;  // empty: embedded, in the data directory
  store::StoreTls store_tls;
  uint64_t store_quota_bytes = store::kDefaultQuota;
  std::string listen_address = "0.0.0.0";
  std::string advertise_address;  // empty: found out
  uint16_t secure_port = 6443;
  int insecure_port = -1;  // below zero: none; always on 127.0.0.1
  std::string service_range = "10.96.0.0/16";
  std::string node_ports = "30000-32767";
  std::string token_file;
  std::string client_ca_file;
  std::string certificate_file;
  std::string key_file;
  std::string kubeconfig_out;
  std::vector<std::string> names;  // further ones of the server certificate
  size_t max_reads = 400;
  size_t max_writes = 200;
  bool controllers = true;
  int verbosity = 0;
  bool json_logs = false;
};

// What the command line asks for: a server, or a text and the end.
struct Invocation {
  bool serve = false;
  std::string output;  // help, version
  Options options;
};

// `arguments` without the program's name. An error is one line that names the flag.
Result<Invocation> parse_arguments(std::vector<std::string> arguments);

}  // namespace fairlead::server
