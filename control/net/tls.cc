#include "control/net/tls.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <limits>

#include "control/net/openssl_support.h"

namespace fairlead::net {
namespace {

constexpr unsigned char kOffersBoth[] = "\x02h2\x08http/1.1";
constexpr unsigned char kOffersHttp1[] = "\x08http/1.1";

int select_protocol(SSL*, const unsigned char** out, unsigned char* out_length,
                    const unsigned char* offered, unsigned int offered_length, void* argument) {
  const bool http2 = argument != nullptr;
  const unsigned char* ours = http2 ? kOffersBoth : kOffersHttp1;
  const auto length =
      static_cast<unsigned int>((http2 ? sizeof kOffersBoth : sizeof kOffersHttp1) - 1);
  unsigned char* selected = nullptr;
  if (::SSL_select_next_proto(&selected, out_length, ours, length, offered, offered_length) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;  // no protocol in common: HTTP/1.1 without saying so
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

Status use_certificate_chain(SSL_CTX* context, const std::string& pem) {
  const BioPointer bio = memory_bio(pem);
  const X509Pointer leaf = read_certificate(bio.get());
  if (!leaf) return openssl_error("read", "server certificate");
  if (::SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return openssl_error("use", "server certificate");
  }
  while (X509Pointer issuer = read_certificate(bio.get())) {
    if (::SSL_CTX_add0_chain_cert(context, issuer.get()) != 1) {
      return openssl_error("use", "server certificate chain");
    }
    [[maybe_unused]] X509* owned_by_context = issuer.release();
  }
  ::ERR_clear_error();  // the end of the text counts as an error for OpenSSL
  return {};
}

Status ask_for_client_certificates(SSL_CTX* context, const TlsOptions& options) {
  const BioPointer bio = memory_bio(options.client_ca_pem);
  size_t count = 0;
  while (const X509Pointer authority = read_certificate(bio.get())) {
    if (::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context), authority.get()) != 1 ||
        ::SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return openssl_error("use", "client certificate authority");
    }
    ++count;
  }
  // Nothing but the end of the text ends the list: an authority that is not read is one that is
  // missed when its clients come.
  const unsigned long end = ::ERR_peek_last_error();  // NOLINT: OpenSSL's type
  const bool whole = ERR_GET_LIB(end) == ERR_LIB_PEM && ERR_GET_REASON(end) == PEM_R_NO_START_LINE;
  if (count == 0 || !whole) {
    return openssl_error("read", "client certificate authority");
  }
  ::ERR_clear_error();
  // An intermediate authority may be trusted without the one above it, as Go's x509 does.
  ::X509_VERIFY_PARAM_set_flags(::SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
  const int required = options.require_client_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | required, nullptr);
  return {};
}

std::vector<std::string> name_values(const X509_NAME* name, int nid) {
  std::vector<std::string> values;
  for (int at = -1; (at = ::X509_NAME_get_index_by_NID(name, nid, at)) >= 0;) {
    const X509_NAME_ENTRY* entry = ::X509_NAME_get_entry(name, at);
    unsigned char* text = nullptr;
    const int length = ::ASN1_STRING_to_UTF8(&text, ::X509_NAME_ENTRY_get_data(entry));
    if (length < 0) continue;
    // A NUL inside could make one name look like another to somebody who stops there.
    const std::string value(reinterpret_cast<const char*>(text), static_cast<size_t>(length));
    if (value.find('\0') == std::string::npos) values.push_back(value);
    ::OPENSSL_free(text);
  }
  return values;
}

// Seconds since 1970 when the first certificate of the verified chain expires; 0: unreadable, which
// is long ago.
int64_t earliest_end(const SSL& ssl) {
  const STACK_OF(X509)* chain = ::SSL_get0_verified_chain(&ssl);
  int64_t earliest = std::numeric_limits<int64_t>::max();
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    std::tm end{};
    const bool fine = ::ASN1_TIME_to_tm(::X509_get0_notAfter(sk_X509_value(chain, i)), &end) == 1;
    earliest = std::min<int64_t>(earliest, fine ? ::timegm(&end) : 0);
  }
  return sk_X509_num(chain) > 0 ? earliest : 0;
}

}  // namespace

Result<std::shared_ptr<SSL_CTX>> make_tls_context(const TlsOptions& options, bool http2) {
  const std::shared_ptr<SSL_CTX> context(::SSL_CTX_new(::TLS_server_method()), ::SSL_CTX_free);
  if (!context) return openssl_error("create", "TLS context");
  ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  ::SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
  // A resumed session would bring back a client certificate without looking at its dates again.
  ::SSL_CTX_set_num_tickets(context.get(), 0);
  // HTTP/2 forbids the old suites (RFC 9113, 9.2.2); these are what clients of the last decade
  // speak.
  ::SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20");
  constexpr std::string_view kSessionContext = "fairlead";
  ::SSL_CTX_set_session_id_context(context.get(),
                                   reinterpret_cast<const unsigned char*>(kSessionContext.data()),
                                   kSessionContext.size());
  ::SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  RETURN_IF_ERROR(use_certificate_chain(context.get(), options.certificate_pem));
  const KeyPointer key = read_key(options.key_pem);
  if (!key) return openssl_error("read", "server key");
  if (::SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 ||
      ::SSL_CTX_check_private_key(context.get()) != 1) {
    return openssl_error("use", "server key");
  }
  if (!options.client_ca_pem.empty()) {
    RETURN_IF_ERROR(ask_for_client_certificates(context.get(), options));
  } else if (options.require_client_certificate) {
    return Status::error(StatusCode::kInvalid, "require", "client certificates",
                         "no client certificate authority is configured");
  }
  static char offers_http2;
  ::SSL_CTX_set_alpn_select_cb(context.get(), select_protocol, http2 ? &offers_http2 : nullptr);
  return context;
}

bool tls_negotiated_http2(const SSL& ssl) {
  const unsigned char* protocol = nullptr;
  unsigned int length = 0;
  ::SSL_get0_alpn_selected(&ssl, &protocol, &length);
  return length == 2 && std::memcmp(protocol, "h2", 2) == 0;
}

PeerIdentity tls_peer_identity(const SSL& ssl) {
  PeerIdentity identity;
  identity.tls = true;
  const X509Pointer certificate(::SSL_get1_peer_certificate(&ssl));
  if (!certificate || ::SSL_get_verify_result(&ssl) != X509_V_OK) return identity;
  const X509_NAME* name = ::X509_get_subject_name(certificate.get());
  // As Go's x509 does: with several common names the last one counts.
  const std::vector<std::string> common_names = name_values(name, NID_commonName);
  if (!common_names.empty()) identity.common_name = common_names.back();
  identity.organizations = name_values(name, NID_organizationName);
  identity.not_after = earliest_end(ssl);
  return identity;
}

}  // namespace fairlead::net
