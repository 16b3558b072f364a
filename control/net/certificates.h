// A certificate authority in memory: ECDSA P-256 keys, X.509 v3 certificates, all as PEM text.
//
// For clusters that bring their own authority up, and for tests.
//
// Threads: const after construction; all functions from any thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::net {

struct CertifiedKey {
  std::string certificate_pem;
  std::string key_pem;  // PKCS #8
};

struct LeafRequest {
  std::string common_name;
  std::vector<std::string> organizations;
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;
  bool server = false;  // extended key usages
  bool client = false;
  // Reaches an hour into the past, for clocks that are late.
  std::chrono::seconds lifetime = std::chrono::hours(24 * 365);
};

class CertificateAuthority {
 public:
  static Result<CertificateAuthority> create(
      std::string_view common_name, std::chrono::seconds lifetime = std::chrono::hours(24 * 3650));
  // An authority made earlier.
  static Result<CertificateAuthority> load(std::string_view certificate_pem,
                                           std::string_view key_pem);
  ~CertificateAuthority();
  CertificateAuthority(CertificateAuthority&&) noexcept;
  CertificateAuthority& operator=(CertificateAuthority&&) noexcept;

  const std::string& certificate_pem() const;
  const std::string& key_pem() const;
  // Whether the pair is one, signed by this authority.
  bool issued(const CertifiedKey& pair) const;
  Result<CertifiedKey> issue(const LeafRequest& request) const;

 private:
  struct State;
  explicit CertificateAuthority(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace fairlead::net
