#include "control/net/certificates.h"

#include <arpa/inet.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <ctime>

#include "control/net/openssl_support.h"

namespace fairlead::net {
namespace {

using ExtensionPointer = std::unique_ptr<X509_EXTENSION, OpensslDelete<&::X509_EXTENSION_free>>;
using NamesPointer = std::unique_ptr<GENERAL_NAMES, OpensslDelete<&::GENERAL_NAMES_free>>;

constexpr std::chrono::seconds kBackdated{3600};

std::string certificate_text(X509* certificate) {
  const BioPointer bio(::BIO_new(::BIO_s_mem()));
  if (!bio || ::PEM_write_bio_X509(bio.get(), certificate) != 1) return {};
  return bio_text(bio.get());
}

std::string key_text(EVP_PKEY* key) {
  const BioPointer bio(::BIO_new(::BIO_s_mem()));
  if (!bio ||
      ::PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return {};
  }
  return bio_text(bio.get());
}

bool add_name(X509* certificate, const char* field, std::string_view value) {
  X509_NAME* name = ::X509_get_subject_name(certificate);
  return ::X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPointer extension(::X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension && ::X509_add_ext(certificate, extension.get(), -1) == 1;
}

// Built as ASN.1, never as OpenSSL's configuration text, in which a comma in a name starts another
// one.
bool add_alternative_name(GENERAL_NAMES* names, int type, std::string_view value) {
  std::unique_ptr<GENERAL_NAME, OpensslDelete<&::GENERAL_NAME_free>> name(::GENERAL_NAME_new());
  std::unique_ptr<ASN1_STRING, OpensslDelete<&::ASN1_STRING_free>> text(
      ::ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING));
  if (!name || !text ||
      ::ASN1_STRING_set(text.get(), value.data(), static_cast<int>(value.size())) != 1) {
    return false;
  }
  ::GENERAL_NAME_set0_value(name.get(), type, text.release());
  if (sk_GENERAL_NAME_push(names, name.get()) == 0) return false;
  [[maybe_unused]] GENERAL_NAME* owned_by_names = name.release();
  return true;
}

Status add_alternative_names(X509* certificate, const LeafRequest& request) {
  if (request.dns_names.empty() && request.ip_addresses.empty()) return {};
  const NamesPointer names(sk_GENERAL_NAME_new_null());
  if (!names) return openssl_error("create", "subject alternative names");
  for (const std::string& dns : request.dns_names) {
    const bool plain =
        !dns.empty() && dns.find_first_of(std::string_view("\0 ,\r\n", 5)) == std::string::npos;
    if (!plain)
      return Status::error(StatusCode::kInvalid, "issue certificate", dns, "bad DNS name");
    if (!add_alternative_name(names.get(), GEN_DNS, dns)) return openssl_error("add name", dns);
  }
  for (const std::string& ip : request.ip_addresses) {
    unsigned char bytes[16];
    size_t size = 0;
    if (::inet_pton(AF_INET, ip.c_str(), bytes) == 1) {
      size = 4;
    } else if (::inet_pton(AF_INET6, ip.c_str(), bytes) == 1) {
      size = 16;
    } else {
      return Status::error(StatusCode::kInvalid, "issue certificate", ip, "not an IP address");
    }
    if (!add_alternative_name(names.get(), GEN_IPADD,
                              {reinterpret_cast<const char*>(bytes), size})) {
      return openssl_error("add name", ip);
    }
  }
  if (::X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0) != 1) {
    return openssl_error("add", "subject alternative names");
  }
  return {};
}

// Everything that authorities and leaves have in common, up to the names and extensions.
Result<X509Pointer> begin_certificate(EVP_PKEY* key, std::chrono::seconds lifetime) {
  X509Pointer certificate(::X509_new());
  unsigned char serial[16];
  if (!certificate || ::RAND_bytes(serial, sizeof serial) != 1) {
    return openssl_error("create", "certificate");
  }
  serial[0] = static_cast<unsigned char>((serial[0] & 0x3f) | 0x40);  // positive, never zero
  const std::unique_ptr<BIGNUM, OpensslDelete<&::BN_free>> number(
      ::BN_bin2bn(serial, sizeof serial, nullptr));
  const std::time_t now = std::time(nullptr);
  const bool ok =
      number && ::X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
      ::BN_to_ASN1_INTEGER(number.get(), ::X509_get_serialNumber(certificate.get())) != nullptr &&
      ::ASN1_TIME_set(::X509_getm_notBefore(certificate.get()), now - kBackdated.count()) &&
      ::ASN1_TIME_set(::X509_getm_notAfter(certificate.get()), now + lifetime.count()) &&
      ::X509_set_pubkey(certificate.get(), key) == 1;
  if (!ok) return openssl_error("create", "certificate");
  return certificate;
}

}  // namespace

struct CertificateAuthority::State {
  X509Pointer certificate;
  KeyPointer key;
  std::string certificate_pem;
  std::string key_pem;
};

CertificateAuthority::CertificateAuthority(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
CertificateAuthority::~CertificateAuthority() = default;
CertificateAuthority::CertificateAuthority(CertificateAuthority&&) noexcept = default;
CertificateAuthority& CertificateAuthority::operator=(CertificateAuthority&&) noexcept = default;

const std::string& CertificateAuthority::certificate_pem() const {
  return state_->certificate_pem;
}
const std::string& CertificateAuthority::key_pem() const {
  return state_->key_pem;
}

Result<CertificateAuthority> CertificateAuthority::create(std::string_view common_name,
                                                          std::chrono::seconds lifetime) {
  auto state = std::make_unique<State>();
  state->key.reset(EVP_EC_gen("P-256"));
  if (!state->key) return openssl_error("generate key for", common_name);
  ASSIGN_OR_RETURN(state->certificate, begin_certificate(state->key.get(), lifetime));
  X509* certificate = state->certificate.get();
  const bool ok =
      add_name(certificate, "CN", common_name) &&
      ::X509_set_issuer_name(certificate, ::X509_get_subject_name(certificate)) == 1 &&
      add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE") &&
      add_extension(certificate, certificate, NID_key_usage,
                    "critical,digitalSignature,keyCertSign,cRLSign") &&
      add_extension(certificate, certificate, NID_subject_key_identifier, "hash") &&
      ::X509_sign(certificate, state->key.get(), ::EVP_sha256()) > 0;
  if (!ok) return openssl_error("create certificate authority", common_name);
  state->certificate_pem = certificate_text(certificate);
  state->key_pem = key_text(state->key.get());
  return CertificateAuthority(std::move(state));
}

Result<CertificateAuthority> CertificateAuthority::load(std::string_view certificate_pem,
                                                        std::string_view key_pem) {
  auto state = std::make_unique<State>();
  const BioPointer bio = memory_bio(certificate_pem);
  state->certificate = read_certificate(bio.get());
  if (!state->certificate) return openssl_error("load", "authority certificate");
  state->key = read_key(key_pem);
  if (!state->key) return openssl_error("load", "authority key");
  if (::X509_check_private_key(state->certificate.get(), state->key.get()) != 1) {
    return openssl_error("match", "authority certificate and key");
  }
  if (::X509_check_ca(state->certificate.get()) != 1) {
    return Status::error(StatusCode::kInvalid, "load", "authority certificate",
                         "it may not sign certificates");
  }
  state->certificate_pem = certificate_text(state->certificate.get());
  state->key_pem = key_text(state->key.get());
  return CertificateAuthority(std::move(state));
}

bool CertificateAuthority::issued(const CertifiedKey& pair) const {
  const BioPointer bio = memory_bio(pair.certificate_pem);
  const X509Pointer leaf = read_certificate(bio.get());
  const KeyPointer key = read_key(pair.key_pem);
  X509* issuer = state_->certificate.get();
  const bool ours = leaf && key && ::X509_check_private_key(leaf.get(), key.get()) == 1 &&
                    ::X509_check_issued(issuer, leaf.get()) == X509_V_OK &&
                    ::X509_verify(leaf.get(), ::X509_get0_pubkey(issuer)) == 1;
  ::ERR_clear_error();
  return ours;
}

Result<CertifiedKey> CertificateAuthority::issue(const LeafRequest& request) const {
  const KeyPointer key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("generate key for", request.common_name);
  X509Pointer owner;
  ASSIGN_OR_RETURN(owner, begin_certificate(key.get(), request.lifetime));
  X509* certificate = owner.get();
  X509* issuer = state_->certificate.get();
  // Organizations first: the order in which Kubernetes' own tools write a subject.
  bool ok = true;
  for (const std::string& organization : request.organizations) {
    ok = ok && add_name(certificate, "O", organization);
  }
  ok = ok && (request.common_name.empty() || add_name(certificate, "CN", request.common_name));
  ok = ok && ::X509_set_issuer_name(certificate, ::X509_get_subject_name(issuer)) == 1 &&
       add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
       add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") &&
       add_extension(certificate, issuer, NID_authority_key_identifier, "keyid");
  if (ok && (request.server || request.client)) {
    const char* usages = !request.client   ? "serverAuth"
                         : !request.server ? "clientAuth"
                                           : "serverAuth,clientAuth";
    ok = add_extension(certificate, issuer, NID_ext_key_usage, usages);
  }
  if (!ok) return openssl_error("create certificate", request.common_name);
  RETURN_IF_ERROR(add_alternative_names(certificate, request));
  if (::X509_sign(certificate, state_->key.get(), ::EVP_sha256()) <= 0) {
    return openssl_error("sign certificate", request.common_name);
  }
  CertifiedKey result;
  result.certificate_pem = certificate_text(certificate);
  result.key_pem = key_text(key.get());
  return result;
}

}  // namespace fairlead::net
