#include "control/net/key_pair.h"

#include <arpa/inet.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <algorithm>

#include "control/net/openssl_support.h"

namespace fairlead::net {
namespace {

std::string name_text(const GENERAL_NAME* name) {
  int type = 0;
  const void* value = ::GENERAL_NAME_get0_value(name, &type);
  if (type != GEN_DNS && type != GEN_IPADD) return "";
  const auto* text = static_cast<const ASN1_STRING*>(value);
  const unsigned char* bytes = ::ASN1_STRING_get0_data(text);
  const int size = ::ASN1_STRING_length(text);
  if (type == GEN_DNS) return std::string(reinterpret_cast<const char*>(bytes), size);
  char address[INET6_ADDRSTRLEN] = "";
  if (size == 4) ::inet_ntop(AF_INET, bytes, address, sizeof address);
  if (size == 16) ::inet_ntop(AF_INET6, bytes, address, sizeof address);
  return address;
}

}  // namespace

Result<CertificateFacts> inspect_certificate(std::string_view pem) {
  const BioPointer bio = memory_bio(pem);
  const X509Pointer certificate = read_certificate(bio.get());
  if (!certificate) return openssl_error("read", "certificate");
  CertificateFacts facts;
  tm when{};
  if (::ASN1_TIME_to_tm(::X509_get0_notAfter(certificate.get()), &when) != 1) {
    return openssl_error("read", "certificate's end");
  }
  facts.not_after = ::timegm(&when);
  using Names = std::unique_ptr<GENERAL_NAMES, OpensslDelete<&::GENERAL_NAMES_free>>;
  const Names names(static_cast<GENERAL_NAMES*>(
      ::X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    facts.alternative_names.push_back(name_text(sk_GENERAL_NAME_value(names.get(), i)));
  }
  std::sort(facts.alternative_names.begin(), facts.alternative_names.end());
  return facts;
}

Result<RsaKeyPair> make_rsa_key_pair() {
  constexpr unsigned int kBits = 2048;
  const KeyPointer key(EVP_RSA_gen(kBits));
  const BioPointer private_bio(::BIO_new(::BIO_s_mem()));
  const BioPointer public_bio(::BIO_new(::BIO_s_mem()));
  const bool ok = key && private_bio && public_bio &&
                  ::PEM_write_bio_PKCS8PrivateKey(private_bio.get(), key.get(), nullptr, nullptr, 0,
                                                  nullptr, nullptr) == 1 &&
                  ::PEM_write_bio_PUBKEY(public_bio.get(), key.get()) == 1;
  if (!ok) return openssl_error("create", "RSA key");
  return RsaKeyPair{bio_text(private_bio.get()), bio_text(public_bio.get())};
}

}  // namespace fairlead::net
