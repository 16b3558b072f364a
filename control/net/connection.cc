#include "control/net/connection.h"

#include "control/net/gzip.h"

namespace fairlead::net {

void stamp_identity(const PeerIdentity& identity, HttpRequest& request) {
  request.peer = identity.address;
  request.tls = identity.tls;
  request.client_certificate_common_name = identity.common_name;
  request.client_certificate_organizations = identity.organizations;
  request.client_certificate_not_after = identity.not_after;
}

HttpResponse refusal_of(const ServerOptions& options, int status, std::string_view reason) {
  if (options.refusal) return options.refusal(status, reason);
  HttpResponse response;
  response.status = status;
  response.body.append(reason).append("\n");
  return response;
}

Exchange::Traits exchange_traits(const ConnectionHost& host, const HttpRequest& request) {
  const ServerOptions& options = host.options();
  Exchange::Traits traits;
  traits.queued = host.queued();
  traits.max_queued = options.max_queued;
  traits.max_backlog = options.max_backlog;
  if (const std::string* accepted = request.header("accept-encoding"); accepted) {
    traits.compress = options.compress && accepts_gzip(*accepted);
  }
  return traits;
}

}  // namespace fairlead::net
