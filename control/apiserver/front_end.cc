#include "control/apiserver/front_end.h"

#include <thread>

#include "control/apiserver/call.h"

namespace fairlead::apiserver {

net::HttpResponse refuse_unread(int status, std::string_view reason) {
  ApiError error;
  error.code = status;
  error.reason = status == 413 ? "RequestEntityTooLarge" : status == 400 ? "BadRequest" : "";
  error.message = reason;
  net::HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  response.body = encode_error(error, Encoding::kJson);
  return response;
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
  constexpr std::chrono::seconds kPatience{5};
  drain(kPatience);
}

void FrontEnd::handle(const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
  RequestInfo info = parse_request_info(request.method, request.path, request.query);
  if (is_health_path(request.path)) {
    auto page = health_page(options_.checks, request.path, request.query);
    return responder->respond(page ? std::move(*page)
                                   : net::HttpResponse{404, "text/plain", {}, "no such check\n"});
  }
  auto call = std::make_shared<Call>(*this, request, std::move(info), std::move(responder));
  const bool watch = call->is_watch();
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

bool FrontEnd::drain(std::chrono::milliseconds patience) {
  begin_shutdown();
  watches_.stop();
  constexpr std::chrono::milliseconds kStep{5};
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (reads_ + writes_ + watches_.open() > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kStep);
  }
  return true;
}

}  // namespace fairlead::apiserver
