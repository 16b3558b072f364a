#include "control/net/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include "control/net/openssl_support.h"

namespace fairlead::net {
namespace {

using ::testing::HasSubstr;

X509Pointer decode(const std::string& pem) {
  const BioPointer bio = memory_bio(pem);
  return read_certificate(bio.get());
}

CertificateAuthority make_authority() {
  auto created = CertificateAuthority::create("authority");
  EXPECT_TRUE(created.ok()) << created.status().message();
  return std::move(created).value();
}

bool verifies(const CertificateAuthority& authority, X509* leaf, int purpose) {
  const X509Pointer root = decode(authority.certificate_pem());
  const std::unique_ptr<X509_STORE, OpensslDelete<&::X509_STORE_free>> store(::X509_STORE_new());
  ::X509_STORE_add_cert(store.get(), root.get());
  const std::unique_ptr<X509_STORE_CTX, OpensslDelete<&::X509_STORE_CTX_free>> context(
      ::X509_STORE_CTX_new());
  ::X509_STORE_CTX_init(context.get(), store.get(), leaf, nullptr);
  ::X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_X509_STRICT);
  ::X509_STORE_CTX_set_purpose(context.get(), purpose);
  return ::X509_verify_cert(context.get()) == 1;
}

TEST(Certificates, LeavesVerifyForTheirUsesOnly) {
  const CertificateAuthority authority = make_authority();
  LeafRequest request;
  request.common_name = "system:node:a";
  request.organizations = {"system:nodes"};
  request.dns_names = {"a.example", "*.example"};
  request.ip_addresses = {"10.0.0.1", "fd00::1"};
  request.server = true;
  const auto issued = authority.issue(request);
  ASSERT_TRUE(issued.ok()) << issued.status().message();
  const X509Pointer leaf = decode(issued->certificate_pem);
  ASSERT_TRUE(leaf);
  EXPECT_TRUE(verifies(authority, leaf.get(), X509_PURPOSE_SSL_SERVER));
  EXPECT_FALSE(verifies(authority, leaf.get(), X509_PURPOSE_SSL_CLIENT));
  EXPECT_FALSE(verifies(make_authority(), leaf.get(), X509_PURPOSE_SSL_SERVER));
  EXPECT_EQ(::X509_check_host(leaf.get(), "a.example", 0, 0, nullptr), 1);
  EXPECT_EQ(::X509_check_host(leaf.get(), "b.other", 0, 0, nullptr), 0);
  EXPECT_EQ(::X509_check_ip_asc(leaf.get(), "10.0.0.1", 0), 1);
  EXPECT_EQ(::X509_check_ip_asc(leaf.get(), "fd00::1", 0), 1);
  EXPECT_EQ(::X509_check_ip_asc(leaf.get(), "10.0.0.2", 0), 0);
  const KeyPointer key = read_key(issued->key_pem);
  ASSERT_TRUE(key);
  EXPECT_EQ(::X509_check_private_key(leaf.get(), key.get()), 1);
}

TEST(Certificates, ALoadedAuthorityIssuesTheSame) {
  const CertificateAuthority authority = make_authority();
  const auto loaded = CertificateAuthority::load(authority.certificate_pem(), authority.key_pem());
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  LeafRequest request;
  request.common_name = "x";
  request.client = true;
  const auto issued = loaded->issue(request);
  ASSERT_TRUE(issued.ok());
  EXPECT_TRUE(verifies(authority, decode(issued->certificate_pem).get(), X509_PURPOSE_SSL_CLIENT));
}

TEST(Certificates, BadInputIsNamed) {
  const CertificateAuthority authority = make_authority();
  LeafRequest request;
  request.common_name = "x";
  request.ip_addresses = {"10.0.0.256"};
  EXPECT_THAT(authority.issue(request).status().message(), HasSubstr("10.0.0.256"));
  request.ip_addresses = {};
  request.dns_names = {"a,IP:1.2.3.4"};
  EXPECT_THAT(authority.issue(request).status().message(), HasSubstr("bad DNS name"));
  EXPECT_THAT(CertificateAuthority::load("", "").status().message(), HasSubstr("certificate"));
  EXPECT_THAT(CertificateAuthority::load(authority.certificate_pem(), make_authority().key_pem())
                  .status()
                  .message(),
              HasSubstr("match"));
  request.dns_names = {};
  const auto leaf = authority.issue(request);
  EXPECT_THAT(CertificateAuthority::load(leaf->certificate_pem, leaf->key_pem).status().message(),
              HasSubstr("may not sign"));
}

}  // namespace
}  // namespace fairlead::net
