#include "fake_registry.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "control/schema/json_text.h"

namespace fairlead::apiserver {
namespace {

std::string key_of(const Target& target) {
  return std::string(target.resource->plural) + "/" + target.space + "/" + target.name;
}

}  // namespace

class FakeRegistry::FakeWatch : public ObjectWatch {
 public:
  FakeWatch(FakeRegistry& registry, std::function<void()> ready)
      : ready_(std::move(ready)), registry_(registry) {}
  ~FakeWatch() override {
    const std::lock_guard lock(registry_.mutex_);
    std::erase(registry_.watches_, this);
  }
  Outcome<std::vector<WatchEvent>> take(size_t limit) override {
    const std::lock_guard lock(registry_.mutex_);
    if (registry_.expired_) return expired("too old resource version");
    std::vector<WatchEvent> events;
    while (next_ < registry_.history_.size() && events.size() < limit) {
      events.push_back(registry_.history_[next_++]);
    }
    return events;
  }
  store::Revision position() const override { return static_cast<store::Revision>(next_); }

  std::function<void()> ready_;

 private:
  FakeRegistry& registry_;
  size_t next_ = 0;
};

void FakeRegistry::complete(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (hold_) return held_.push_back(std::move(work));
  }
  work();
}

void FakeRegistry::hold(bool hold) {
  std::vector<std::function<void()>> held;
  {
    const std::lock_guard lock(mutex_);
    hold_ = hold;
    if (!hold) held.swap(held_);
  }
  for (const auto& each : held) each();
}

void FakeRegistry::get(Target target, std::string, Done<ObjectPtr> done) {
  complete([this, target, done] {
    std::unique_lock lock(mutex_);
    const auto found = objects_.find(key_of(target));
    const ObjectPtr object = found == objects_.end() ? nullptr : found->second;
    lock.unlock();
    if (!object) return done(not_found(*target.resource, target.name));
    done(object);
  });
}

void FakeRegistry::list(Target target, ListOptions options, Done<ListAnswer> done) {
  complete([this, target, options, done] {
    ListAnswer answer;
    answer.revision = 7;
    std::unique_lock lock(mutex_);
    for (const auto& [key, object] : objects_) {
      if (object->resource() != target.resource) continue;
      if (options.fields.matches(object->value())) answer.objects.push_back(object);
    }
    lock.unlock();
    done(std::move(answer));
  });
}

void FakeRegistry::watch(Target, WatchOptions, std::function<void()> ready,
                         Done<std::unique_ptr<ObjectWatch>> done) {
  {
    std::unique_lock lock(mutex_);
    if (refusal_) {
      const ApiError error = *refusal_;
      lock.unlock();
      return done(error);
    }
  }
  auto watch = std::make_unique<FakeWatch>(*this, std::move(ready));
  {
    const std::lock_guard lock(mutex_);
    watches_.push_back(watch.get());
  }
  done(std::unique_ptr<ObjectWatch>(std::move(watch)));
}

void FakeRegistry::create(Target target, schema::Document body, WriteContext context,
                          Done<Written> done) {
  target.name = body.root.at("metadata.name").as_string();
  Written written;
  written.created = true;
  written.warnings = {"unknown field \"spec.\\x\""};
  written.object = object_of(std::move(body), target.resource, target.resource->type(), 1);
  complete([this, target, context, written, done] {
    {
      const std::lock_guard lock(mutex_);
      objects_[key_of(target)] = written.object;
      seen_.context = context;
    }
    done(written);
  });
}

void FakeRegistry::update(Target target, schema::Document body, WriteContext context,
                          Done<Written> done) {
  create(std::move(target), std::move(body), std::move(context), std::move(done));
}

void FakeRegistry::patch(Target target, PatchType type, schema::Document, bool force,
                         WriteContext context, Done<Written> done) {
  {
    const std::lock_guard lock(mutex_);
    seen_.patch = type;
    seen_.force = force;
    seen_.context = context;
  }
  get(target, "", [done](Outcome<ObjectPtr> object) {
    if (!object) return done(object.error());
    Written written;
    written.object = *object;
    done(written);
  });
}

void FakeRegistry::remove(Target target, DeleteOptions options, WriteContext context,
                          Done<Written> done) {
  {
    const std::lock_guard lock(mutex_);
    seen_.deletion = options;
    seen_.context = context;
  }
  // Something holds up the removal of what is called so.
  const bool held_up = target.name == "held-up" && options.cascades;
  get(target, "", [done, held_up](Outcome<ObjectPtr> object) {
    if (!object) return done(object.error());
    auto status = schema::parse_json(R"({"kind":"Status","apiVersion":"v1","status":"Success"})");
    Written written;
    written.object = object_of(std::move(*status), nullptr, nullptr);
    written.accepted = held_up;
    done(written);
  });
}

void FakeRegistry::remove_collection(Target target, ListOptions which, DeleteOptions, WriteContext,
                                     Done<ListAnswer> done) {
  list(std::move(target), std::move(which), std::move(done));
}

void FakeRegistry::emit(WatchEvent event) {
  std::vector<std::function<void()>> ready;
  {
    const std::lock_guard lock(mutex_);
    history_.push_back(std::move(event));
    for (const FakeWatch* each : watches_) ready.push_back(each->ready_);
  }
  for (const auto& each : ready) each();
}

void FakeRegistry::expire_watches() {
  std::vector<std::function<void()>> ready;
  {
    const std::lock_guard lock(mutex_);
    expired_ = true;
    for (const FakeWatch* each : watches_) ready.push_back(each->ready_);
  }
  for (const auto& each : ready) each();
}

void FakeRegistry::refuse_watches(ApiError error) {
  const std::lock_guard lock(mutex_);
  refusal_ = std::move(error);
}

size_t FakeRegistry::watches() const {
  const std::lock_guard lock(mutex_);
  return watches_.size();
}

FakeRegistry::Seen FakeRegistry::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

ObjectPtr object_from(const schema::Resource& resource, std::string_view json,
                      store::Revision revision) {
  auto document = schema::parse_json(json);
  EXPECT_TRUE(document.ok()) << json;
  return object_of(std::move(*document), &resource, resource.type(), revision);
}

}  // namespace fairlead::apiserver
