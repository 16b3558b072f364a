#include "control/apiserver/front_end.h"

#include <thread>

#include "control/apiserver/call.h"

namespace fairlead::apiserver {
namespace {

constexpr std::chrono::milliseconds kStep{5};

ApiError shutting_down() {
  ApiError error = plain_error(503, "ServiceUnavailable", "the server is shutting down");
  error.retry_after_seconds = 1;
  return error;
}

// Whether a request may have been made by a page in a browser of this machine: it comes from
// another origin, or under a name that somebody else lets point here.
bool is_from_elsewhere(const net::HttpRequest& request) {
  if (request.header("origin") != nullptr) return true;
  const std::string* header = request.header("host");
  if (header == nullptr) return false;
  std::string_view host = *header;
  if (host.starts_with('[')) {
    host = host.substr(0, host.find(']') + 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  const bool digits = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return host != "localhost" && host != "[::1]" && !(digits && host.starts_with("127."));
}

ApiError from_elsewhere() {
  return plain_error(403, "Forbidden",
                     "this port is for programs on this machine: no Origin, and a loopback Host");
}

}  // namespace

net::HttpResponse refuse_unread(int status, std::string_view reason) {
  const std::string_view known = status == 413   ? "RequestEntityTooLarge"
                                 : status == 400 ? "BadRequest"
                                                 : "";
  return error_response(plain_error(status, known, std::string(reason)), Encoding::kJson);
}

FrontEnd::FrontEnd(FrontEndOptions options, Registry& registry,
                   const auth::Authentication& authentication, const auth::Authorizer& authorizer,
                   Post post)
    : options_(std::move(options)),
      registry_(registry),
      authentication_(authentication),
      authorizer_(authorizer),
      post_(std::move(post)),
      pages_(options_.address, options_.version),
      watches_(post_) {
  options_.checks.push_back({"ping", [] { return Status(); }, true});
  options_.checks.push_back({"shutdown",
                             [this] {
                               return stopping_ ? Status::error(StatusCode::kUnavailable, "serve",
                                                                "requests", "shutting down")
                                                : Status();
                             },
                             false});
}

FrontEnd::~FrontEnd() {
  drain(std::chrono::milliseconds(0));
  while (!idle()) std::this_thread::sleep_for(kStep);
}

void FrontEnd::handle(const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
  RequestInfo info = parse_request_info(request.method, request.path, request.query);
  if (is_health_path(request.path)) {
    auto page = health_page(options_.checks, request.path, request.query);
    return responder->respond(page ? std::move(*page)
                                   : net::HttpResponse{404, "text/plain", {}, "no such check\n"});
  }
  auto call = std::make_shared<Call>(*this, request, std::move(info), std::move(responder));
  if (options_.everybody && is_from_elsewhere(request)) return call->refuse(from_elsewhere());
  const bool watch = call->is_watch();
  if (watch && draining_) return call->refuse(shutting_down());
  const bool room = watch ? watches_.open() < options_.max_watches : take_place(call->mutating());
  if (!room) {
    metrics_.count_refused();
    return call->refuse(too_many_requests("too many requests, please try again later", 1));
  }
  if (!watch) call->hold_place();
  post_([call] { call->run(); });
}

bool FrontEnd::take_place(bool mutating) {
  std::atomic<size_t>& taken = mutating ? writes_ : reads_;
  const size_t limit = mutating ? options_.max_writes : options_.max_reads;
  if (taken.fetch_add(1) < limit) return true;
  taken.fetch_sub(1);
  return false;
}

void FrontEnd::give_place(bool mutating) {
  (mutating ? writes_ : reads_).fetch_sub(1);
}

std::shared_ptr<const void> FrontEnd::count_unsent() {
  unsent_->fetch_add(1);
  return {unsent_.get(), [unsent = unsent_](std::atomic<size_t>* all) { all->fetch_sub(1); }};
}

bool FrontEnd::drain(std::chrono::milliseconds patience) {
  begin_shutdown();
  draining_ = true;
  watches_.stop();
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!idle() || *unsent_ > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kStep);
  }
  return true;
}

}  // namespace fairlead::apiserver
