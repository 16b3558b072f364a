// The server side of TLS: a context from PEM text, and what a finished handshake tells.
//
// Threads: a context may be shared by all; the rest on the io thread.
#pragma once

#include <openssl/ossl_typ.h>

#include <memory>

#include "base/status.h"
#include "control/net/server.h"
#include "control/net/transport.h"

namespace fairlead::net {

// TLS 1.2 and later. `http2`: offer h2 before http/1.1 by ALPN.
Result<std::shared_ptr<SSL_CTX>> make_tls_context(const TlsOptions& options, bool http2);

bool tls_negotiated_http2(const SSL& ssl);
PeerIdentity tls_peer_identity(const SSL& ssl);  // all but the address

}  // namespace fairlead::net
