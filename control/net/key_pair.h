// What the PEM text of keys and certificates says, and RSA keys for signing tokens.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::net {

struct CertificateFacts {
  int64_t not_after = 0;                       // seconds since 1970
  std::vector<std::string> alternative_names;  // DNS names and addresses as text, sorted
};

Result<CertificateFacts> inspect_certificate(std::string_view pem);

struct RsaKeyPair {
  std::string private_pem;  // PKCS #8
  std::string public_pem;
};

Result<RsaKeyPair> make_rsa_key_pair();  // 2048 bits

}  // namespace fairlead::net
