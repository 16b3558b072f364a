// Owners of OpenSSL's handles, PEM reading and error text: for the .cc files that use OpenSSL.
//
// Threads: none of its own.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::net {

template <auto Free>
struct OpensslDelete {
  template <typename T>
  void operator()(T* handle) const {
    Free(handle);
  }
};
using BioPointer = std::unique_ptr<BIO, OpensslDelete<&::BIO_free_all>>;
using X509Pointer = std::unique_ptr<X509, OpensslDelete<&::X509_free>>;
using KeyPointer = std::unique_ptr<EVP_PKEY, OpensslDelete<&::EVP_PKEY_free>>;

// What OpenSSL says about its last failure on this thread; empties its queue.
inline std::string openssl_reason() {
  const unsigned long code = ::ERR_peek_last_error();  // NOLINT: OpenSSL's type
  ::ERR_clear_error();
  if (code == 0) return "unknown reason";
  char text[256];
  ::ERR_error_string_n(code, text, sizeof text);
  return text;
}

inline Status openssl_error(std::string_view operation, std::string_view object) {
  return Status::error(StatusCode::kInvalid, operation, object, openssl_reason());
}

inline BioPointer memory_bio(std::string_view text) {
  return BioPointer(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// What has been written to a memory BIO.
inline std::string bio_text(BIO* bio) {
  char* text = nullptr;
  const long size = ::BIO_get_mem_data(bio, &text);  // NOLINT: OpenSSL's type
  return size > 0 ? std::string(text, static_cast<size_t>(size)) : std::string();
}

// A password prompt on the terminal of a daemon helps nobody: encrypted keys are refused.
inline int refuse_password(char*, int, int, void*) {
  return -1;
}

inline X509Pointer read_certificate(BIO* bio) {
  return X509Pointer(::PEM_read_bio_X509(bio, nullptr, refuse_password, nullptr));
}

inline KeyPointer read_key(std::string_view pem) {
  const BioPointer bio = memory_bio(pem);
  return KeyPointer(::PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_password, nullptr));
}

}  // namespace fairlead::net
