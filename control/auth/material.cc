#include "control/auth/material.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <optional>

#include "base/fd.h"
#include "control/net/certificates.h"
#include "control/net/key_pair.h"

namespace fairlead::auth {
namespace {

constexpr int64_t kRenewBefore = int64_t{30} * 24 * 3600;  // seconds

std::string base64(std::string_view text) {
  std::string out((text.size() + 2) / 3 * 4 + 1, '\0');
  const int size = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Status::from_errno(errno, "write", path);
    text.remove_prefix(static_cast<size_t>(written));
  }
  return ::fsync(fd) == 0 ? Status() : Status::from_errno(errno, "sync", path);
}

// Both files, or none when either is missing.
Result<std::optional<net::CertifiedKey>> read_pair(const std::string& base) {
  auto certificate = read_file(base + ".crt");
  auto key = read_file(base + ".key");
  for (const Status& status : {certificate.status(), key.status()}) {
    if (status.code() == StatusCode::kNotFound) return std::optional<net::CertifiedKey>();
    RETURN_IF_ERROR(status);
  }
  return std::optional<net::CertifiedKey>(
      net::CertifiedKey{std::move(certificate).value(), std::move(key).value()});
}

// The key first: a certificate without its key is made anew, never the other way round.
Status write_pair(const std::string& base, const net::CertifiedKey& pair) {
  RETURN_IF_ERROR(write_private_file(base + ".key", pair.key_pem));
  return write_private_file(base + ".crt", pair.certificate_pem);
}

bool lasts(const std::string& certificate_pem) {
  const auto facts = net::inspect_certificate(certificate_pem);
  return facts.ok() && facts->not_after - std::time(nullptr) > kRenewBefore;
}

// What cannot be looked at is there, and reading it says why not.
bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0 || errno != ENOENT;
}

// Everything in the cluster trusts it: it is made where there is nothing or it has nearly run out,
// and never in place of what cannot be read.
Result<net::CertificateAuthority> prepare_authority(const std::string& base) {
  const bool certificate = exists(base + ".crt");
  if (certificate != exists(base + ".key")) {
    return Status::error(StatusCode::kInvalid, "read", base + (certificate ? ".key" : ".crt"),
                         "it is missing; ca.crt and ca.key belong together: restore both or remove "
                         "both");
  }
  ASSIGN_OR_RETURN(const auto found, read_pair(base));
  if (found) {
    auto loaded = net::CertificateAuthority::load(found->certificate_pem, found->key_pem);
    if (!loaded) {
      return Status::error(
          StatusCode::kInvalid, "read", base + ".crt",
          loaded.status().detail() + "; ca.crt and ca.key: restore both or remove both");
    }
    if (lasts(found->certificate_pem)) return loaded;
  }
  ASSIGN_OR_RETURN(net::CertificateAuthority authority,
                   net::CertificateAuthority::create("fairlead-ca"));
  RETURN_IF_ERROR(write_pair(base, {authority.certificate_pem(), authority.key_pem()}));
  return authority;
}

Result<net::CertifiedKey> prepare_leaf(const net::CertificateAuthority& authority,
                                       const std::string& base, const net::LeafRequest& request) {
  ASSIGN_OR_RETURN(auto found, read_pair(base));
  if (found && authority.issued(*found) && lasts(found->certificate_pem)) {
    std::vector<std::string> names = request.dns_names;
    names.insert(names.end(), request.ip_addresses.begin(), request.ip_addresses.end());
    std::sort(names.begin(), names.end());
    const auto facts = net::inspect_certificate(found->certificate_pem);
    if (facts.ok() && facts->alternative_names == names) return std::move(*found);
  }
  ASSIGN_OR_RETURN(net::CertifiedKey pair, authority.issue(request));
  RETURN_IF_ERROR(write_pair(base, pair));
  return pair;
}

std::string kubeconfig(const std::string& server, const std::string& ca_pem,
                       const net::CertifiedKey& admin) {
  return fmt::format(R"(apiVersion: v1
kind: Config
clusters:
- name: fairlead
  cluster:
    server: {}
    certificate-authority-data: {}
users:
- name: admin
  user:
    client-certificate-data: {}
    client-key-data: {}
contexts:
- name: fairlead
  context:
    cluster: fairlead
    user: admin
current-context: fairlead
)",
                     server, base64(ca_pem), base64(admin.certificate_pem), base64(admin.key_pem));
}

Status prepare_account_key(const std::string& directory, Material* material) {
  auto key = read_file(directory + "/sa.key");
  auto public_key = read_file(directory + "/sa.pub");
  if (key.ok() && public_key.ok()) {
    material->account_key_pem = std::move(key).value();
    return {};
  }
  // Tokens in use depend on it: it is only made where there is nothing.
  if (key.ok() || key.status().code() != StatusCode::kNotFound) {
    return Status::error(StatusCode::kInvalid, "read", directory + "/sa.key",
                         "sa.key and sa.pub belong together; restore both or remove both");
  }
  ASSIGN_OR_RETURN(net::RsaKeyPair pair, net::make_rsa_key_pair());
  RETURN_IF_ERROR(write_private_file(directory + "/sa.pub", pair.public_pem));
  RETURN_IF_ERROR(write_private_file(directory + "/sa.key", pair.private_pem));
  material->account_key_pem = std::move(pair.private_pem);
  return {};
}

}  // namespace

Status write_private_file(const std::string& path, const std::string& text) {
  const std::string temporary = fmt::format("{}.{}.new", path, ::getpid());
  ::unlink(temporary.c_str());  // of a process that died; a link that somebody left is not followed
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const Fd fd(::open(temporary.c_str(), kFlags, 0600));
  if (!fd.valid()) return Status::from_errno(errno, "create", temporary);
  Status status = write_all(fd.get(), text, temporary);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = Status::from_errno(errno, "rename", path);
  }
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Result<std::string> read_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Status::from_errno(errno, "read", path);
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t size = ::read(fd.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return Status::from_errno(errno, "read", path);
    if (size == 0) return text;
    text.append(buffer, static_cast<size_t>(size));
  }
}

Result<std::string> read_authorities(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  if (const auto facts = net::inspect_certificate(text); !facts) {
    return Status::error(StatusCode::kInvalid, "read client certificate authority", path,
                         facts.status().detail());
  }
  return "\n" + text;
}

Result<Material> prepare_material(const MaterialRequest& request) {
  const std::string& directory = request.directory;
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Status::from_errno(errno, "create", directory);
  }
  Material material;
  ASSIGN_OR_RETURN(const net::CertificateAuthority authority, prepare_authority(directory + "/ca"));
  material.ca_pem = authority.certificate_pem();
  net::LeafRequest server;
  server.common_name = "kube-apiserver";
  server.dns_names = request.dns_names;
  server.ip_addresses = request.addresses;
  server.server = true;
  ASSIGN_OR_RETURN(net::CertifiedKey pair, prepare_leaf(authority, directory + "/server", server));
  material.server_certificate_pem = std::move(pair.certificate_pem);
  material.server_key_pem = std::move(pair.key_pem);
  net::LeafRequest client;
  client.common_name = "kubernetes-admin";
  client.organizations = {"system:masters"};
  client.client = true;
  ASSIGN_OR_RETURN(const net::CertifiedKey admin,
                   prepare_leaf(authority, directory + "/admin", client));
  RETURN_IF_ERROR(prepare_account_key(directory, &material));
  material.kubeconfig_path = directory + "/admin.kubeconfig";
  const std::string config = kubeconfig(request.server_url, material.ca_pem, admin);
  RETURN_IF_ERROR(write_private_file(material.kubeconfig_path, config));
  if (!request.kubeconfig_path.empty()) {
    RETURN_IF_ERROR(write_private_file(request.kubeconfig_path, config));
  }
  return material;
}

}  // namespace fairlead::auth
