// The verbs of Call: options and bodies in, the registry's answer out.
#include "control/apiserver/body.h"
#include "control/apiserver/call.h"
#include "control/apiserver/query_options.h"
#include "control/apiserver/reviews.h"
#include "control/net/text.h"

namespace fairlead::apiserver {

void Call::get() {
  front_.registry_.get(target_, net::query_value(request_.query, "resourceVersion"),
                       [self = shared_from_this()](Outcome<ObjectPtr> object) {
                         constexpr int kOk = 200;
                         if (!object) return self->refuse(object.error());
                         self->answer(**object, kOk, {});
                       });
}

void Call::list() {
  auto options = parse_list_query(request_.query, *target_.resource, info_.name);
  if (!options) return refuse(options.error());
  front_.registry_.list(target_, std::move(*options),
                        [self = shared_from_this()](Outcome<ListAnswer> answer) {
                          self->answer_list(std::move(answer));
                        });
}

void Call::watch() {
  auto query = parse_watch_query(request_.query, *target_.resource, info_.name);
  if (!query) return refuse(query.error());
  Target target = target_;
  target.name.clear();  // a field of the selector by now
  if (rendering_.form.shape == Shape::kPartialList) rendering_.form.shape = Shape::kPartial;
  front_.watches_.serve(front_.registry_, std::move(target), std::move(*query), rendering_,
                        std::move(responder_),
                        [self = shared_from_this()](int status) { self->count(status); });
}

void Call::create() {
  auto body = decode_body(request_.body, header("content-type"), target_);
  if (!body) return refuse(body.error());
  auto context = write_context();
  if (!context) return refuse(context.error());
  if (is_review(*target_.resource)) return review(std::move(*body));
  front_.registry_.create(target_, std::move(*body), std::move(*context),
                          [self = shared_from_this()](Outcome<Written> written) {
                            self->answer_written(std::move(written));
                          });
}

void Call::review(schema::Document body) {
  constexpr int kCreated = 201;
  auto object =
      answer_review(target_, std::move(body), user_, front_.authentication_, front_.authorizer_);
  if (!object) return refuse(object.error());
  answer(**object, kCreated, {});
}

void Call::update() {
  auto body = decode_body(request_.body, header("content-type"), target_);
  if (!body) return refuse(body.error());
  auto context = write_context();
  if (!context) return refuse(context.error());
  front_.registry_.update(target_, std::move(*body), std::move(*context),
                          [self = shared_from_this()](Outcome<Written> written) {
                            self->answer_written(std::move(written));
                          });
}

void Call::patch() {
  const auto type = patch_type(header("content-type"));
  if (!type) {
    return refuse(unsupported_media_type(
        {"application/json-patch+json", "application/merge-patch+json",
         "application/strategic-merge-patch+json", "application/apply-patch+yaml"}));
  }
  auto body = decode_patch(request_.body, *type);
  if (!body) return refuse(body.error());
  auto context = write_context();
  if (!context) return refuse(context.error());
  const bool apply = *type == PatchType::kApply;
  const bool force = query_flag(request_.query, "force");
  if (apply && net::query_value(request_.query, "fieldManager").empty()) {
    return refuse(
        bad_request("PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required "
                    "value: is required for apply patch"));
  }
  if (!apply && force) {
    return refuse(
        bad_request("PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not "
                    "be specified for non-apply patch"));
  }
  front_.registry_.patch(target_, *type, std::move(*body), force, std::move(*context),
                         [self = shared_from_this()](Outcome<Written> written) {
                           self->answer_written(std::move(written));
                         });
}

void Call::remove() {
  auto body = decode_delete_options(request_.body, header("content-type"));
  if (!body) return refuse(body.error());
  auto context = write_context();
  if (!context) return refuse(context.error());
  auto options = parse_delete_options(request_.query, body->root.is_null() ? nullptr : &body->root,
                                      &context->dry_run);
  if (!options) return refuse(options.error());
  front_.registry_.remove(target_, std::move(*options), std::move(*context),
                          [self = shared_from_this()](Outcome<Written> written) {
                            self->answer_written(std::move(written));
                          });
}

void Call::remove_collection() {
  auto which = parse_list_query(request_.query, *target_.resource, "");
  if (!which) return refuse(which.error());
  auto body = decode_delete_options(request_.body, header("content-type"));
  if (!body) return refuse(body.error());
  auto context = write_context();
  if (!context) return refuse(context.error());
  auto options = parse_delete_options(request_.query, body->root.is_null() ? nullptr : &body->root,
                                      &context->dry_run);
  if (!options) return refuse(options.error());
  front_.registry_.remove_collection(target_, std::move(*which), std::move(*options),
                                     std::move(*context),
                                     [self = shared_from_this()](Outcome<ListAnswer> answer) {
                                       self->answer_list(std::move(answer));
                                     });
}

}  // namespace fairlead::apiserver
