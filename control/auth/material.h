// The keys, certificates and kubeconfig that a server makes for itself when it has none, and finds
// again when it has.
//
// Files in one directory, mode 0600, each written to a new name and renamed:
//   ca.crt ca.key            the authority of servers and clients
//   server.crt server.key    of this server
//   admin.crt admin.key      a client in system:masters
//   sa.key sa.pub            signs service accounts' tokens
//   admin.kubeconfig         all that kubectl needs
// A certificate is made anew when less than thirty days are left, when the
// server's names have changed, or when its authority is new.
//
// Threads: one caller.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace fairlead::auth {

struct MaterialRequest {
  std::string directory;
  std::vector<std::string> dns_names;  // of the server
  std::vector<std::string> addresses;
  std::string server_url;       // for the kubeconfig
  std::string kubeconfig_path;  // a further copy; empty: none
};

struct Material {
  std::string ca_pem;
  std::string server_certificate_pem;
  std::string server_key_pem;
  std::string account_key_pem;
  std::string kubeconfig_path;  // in the directory
};

Result<Material> prepare_material(const MaterialRequest& request);

// Replaces a file at once: a reader sees the old or the new text.
Status write_private_file(const std::string& path, const std::string& text);
// kNotFound when there is no such file.
Result<std::string> read_file(const std::string& path);
// A file that begins with a certificate, on a line of its own when appended to another.
Result<std::string> read_authorities(const std::string& path);

}  // namespace fairlead::auth
