#include <chrono>

#include "control/apiserver/registry_impl.h"

namespace fairlead::apiserver {

WriteRequest::WriteRequest(Target target_of, WriteContext context_of)
    : target(std::move(target_of)), context(std::move(context_of)) {
  storage = &storage_of(*target.resource);
  strategy = &strategy_of(*storage);
  if (target.subresource) subresource = target.subresource->name;
  key = object_key(*storage, target.space, target.name);
}

ApiError WriteRequest::modified() const {
  return conflict(*target.resource, target.name,
                  "the object has been modified; please apply your changes to the latest version "
                  "and try again");
}

RegistryImpl::~RegistryImpl() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return running_ == 0; });
}

void RegistryImpl::begin() {
  const std::lock_guard lock(mutex_);
  ++running_;
}

void RegistryImpl::end() {
  const std::lock_guard lock(mutex_);
  if (--running_ == 0) idle_.notify_all();
}

void RegistryImpl::get(Target target, std::string resource_version, Done<ObjectPtr> done) {
  launch(do_get(std::move(target), std::move(resource_version)), std::move(done));
}

void RegistryImpl::list(Target target, ListOptions options, Done<ListAnswer> done) {
  launch(do_list(std::move(target), std::move(options)), std::move(done));
}

void RegistryImpl::watch(Target target, WatchOptions options, std::function<void()> ready,
                         Done<std::unique_ptr<ObjectWatch>> done) {
  launch(do_watch(std::move(target), std::move(options), std::move(ready)), std::move(done));
}

void RegistryImpl::create(Target target, schema::Document body, WriteContext context,
                          Done<Written> done) {
  launch(do_create(std::move(target), std::move(body), std::move(context)), std::move(done));
}

void RegistryImpl::update(Target target, schema::Document body, WriteContext context,
                          Done<Written> done) {
  launch(do_update(std::move(target), std::move(body), std::move(context)), std::move(done));
}

void RegistryImpl::patch(Target target, PatchType type, schema::Document body, bool force,
                         WriteContext context, Done<Written> done) {
  launch(do_patch(std::move(target), type, std::move(body), force, std::move(context)),
         std::move(done));
}

void RegistryImpl::remove(Target target, DeleteOptions options, WriteContext context,
                          Done<Written> done) {
  launch(do_remove(std::move(target), std::move(options), std::move(context)), std::move(done));
}

void RegistryImpl::remove_collection(Target target, ListOptions which, DeleteOptions options,
                                     WriteContext context, Done<ListAnswer> done) {
  launch(do_remove_collection(std::move(target), std::move(which), std::move(options),
                              std::move(context)),
         std::move(done));
}

int64_t system_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::unique_ptr<Registry> open_registry(store::Store& store, WorkerPool& pool, Hooks hooks,
                                        SecondsClock clock) {
  return std::make_unique<RegistryImpl>(store, pool, std::move(hooks), std::move(clock));
}

}  // namespace fairlead::apiserver
