// Transports on Asio sockets. Heavy: for server.cc and asio_transport.cc only.
//
// Threads: io thread only.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <openssl/ossl_typ.h>

#include <memory>

#include "control/net/transport.h"

namespace fairlead::net {

std::unique_ptr<Transport> make_plain_transport(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Transport> make_tls_transport(boost::asio::ip::tcp::socket socket,
                                              std::shared_ptr<SSL_CTX> context);

}  // namespace fairlead::net
