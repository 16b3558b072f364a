// The API server's side of the daemon: reflectors, conversion, Events. Everything here runs on the
// client's loop thread and ends up as messages in the sync thread's mailbox.
//
// Threads: start() and destruction on the main thread; record() from any.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/mailbox.h"
#include "base/status.h"
#include "control/api/types.h"
#include "control/client/config.h"
#include "dataplane/model.h"
#include "proxy/objects.h"
#include "proxy/runtime/events.h"
#include "proxy/runtime/metrics.h"

namespace fairlead::proxy {

enum class Resource { kServices, kEndpointSlices, kNode, kServiceCidrs };
std::string_view to_string(Resource resource);  // the metrics' label: "services", ...
std::string_view kind_of(Resource resource);    // "Service", ...

// An object as the server has it now, or that it has gone. Exactly the member of its resource is
// set; none when the object has gone or is not for us.
struct ObjectMessage {
  Resource resource = Resource::kServices;
  dataplane::ObjectName name;
  std::optional<dataplane::Service> service;
  std::optional<Slice> slice;
  std::optional<api::Node> node;
  std::optional<api::ServiceCidr> service_cidr;
  bool removed = false;
  std::vector<api::Problem> problems;
  std::chrono::steady_clock::time_point received;
};

// The first list of a resource is complete, or the server does not know the resource.
struct ListedMessage {
  Resource resource;
};

// How the last attempt to reach the server went.
struct ConnectionMessage {
  Resource resource;
  Status status;
};

// Something that could not even be named.
struct MalformedMessage {
  Resource resource;
  Status reason;
};

using FeedMessage = std::variant<ObjectMessage, ListedMessage, ConnectionMessage, MalformedMessage>;

class Feed {
 public:
  // Preconditions: `mailbox` and `metrics` outlive it.
  static Result<std::unique_ptr<Feed>> start(client::ClientConfig config, std::string node_name,
                                             Mailbox<FeedMessage>& mailbox, Metrics& metrics);
  virtual ~Feed() = default;  // stops the loop, joins

  virtual void record(const Event& event) = 0;
  virtual const ZoneHints& hints() const = 0;  // of the slices delivered
};

}  // namespace fairlead::proxy
