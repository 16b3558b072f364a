#include <fmt/format.h>

#include <chrono>

#include "control/apiserver/registry_impl.h"
#include "control/apiserver/write_steps.h"
#include "control/schema/json_text.h"
#include "control/schema/managed_fields.h"
#include "control/schema/patch.h"
#include "control/schema/validate.h"

namespace fairlead::apiserver {

namespace {

using schema::Document;
using schema::Resource;
using schema::Value;

constexpr int kMostAttempts = 100;  // against others that write the same object
constexpr int kMostNames = 8;       // that generateName may find taken
constexpr std::chrono::seconds kEventTtl{3600};
constexpr std::chrono::seconds kLeaseShare{60};  // events of this time share a lease

Written written(ObjectPtr object, bool created, WriteRequest& request) {
  Written result;
  result.object = std::move(object);
  result.created = created;
  result.warnings = std::move(request.warnings);
  return result;
}

}  // namespace

StoreCall<Result<store::WriteOutcome>> RegistryImpl::put(std::string key, std::string value,
                                                         store::Expect expect,
                                                         store::LeaseId lease) {
  return StoreCall<Result<store::WriteOutcome>>(
      pool_, [this, key = std::move(key), value = std::move(value), expect, lease](auto done) {
        // What is not UTF-8 could be written and never be read again.
        if (!schema::is_utf8(value)) {
          return done(Status::error(StatusCode::kInvalid, "write", key, "it is not UTF-8"));
        }
        store_.put(key, value, expect, lease, done);
      });
}

RegistryImpl::Answer<Done0> RegistryImpl::admit(Write& write) {
  for (const std::unique_ptr<Admission>& each : hooks_.admission) {
    Admission* admission = each.get();
    StoreCall<Outcome<Done0>> call(
        pool_, [admission, &write](auto done) { admission->admit(write, std::move(done)); });
    Outcome<Done0> verdict = co_await call;
    if (!verdict) co_return verdict.error();
  }
  co_return Done0();
}

RegistryImpl::Answer<std::vector<std::unique_ptr<Reservation>>> RegistryImpl::reserve(
    Write& write) {
  std::vector<std::unique_ptr<Reservation>> made;
  for (const std::unique_ptr<Reserver>& each : hooks_.reservers) {
    Reserver* reserver = each.get();
    if (!reserver->concerns(*write.resource)) continue;
    StoreCall<Outcome<std::unique_ptr<Reservation>>> call(
        pool_, [reserver, &write](auto done) { reserver->reserve(write, std::move(done)); });
    Outcome<std::unique_ptr<Reservation>> reservation = co_await call;
    if (!reservation) {
      co_await settle(made, false);
      co_return reservation.error();
    }
    if (*reservation != nullptr) made.push_back(std::move(*reservation));
  }
  co_return made;
}

Task<Done0> RegistryImpl::settle(std::vector<std::unique_ptr<Reservation>>& made, bool happened) {
  for (const std::unique_ptr<Reservation>& each : made) {
    Reservation* reservation = each.get();
    StoreCall<Done0> call(pool_, [reservation, happened](auto done) {
      reservation->settle(happened, [done] { done(Done0()); });
    });
    co_await call;
  }
  co_return Done0();
}

Task<Result<store::LeaseId>> RegistryImpl::lease_for(const WriteRequest& request) {
  if (!request.strategy->is(kExpires)) co_return store::LeaseId{0};
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (event_lease_ != 0 && now < event_lease_until_) co_return event_lease_;
  }
  StoreCall<Result<store::Lease>> call(
      pool_, [this](auto done) { store_.grant_lease(kEventTtl + kLeaseShare, std::move(done)); });
  Result<store::Lease> lease = co_await call;
  if (!lease) co_return lease.status();
  const std::lock_guard lock(mutex_);
  event_lease_ = lease->id;
  event_lease_until_ = now + kLeaseShare;
  co_return lease->id;
}

void RegistryImpl::forget_lease(store::LeaseId lease) {
  const std::lock_guard lock(mutex_);
  if (event_lease_ == lease) event_lease_ = 0;
}

Task<Attempt> RegistryImpl::commit(WriteRequest& request, Document& next, const Value* old,
                                   store::EntryPtr current) {
  const Resource& storage = *request.storage;
  Attempt attempt;
  Write write;
  write.operation = old ? Operation::kUpdate : Operation::kCreate;
  write.resource = &storage;
  write.subresource = request.subresource;
  write.space = request.target.space;
  write.name = request.target.name;
  write.user = &request.context.user;
  write.dry_run = request.context.dry_run;
  write.next = &next;
  write.previous = old;
  write.warnings = &request.warnings;
  Outcome<Done0> admitted = co_await admit(write);
  if (!admitted) {
    attempt.answer = admitted.error();
    co_return attempt;
  }

  const int64_t now = clock_();
  Outcome<Done0> prepared =
      old ? prepare_update(request, next, *old) : prepare_create(request, next, now);
  if (prepared) prepared = track_and_check(request, next, old, now);
  if (!prepared) {
    attempt.answer = prepared.error();
    co_return attempt;
  }
  if (old != nullptr && is_finished(next.root, *old) && !request.context.dry_run) {
    attempt = co_await erase_object(request, *old, current);
    if (attempt.answer && attempt.answer->ok()) {
      attempt.answer = written(presented(request, next, 0), false, request);
    }
    co_return attempt;
  }

  std::string text = encode_stored(next.root, storage);
  if (current != nullptr && text == current->value) {
    // Nothing changed: nothing is written, as in Kubernetes.
    attempt.answer = written(presented(request, next, current->mod_revision), false, request);
    co_return attempt;
  }
  auto reserved = co_await reserve(write);
  if (!reserved) {
    attempt.answer = reserved.error();
    co_return attempt;
  }
  if (!reserved->empty() || request.context.dry_run) text = encode_stored(next.root, storage);
  if (request.context.dry_run) {
    co_await settle(*reserved, false);
    const store::Revision revision = current ? current->mod_revision : 0;
    attempt.answer = written(presented(request, next, revision), !old, request);
    co_return attempt;
  }
  Result<store::LeaseId> lease = co_await lease_for(request);
  if (!lease) {
    co_await settle(*reserved, false);
    attempt.answer = from_status(lease.status());
    co_return attempt;
  }
  const store::Expect expect =
      current ? store::Expect::at(current->mod_revision) : store::Expect::absent();
  Result<store::WriteOutcome> outcome = co_await put(request.key, text, expect, *lease);
  if (*lease != 0 && outcome.status().code() == StatusCode::kNotFound) {
    // Somebody has revoked it, or the store was restored: another one does as well.
    forget_lease(*lease);
    Result<store::LeaseId> other = co_await lease_for(request);
    if (other) outcome = co_await put(request.key, text, expect, *other);
  }
  const bool happened = outcome.ok() && outcome->applied;
  // What was reserved for a write that may have happened is kept, for the repair.
  const bool unknown = !outcome && store::may_have_happened(outcome.status());
  if (!unknown) co_await settle(*reserved, happened);
  if (!outcome) {
    attempt.answer = from_status(outcome.status());
  } else if (!happened) {
    attempt.current = outcome->previous;
  } else {
    ObjectPtr object;
    if (request.subresource == "scale") {
      object = presented(request, next, outcome->revision);
    } else {
      object = stored_object(outcome->entry, outcome->revision, *request.target.resource);
    }
    attempt.answer = written(std::move(object), !old, request);
  }
  co_return attempt;
}

RegistryImpl::Answer<Written> RegistryImpl::create_object(WriteRequest& request, Document body) {
  const bool generates = request.target.name.empty();
  const std::string prefix(body.root.at("metadata.generateName").as_string());
  if (generates && prefix.empty()) {
    co_return invalid(*request.target.resource, "",
                      {{schema::FieldError::Type::kRequired, "metadata.name",
                        "Required value: name or generateName is required"}});
  }
  for (int attempt = 1;; ++attempt) {
    Document next = body.clone();
    if (generates) {
      // The longest base that leaves room for the suffix in a name of 63 characters.
      request.target.name = prefix.substr(0, 58) + name_suffix();
      next.root.ensure(next.arena, "metadata")
          .set(next.arena, "name", Value::string(next.arena.copy(request.target.name)));
    }
    request.key = object_key(*request.storage, request.target.space, request.target.name);
    if (request.context.dry_run) {
      Outcome<store::EntryPtr> there = co_await load(request.key);
      if (!there) co_return there.error();
      if (*there) co_return already_exists(*request.target.resource, request.target.name);
    }
    Attempt tried = co_await commit(request, next, nullptr, nullptr);
    if (tried.answer) co_return std::move(*tried.answer);
    if (!generates || attempt == kMostNames) {
      co_return already_exists(*request.target.resource, request.target.name);
    }
  }
}

RegistryImpl::Answer<Written> RegistryImpl::do_create(Target target, Document body,
                                                      WriteContext context) {
  if (std::optional<ApiError> error = unserved(target)) co_return std::move(*error);
  WriteRequest request(std::move(target), std::move(context));
  const Resource& resource = *request.target.resource;
  if (request.subresource == "eviction") co_return co_await evict(request, std::move(body));
  if (request.subresource == "binding" || resource.type_name == "core.v1.Binding") {
    co_return co_await bind(request, std::move(body));
  }
  if (!request.subresource.empty()) co_return method_not_allowed(resource, "create");
  if ((resource.verbs & schema::kCreate) == 0 || (resource.verbs & schema::kGet) == 0) {
    co_return method_not_allowed(resource, "create");
  }
  Outcome<Done0> taken = take_body(body, resource, *resource.type(), resource.api_version(),
                                   resource.kind, schema::Conform::kObject, request);
  if (taken) taken = check_names(body, request);
  if (!taken) co_return taken.error();
  if (!body.root.at("metadata.resourceVersion").as_string().empty()) {
    co_return bad_request("resourceVersion should not be set on objects to be created");
  }
  request.target.name = body.root.at("metadata.name").as_string();
  convert(body, resource, *request.storage);
  co_return co_await create_object(request, std::move(body));
}

RegistryImpl::Answer<Written> RegistryImpl::do_update(Target target, Document body,
                                                      WriteContext context) {
  if (std::optional<ApiError> error = unserved(target)) co_return std::move(*error);
  WriteRequest request(std::move(target), std::move(context));
  request.conditional = true;
  const Resource& resource = *request.target.resource;
  const bool scale = request.subresource == "scale";
  if (request.target.subresource && (request.target.subresource->verbs & schema::kUpdate) == 0) {
    co_return method_not_allowed(resource, "update");
  }
  const schema::Type& type =
      scale ? *schema::find_type(request.target.subresource->type_name) : *resource.type();
  Outcome<Done0> taken =
      take_body(body, resource, type, scale ? "autoscaling/v1" : resource.api_version(),
                scale ? "Scale" : resource.kind, schema::Conform::kObject, request);
  if (taken) taken = check_names(body, request);
  if (!taken) co_return taken.error();
  if (!scale) convert(body, resource, *request.storage);

  Outcome<store::EntryPtr> loaded = co_await load(request.key);
  if (!loaded) co_return loaded.error();
  store::EntryPtr current = *loaded;
  for (int attempt = 1; attempt <= kMostAttempts; ++attempt) {
    Attempt tried;
    if (current == nullptr) {
      const bool may_create = request.strategy->is(kCreateOnUpdate) &&
                              request.subresource.empty() &&
                              body.root.at("metadata.resourceVersion").as_string().empty() &&
                              body.root.at("metadata.uid").as_string().empty();
      if (!may_create) co_return request.not_found();
      Document next = body.clone();
      tried = co_await commit(request, next, nullptr, nullptr);
    } else {
      const Document old = decode_stored(*current, current->mod_revision, *request.storage);
      Document next = body.clone();
      fit_into(request, next, old.root);
      tried = co_await commit(request, next, &old.root, current);
    }
    if (tried.answer) co_return std::move(*tried.answer);
    current = std::move(tried.current);
  }
  co_return request.modified();
}

RegistryImpl::Answer<Written> RegistryImpl::do_patch(Target target, PatchType type, Document body,
                                                     bool force, WriteContext context) {
  if (std::optional<ApiError> error = unserved(target)) co_return std::move(*error);
  WriteRequest request(std::move(target), std::move(context));
  const Resource& resource = *request.target.resource;
  if (request.target.subresource && (request.target.subresource->verbs & schema::kPatch) == 0) {
    co_return method_not_allowed(resource, "patch");
  }
  Outcome<Done0> taken = take_patch(request, type, body);
  if (!taken) co_return taken.error();
  Outcome<store::EntryPtr> loaded = co_await load(request.key);
  if (!loaded) co_return loaded.error();
  store::EntryPtr current = *loaded;
  for (int attempt = 1; attempt <= kMostAttempts; ++attempt) {
    if (current == nullptr && (type != PatchType::kApply || !request.subresource.empty())) {
      co_return request.not_found();
    }
    Document old;
    if (current) old = decode_stored(*current, current->mod_revision, *request.storage);
    Outcome<Document> next =
        patched(request, type, body, force, current ? &old.root : nullptr, clock_());
    if (!next) co_return next.error();
    Attempt tried = co_await commit(request, *next, current ? &old.root : nullptr, current);
    if (tried.answer) co_return std::move(*tried.answer);
    current = std::move(tried.current);
  }
  co_return request.modified();
}

}  // namespace fairlead::apiserver
