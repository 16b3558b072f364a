// A Kubernetes API server for tests and benchmarks: the list, watch and write protocol as
// clients see it, a store in memory, and handles for everything that goes wrong in real clusters.
//
//   auto server = ApiServer::start({});
//   (*server)->put(service_json({.name = "web"}));
//   ... point a client at (*server)->url() ...
//   (*server)->inject({.path = "/api/v1/services", .verb = Verb::kList, .status = 500});
//   (*server)->cut_watches("/api/v1/services");
//   (*server)->wait_until([&] { return (*server)->counters().watches == 2; });
//
// Serves from the start: services, nodes, namespaces, pods, endpoints and events of the core group,
// endpointslices, servicecidrs, ingresses and networkpolicies, leases, and events.k8s.io;
// add_type() for more. Protocol reference:
// https://kubernetes.io/docs/reference/using-api/api-concepts/
//
// Threads: all functions from any thread; requests are served on the server's io thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/net/certificates.h"
#include "tests/api_server/route.h"
#include "tests/api_server/store.h"

namespace fairlead::api_server {

struct ApiServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  bool tls = false;  // with a certificate authority made at the start: see ca_pem()
  std::vector<std::string> certificate_dns_names = {"localhost", "kubernetes.default.svc"};
  std::vector<std::string> certificate_ip_addresses = {"127.0.0.1", "::1"};
  // Who may come in: both empty (false) admits everybody; both set admits holders of either.
  std::string bearer_token = {};
  bool require_client_certificate = false;  // signed by the same authority
  bool http2 = true;
  bool compress =
      true;  // large lists, for clients that take gzip; benchmarks of clients turn it off
  size_t history = 100000;  // changes of each type that a watch can resume from
  std::chrono::milliseconds bookmark_interval{60000};
  // An expired watch is told so by an ERROR event (as the real one's cache does) or by HTTP status
  // 410.
  bool expired_as_event = true;
};

// What the next requests get instead of an answer.
struct Fault {
  enum class Kind {
    kStatus,     // an error of this status
    kDelay,      // the right answer, late
    kStall,      // nothing, until clear_faults()
    kMalformed,  // 200 with a body (or a watch line) that is not JSON; a watch goes on after it
    kTruncate,   // half of the right body, then the connection is cut; watches are cut in a line
  };
  std::string path = {};  // prefix of the request's path; empty: any
  Verb verb = Verb::kAny;
  int count = 1;  // of requests; -1: until clear_faults()
  Kind kind = Kind::kStatus;
  int status = 500;
  int retry_after_seconds = 0;
  std::chrono::milliseconds delay{0};
};

// A write that a client sent, whatever became of it.
struct RecordedRequest {
  std::string method;
  std::string path;
  std::string body;
};

// Requests count when they arrive, whether or not a fault awaits them.
struct Counters {
  uint64_t requests = 0;
  uint64_t lists = 0;  // pages
  uint64_t gets = 0;
  uint64_t watches = 0;  // begun
  uint64_t writes = 0;
  uint64_t expired = 0;  // 410s, as status and as event
  uint64_t faults = 0;   // requests that met an injected fault
  uint64_t http2_requests = 0;
  uint64_t denied = 0;        // 401
  uint64_t connections = 0;   // distinct client connections that sent a request
  uint64_t open_watches = 0;  // now
};

class ApiServer {
 public:
  static Result<std::unique_ptr<ApiServer>> start(ApiServerOptions options);
  virtual ~ApiServer() = default;

  virtual uint16_t port() const = 0;
  virtual std::string url() const = 0;     // "https://127.0.0.1:port"
  virtual std::string ca_pem() const = 0;  // empty without TLS
  // A certificate for a client, when TLS is on.
  virtual Result<net::CertifiedKey> issue_client(const std::string& user,
                                                 const std::vector<std::string>& groups) const = 0;
  // A kubeconfig that reaches this server, with the bearer token when there is one, and with a
  // client certificate for `user` when TLS is on and `user` is not empty. PEM is inlined.
  virtual Result<std::string> kubeconfig(const std::string& user = {}) const = 0;

  virtual void add_type(ResourceType type) = 0;
  // Stops or resumes serving a type: unserved paths answer 404.
  virtual void set_served(const std::string& path, bool served) = 0;

  // Objects. put() finds the type by apiVersion and kind, and creates or replaces. The
  // resourceVersion in the text counts for nothing. Namespaced objects without a namespace go to
  // "default".
  virtual Status put(std::string_view json) = 0;
  virtual Status remove(const std::string& path, const std::string& name_space,
                        const std::string& name) = 0;
  virtual Result<std::string> get(const std::string& path, const std::string& name_space,
                                  const std::string& name) const = 0;
  virtual size_t size(const std::string& path) const = 0;
  virtual uint64_t version() const = 0;
  virtual void compact() = 0;  // every older resourceVersion is Expired from now on

  // Trouble.
  virtual void inject(Fault fault) = 0;
  virtual void clear_faults() = 0;
  // Ends the standing watches below the path prefix without a proper end, if asked in the middle of
  // an event's line. Returns how many.
  virtual size_t cut_watches(const std::string& path = {}, bool mid_line = false) = 0;
  virtual size_t send_to_watches(const std::string& path, const std::string& bytes) = 0;
  virtual size_t send_bookmarks(const std::string& path = {}) = 0;
  // Watches stay open but hear nothing; resuming delivers what they missed.
  virtual void set_watches_paused(bool paused) = 0;
  virtual void close_connections() = 0;
  // Refuses connections until start_listening(), on the same port; the store stays.
  virtual void stop_listening() = 0;
  virtual Status start_listening() = 0;

  virtual Counters counters() const = 0;
  virtual std::vector<RecordedRequest> recorded(const std::string& path = {}) const = 0;
  // Waits until the predicate, which may call all functions above, holds; it is asked again
  // whenever something has happened. False after `patience`.
  virtual bool wait_until(const std::function<bool()>& predicate,
                          std::chrono::milliseconds patience = std::chrono::seconds(10)) = 0;
};

}  // namespace fairlead::api_server
