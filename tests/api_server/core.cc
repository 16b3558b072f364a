#include "tests/api_server/core.h"

#include <fmt/format.h>

namespace fairlead::api_server {
namespace {

bool is_write(const std::string& method) {
  return method != "GET" && method != "HEAD";
}

net::HttpResponse ok_text(std::string body) {
  net::HttpResponse response;
  response.body = std::move(body);
  return response;
}

// What needs no credentials and no store.
std::optional<net::HttpResponse> answer_public(const std::string& path) {
  if (path == "/healthz" || path == "/livez" || path == "/readyz") return ok_text("ok");
  if (path != "/version") return std::nullopt;
  net::HttpResponse response =
      ok_text(R"({"major":"1","minor":"30","gitVersion":"v1.30.0","platform":"linux/amd64"})"
              "\n");
  response.content_type = kJson;
  return response;
}

const ResourceType kTypes[] = {
    {"", "v1", "services", "Service"},
    {"", "v1", "nodes", "Node", false},
    {"", "v1", "namespaces", "Namespace", false},
    {"", "v1", "pods", "Pod"},
    {"", "v1", "endpoints", "Endpoints"},
    {"", "v1", "events", "Event"},
    {"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"},
    {"networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", false},
    {"networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"},
    {"networking.k8s.io", "v1", "ingresses", "Ingress"},
    {"coordination.k8s.io", "v1", "leases", "Lease"},
    {"events.k8s.io", "v1", "events", "Event"},
};

}  // namespace

void Notifier::notify() {
  {
    const std::lock_guard lock(mutex_);
    ++count_;
  }
  changed_.notify_all();
}

bool Notifier::wait_until(const std::function<bool()>& predicate,
                          std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::unique_lock lock(mutex_);
  while (true) {
    const uint64_t seen = count_;
    lock.unlock();
    if (predicate()) return true;
    lock.lock();
    if (!changed_.wait_until(lock, deadline, [&] { return count_ != seen; })) return false;
  }
}

Core::Core(const ApiServerOptions& options) : options_(options), store_(options.history) {
  {
    MutexLock lock(mutex_);
    for (const ResourceType& type : kTypes) store_.add_type(type);
  }
  timers_.after(options_.bookmark_interval, [this] { tick_bookmarks(); });
}

bool Core::admits(const net::HttpRequest& request) const {
  if (options_.bearer_token.empty() && !options_.require_client_certificate) return true;
  if (options_.require_client_certificate && !request.client_certificate_common_name.empty()) {
    return true;
  }
  const std::string* given = request.header("authorization");
  return !options_.bearer_token.empty() && given != nullptr &&
         *given == "Bearer " + options_.bearer_token;
}

std::optional<Fault> Core::take_fault(const std::string& path, Verb verb) {
  for (auto fault = faults_.begin(); fault != faults_.end(); ++fault) {
    if (!path.starts_with(fault->path)) continue;
    if (fault->verb != Verb::kAny && fault->verb != verb) continue;
    const Fault taken = *fault;
    if (fault->count > 0 && --fault->count == 0) faults_.erase(fault);
    ++counters_.faults;
    return taken;
  }
  return std::nullopt;
}

void Core::count(const net::HttpRequest& request, const Route& route) {
  switch (route.verb) {
    case Verb::kList:
      ++counters_.lists;
      break;
    case Verb::kWatch:
      ++counters_.watches;
      break;
    case Verb::kGet:
      ++counters_.gets;
      break;
    default:
      break;
  }
  if (is_write(request.method)) {
    ++counters_.writes;
    recorded_.push_back({request.method, request.path, request.body});
  }
}

void Core::handle(const net::HttpRequest& request, std::unique_ptr<net::Responder> owner) {
  const SharedResponder responder = std::move(owner);
  const bool admitted = admits(request);
  std::optional<net::HttpResponse> at_once = answer_public(request.path);
  std::optional<Fault> fault;
  {
    MutexLock lock(mutex_);
    ++counters_.requests;
    counters_.http2_requests += request.http2 ? 1 : 0;
    peers_.insert(request.peer);
    const Route route = route_of(request).value_or(Route());
    if (!at_once && !admitted) {
      ++counters_.denied;
      ApiError error;
      error.code = 401;
      error.reason = "Unauthorized";
      error.message = "Unauthorized";
      at_once = error.response();
    } else {
      count(request, route);
      fault = take_fault(request.path, route.verb);
    }
  }
  if (fault) {
    meet_fault(*fault, request, responder);
  } else if (at_once) {
    responder->respond(std::move(*at_once));
  } else {
    answer(request, responder);
  }
  notifier_.notify();
}

void Core::meet_fault(const Fault& fault, const net::HttpRequest& request,
                      SharedResponder responder) {
  switch (fault.kind) {
    case Fault::Kind::kStatus: {
      ApiError error;
      error.code = fault.status;
      error.reason = reason_of(fault.status);
      error.message = "injected fault";
      error.retry_after_seconds = fault.retry_after_seconds;
      return responder->respond(error.response());
    }
    case Fault::Kind::kDelay:
      return timers_.after(fault.delay, [this, request, responder] {
        answer(request, responder);
        notifier_.notify();
      });
    case Fault::Kind::kStall: {
      MutexLock lock(mutex_);
      stalled_.push_back({request, std::move(responder)});
      return;
    }
    case Fault::Kind::kMalformed:
    case Fault::Kind::kTruncate:
      return answer(request, std::move(responder), &fault);
  }
}

void Core::answer(const net::HttpRequest& request, SharedResponder responder, const Fault* fault) {
  std::optional<net::HttpResponse> response = answer_public(request.path);
  std::optional<WatchStart> watch;
  if (!response) {
    MutexLock lock(mutex_);
    const std::optional<Route> route = route_of(request);
    Resource* resource =
        route && !unserved_.contains(route->path) ? store_.find(route->path) : nullptr;
    if (resource == nullptr) {
      response = unknown_path().response();
    } else if (route->verb == Verb::kWatch) {
      watch = prepare_watch(request, *route, *resource);
      if (watch->error) response = watch->error->response();
    } else {
      response = dispatch(request, *route, *resource);
    }
  }
  if (!response) return begin_watch(request, std::move(*watch), std::move(responder), fault);
  if (fault != nullptr && fault->kind == Fault::Kind::kTruncate) {
    const auto stream = responder->start_stream(*response, nullptr);
    stream->write(response->body.substr(0, response->body.size() / 2));
    return stream->abort();
  }
  if (fault != nullptr) response->body = R"({"kind":"List","items":[{"metadata":)";
  responder->respond(std::move(*response));
}

void Core::add_type(ResourceType type) {
  MutexLock lock(mutex_);
  store_.add_type(std::move(type));
}

void Core::set_served(const std::string& path, bool served) {
  MutexLock lock(mutex_);
  if (served) {
    unserved_.erase(path);
  } else {
    unserved_.insert(path);
  }
}

Status Core::put(std::string_view json) {
  ObjectEnvelope envelope;
  ASSIGN_OR_RETURN(envelope, read_envelope(json));
  {
    MutexLock lock(mutex_);
    Resource* resource = store_.find_kind(envelope.api_version, envelope.kind);
    if (resource == nullptr) {
      return Status::error(StatusCode::kInvalid, "put", envelope.api_version + " " + envelope.kind,
                           "no such type is served");
    }
    const std::string name_space = envelope.name_space.empty() ? "default" : envelope.name_space;
    const auto stored = store_.put(*resource, json, Store::Mode::kUpsert, name_space);
    if (!stored) return stored.status();
    deliver(*resource);
  }
  notifier_.notify();
  return {};
}

Status Core::remove(const std::string& path, const std::string& name_space,
                    const std::string& name) {
  {
    MutexLock lock(mutex_);
    Resource* resource = store_.find(path);
    if (resource == nullptr) {
      return Status::error(StatusCode::kNotFound, "remove from", path, "no such type is served");
    }
    const auto removed = store_.remove(*resource, name_space + "/" + name);
    if (!removed) return removed.status();
    deliver(*resource);
  }
  notifier_.notify();
  return {};
}

Result<std::string> Core::get(const std::string& path, const std::string& name_space,
                              const std::string& name) {
  MutexLock lock(mutex_);
  const Resource* resource = store_.find(path);
  const ObjectPointer object = resource ? resource->find(name_space + "/" + name) : nullptr;
  if (!object) {
    return Status::error(StatusCode::kNotFound, "get", path + " " + name_space + "/" + name,
                         "it does not exist");
  }
  return object->json;
}

size_t Core::size(const std::string& path) {
  MutexLock lock(mutex_);
  const Resource* resource = store_.find(path);
  return resource ? resource->size() : 0;
}

uint64_t Core::version() {
  MutexLock lock(mutex_);
  return store_.version();
}

void Core::compact() {
  MutexLock lock(mutex_);
  for (const std::shared_ptr<Watch>& watch : watches_) advance(*watch);
  store_.compact();
}

void Core::inject(Fault fault) {
  MutexLock lock(mutex_);
  faults_.push_back(std::move(fault));
}

void Core::clear_faults() {
  std::vector<Stalled> stalled;
  {
    MutexLock lock(mutex_);
    faults_.clear();
    stalled.swap(stalled_);
  }
  for (Stalled& each : stalled) answer(each.request, std::move(each.responder));
  notifier_.notify();
}

Counters Core::counters() {
  MutexLock lock(mutex_);
  Counters counters = counters_;
  counters.connections = peers_.size();
  counters.open_watches = watches_.size();
  return counters;
}

std::vector<RecordedRequest> Core::recorded(const std::string& path) {
  MutexLock lock(mutex_);
  std::vector<RecordedRequest> found;
  for (const RecordedRequest& each : recorded_) {
    if (each.path.starts_with(path)) found.push_back(each);
  }
  return found;
}

}  // namespace fairlead::api_server
