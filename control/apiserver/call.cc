#include "control/apiserver/call.h"

#include <fmt/core.h>

#include <array>

#include "control/apiserver/body.h"
#include "control/apiserver/query_options.h"
#include "control/apiserver/reviews.h"
#include "control/net/gzip.h"
#include "control/net/text.h"

namespace fairlead::apiserver {
namespace {

uint16_t verb_bit(std::string_view verb) {
  constexpr std::array<std::string_view, 8> kVerbs = {
      "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"};
  for (size_t i = 0; i < kVerbs.size(); ++i) {
    if (kVerbs[i] == verb) return static_cast<uint16_t>(1u << i);
  }
  return 0;
}

// RFC 7234 section 5.5, as k8s.io/apimachinery writes it.
std::string warning_header(std::string_view text) {
  std::string value = "299 - \"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) continue;
    if (c == '"' || c == '\\') value += '\\';
    value += c;
  }
  return value += '"';
}

ApiError wrong_method() {
  return plain_error(405, "MethodNotAllowed",
                     "the server does not allow this method on the requested resource");
}

ApiError forbidden_path(const auth::User& user, const RequestInfo& info, std::string_view path) {
  return plain_error(
      403, "Forbidden",
      fmt::format("forbidden: User \"{}\" cannot {} path \"{}\"", user.name, info.verb, path));
}

}  // namespace

Call::Call(FrontEnd& front, net::HttpRequest request, RequestInfo info,
           std::unique_ptr<net::Responder> responder)
    : front_(front),
      request_(std::move(request)),
      info_(std::move(info)),
      responder_(std::move(responder)) {
  rendering_.now = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  ++front_.calls_;
  responder_->hold(front_.count_unsent());
}

Call::~Call() {
  responder_.reset();
  if (holds_place_) front_.give_place(mutating());
  --front_.calls_;  // the last use of the front end
}

bool Call::mutating() const {
  return request_.method != "GET" && request_.method != "HEAD";
}

std::string_view Call::header(std::string_view name) const {
  const std::string* value = request_.header(name);
  return value == nullptr ? std::string_view() : std::string_view(*value);
}

void Call::count(int status) {
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun_;
  const bool known = target_.resource != nullptr;
  const bool apply =
      info_.verb == "patch" && patch_type(header("content-type")) == PatchType::kApply;
  front_.metrics_.count(!known  ? "get"
                        : apply ? "apply"
                                : info_.verb,
                        known ? info_.group : "", known ? info_.resource : "", status,
                        took.count());
}

void Call::respond(net::HttpResponse response) {
  count(response.status);
  const bool known = target_.resource != nullptr;
  if (known) response.headers.emplace_back("cache-control", "no-cache, private");
  responder_->respond(std::move(response));
}

void Call::refuse(const ApiError& error) {
  // Refused before its form was settled, it still gets what it asked for: a Status has protobuf.
  const auto asked = negotiate(header("accept"), true, false);
  const bool protobuf = asked && asked->encoding == Encoding::kProtobuf;
  respond(error_response(error, protobuf ? Encoding::kProtobuf : Encoding::kJson));
}

void Call::refuse_crowded() {
  front_.metrics_.count_refused();
  refuse(too_many_requests("too many answers wait for clients that do not read them", 1));
}

void Call::run() {
  if (request_.method == "GET" && request_.path == "/version") return run_page();
  if (!admit_user()) return;
  if (info_.is_resource) {
    run_resource();
  } else {
    run_page();
  }
}

bool Call::admit_user() {
  for (const auto& [name, value] : request_.headers) {
    if (!name.starts_with("impersonate-")) continue;
    refuse(plain_error(403, "Forbidden", "impersonation is not supported by this server"));
    return false;
  }
  if (front_.options_.everybody) {
    user_ = *front_.options_.everybody;
  } else {
    auto user = front_.authentication_.authenticate(request_);
    if (!user) {
      refuse(unauthorized());
      return false;
    }
    user_ = std::move(*user);
  }
  auth::Attributes attributes;
  attributes.verb = info_.verb;
  attributes.group = info_.group;
  attributes.version = info_.version;
  attributes.resource = info_.resource;
  attributes.subresource = info_.subresource;
  attributes.space = info_.space;
  attributes.name = info_.name;
  if (!info_.is_resource) attributes.path = request_.path;
  const auth::Verdict verdict = front_.authorizer_.authorize(user_, attributes);
  if (verdict.allowed()) return true;
  const schema::Resource* resource =
      schema::find_resource(info_.group, info_.version, info_.resource);
  if (resource == nullptr) {
    refuse(forbidden_path(user_, info_, request_.path));
  } else {
    refuse(forbidden(*resource, info_.name,
                     fmt::format("User \"{}\" cannot {} resource \"{}\" in API group \"{}\"",
                                 user_.name, info_.verb, info_.resource, info_.group)));
  }
  return false;
}

void Call::run_page() {
  if (request_.method != "GET" && request_.method != "HEAD") return refuse(no_such_path());
  if (request_.path == "/metrics") {
    front_.metrics_.set_in_flight(false, front_.reads_);
    front_.metrics_.set_in_flight(true, front_.writes_);
    front_.metrics_.set_watches(front_.watches_.open());
    std::string text = front_.metrics_.page();
    for (const auto& append : front_.options_.metrics) append(text);
    return respond({200, "text/plain; version=0.0.4; charset=utf-8", {}, std::move(text)});
  }
  auto page = front_.pages_.get(request_);
  if (!page) return refuse(no_such_path());
  respond(std::move(*page));
}

bool Call::find_target() {
  target_.space = info_.space;
  target_.name = info_.name;
  const schema::Resource* resource =
      schema::find_resource(info_.group, info_.version, info_.resource);
  if (resource == nullptr) {
    refuse(no_such_path());
    return false;
  }
  uint16_t verbs = resource->verbs;
  if (!info_.subresource.empty()) {
    target_.subresource = schema::find_subresource(*resource, info_.subresource);
    if (target_.subresource == nullptr) {
      refuse(no_such_path());
      return false;
    }
    if (!target_.subresource->served) {
      refuse(not_served(*resource, *target_.subresource));
      return false;
    }
    verbs = target_.subresource->verbs;
  }
  const uint16_t bit = verb_bit(info_.verb);
  const bool many = bit == schema::kList || bit == schema::kWatch;
  const bool misplaced = resource->namespaced ? info_.space.empty() && !many : !info_.space.empty();
  if (misplaced && !resource->namespaced) {
    refuse(no_such_path());
    return false;
  }
  target_.resource = resource;
  const bool named_creation =
      bit == schema::kCreate && !info_.name.empty() && target_.subresource == nullptr;
  const bool nameless = info_.name.empty() && (bit == schema::kUpdate || bit == schema::kPatch);
  if ((verbs & bit) == 0 || misplaced || named_creation || nameless) {
    refuse(wrong_method());
    return false;
  }
  return true;
}

bool Call::negotiate_form() {
  auto form =
      negotiate(header("accept"), target_.resource->type() != nullptr, info_.verb == "watch");
  if (!form) {
    refuse(not_acceptable(
        {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}));
    return false;
  }
  rendering_.form = std::move(*form);
  auto include = schema::parse_include_object(net::query_value(request_.query, "includeObject"));
  if (!include) {
    refuse(bad_request(include.status().detail()));
    return false;
  }
  rendering_.include = *include;
  return true;
}

void Call::run_resource() {
  if (!mutating() && !is_watch() && responder_->crowded()) return refuse_crowded();
  if (find_target() && negotiate_form()) run_verb();
}

void Call::run_verb() {
  using Step = void (Call::*)();
  struct Row {
    std::string_view verb;
    Step step;
  };
  static constexpr Row kRows[] = {
      {"get", &Call::get},       {"list", &Call::list},
      {"watch", &Call::watch},   {"create", &Call::create},
      {"update", &Call::update}, {"patch", &Call::patch},
      {"delete", &Call::remove}, {"deletecollection", &Call::remove_collection},
  };
  for (const Row& row : kRows) {
    if (row.verb == info_.verb) return (this->*row.step)();
  }
  refuse(wrong_method());
}

void Call::answer(const Object& object, int status, const std::vector<std::string>& warnings) {
  Rendering rendering = rendering_;
  if (object.resource() == nullptr) rendering.form.shape = Shape::kObject;
  const bool protobuf = rendering.form.encoding == Encoding::kProtobuf;
  if (protobuf && !has_protobuf(object)) rendering.form.encoding = Encoding::kJson;
  net::HttpResponse response;
  response.status = status;
  response.content_type = rendering.form.content_type(false);
  response.body = encode_object(object, rendering);
  for (const std::string& warning : warnings) {
    response.headers.emplace_back("warning", warning_header(warning));
  }
  respond(std::move(response));
}

void Call::answer_written(Outcome<Written> outcome) {
  if (!outcome) return refuse(outcome.error());
  constexpr int kOk = 200;
  constexpr int kCreated = 201;
  constexpr int kAccepted = 202;
  const Written& written = *outcome;
  answer(*written.object,
         written.created    ? kCreated
         : written.accepted ? kAccepted
                            : kOk,
         written.warnings);
}

void Call::answer_list(Outcome<ListAnswer> outcome) {
  if (!outcome) return refuse(outcome.error());
  if (responder_->crowded()) return refuse_crowded();
  // Whoever takes gzip gets it of the whole.
  if (comes_in_pieces(*outcome, rendering_) && !net::accepts_gzip(header("accept-encoding"))) {
    return stream_list(*outcome);
  }
  net::HttpResponse response;
  if (rendering_.form.shape == Shape::kPartial) rendering_.form.shape = Shape::kPartialList;
  response.content_type = rendering_.form.content_type(false);
  response.body = encode_list(*target_.resource, *outcome, rendering_);
  respond(std::move(response));
}

void Call::stream_list(const ListAnswer& list) {
  net::HttpResponse head;
  head.content_type = rendering_.form.content_type(false);
  head.headers.emplace_back("cache-control", "no-cache, private");
  const std::shared_ptr<net::Stream> stream = responder_->start_stream(std::move(head), nullptr);
  encode_list_in_pieces(*target_.resource, list, rendering_, [&stream](std::string piece) {
    stream->write(std::move(piece));
    return stream->open();
  });
  stream->finish();
  count(head.status);
}

Outcome<WriteContext> Call::write_context() {
  return parse_write_query(request_.query, header("user-agent"), user_);
}

}  // namespace fairlead::apiserver
