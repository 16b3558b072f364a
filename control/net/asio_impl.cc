// Asio's own functions, compiled once for everybody who links fairlead_asio.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
