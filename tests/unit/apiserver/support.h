// A registry over a real store, with calls that wait and answers as short texts.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "control/apiserver/namespace_lifecycle.h"
#include "control/apiserver/registry_open.h"
#include "control/schema/json_text.h"
#include "control/store/embedded/embedded_store.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::apiserver {

inline schema::Document parsed(std::string_view text) {
  Result<schema::Document> document = schema::parse_yaml(text);
  EXPECT_TRUE(document.ok()) << text << ": " << document.status().message();
  return document.ok() ? std::move(document).value() : schema::Document();
}

// "409 Conflict: message"
inline std::string error_text(const ApiError& error) {
  return fmt::format("{} {}: {}", error.code, error.reason, error.message);
}

// The value at a path, as JSON without quotes around strings.
inline std::string field_text(const schema::Value& object, std::string_view path) {
  const schema::Value& value = object.at(path);
  return value.is_string() ? std::string(value.as_string()) : schema::to_json(value);
}

class TestWatch {
 public:
  void open(Registry& registry, const Target& target, WatchOptions options) {
    std::promise<Outcome<std::unique_ptr<ObjectWatch>>> opened;
    registry.watch(
        target, std::move(options),
        [signal = signal_] {
          const std::lock_guard lock(signal->mutex);
          signal->raised = true;
          signal->changed.notify_all();
        },
        [&opened](Outcome<std::unique_ptr<ObjectWatch>> made) {
          opened.set_value(std::move(made));
        });
    auto made = opened.get_future().get();
    if (made) {
      watch_ = std::move(*made);
    } else {
      error_ = error_text(made.error());
    }
  }

  // "ADDED a, MODIFIED b": the next `count` events.
  std::string next(size_t count) {
    constexpr const char* kNames[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"};
    if (watch_ == nullptr) return error_;
    std::string text;
    while (count > 0) {
      auto events = watch_->take(count);
      if (!events) return text + error_text(events.error());
      for (const WatchEvent& event : *events) {
        text += text.empty() ? "" : ", ";
        text += kNames[static_cast<int>(event.type)];
        if (event.object) {
          text += " " + field_text(event.object->value(), "metadata.name");
          EXPECT_EQ(field_text(event.object->value(), "metadata.resourceVersion"),
                    std::to_string(event.revision));
          last = event.object;
        }
        if (event.initial_events_end) text += " end";
        --count;
      }
      if (count == 0 || !events->empty()) continue;
      std::unique_lock lock(signal_->mutex);
      if (!signal_->changed.wait_for(lock, std::chrono::seconds(20),
                                     [this] { return signal_->raised; })) {
        return text + " nothing more";
      }
      signal_->raised = false;
    }
    return text;
  }

  ObjectPtr last;

 private:
  struct Signal {
    std::mutex mutex;
    std::condition_variable changed;
    bool raised = false;
  };

  std::shared_ptr<Signal> signal_ = std::make_shared<Signal>();
  std::unique_ptr<ObjectWatch> watch_;
  std::string error_;
};

class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    store::EmbeddedOptions options;
    options.directory = scratch_.path("store");
    auto opened = store::EmbeddedStore::open(options);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    store_ = std::move(opened).value();
    pool_ = std::make_unique<WorkerPool>(2);
    Hooks hooks;
    hooks.admission.push_back(std::make_unique<NamespaceLifecycle>(*store_));
    add_hooks(hooks);
    registry_ = open_registry(*store_, *pool_, std::move(hooks), [this] { return now_.load(); });
    ASSERT_EQ(create("namespaces", "{metadata: {name: default}}"), "default");
  }
  void TearDown() override {
    registry_.reset();
    pool_.reset();
    store_.reset();
  }
  virtual void add_hooks(Hooks&) {}

  // "pods", "apps/v1 deployments", "pods/status"; the namespace is "default" where there is one.
  static Target target(std::string_view what, std::string_view name = "",
                       std::string_view space = "default") {
    Target made;
    std::string_view api_version = "v1";
    if (const size_t blank = what.find(' '); blank != std::string_view::npos) {
      api_version = what.substr(0, blank);
      what.remove_prefix(blank + 1);
    }
    const size_t slash = what.find('/');
    const schema::GroupVersion version = schema::parse_api_version(api_version);
    made.resource = schema::find_resource(version.group, version.version, what.substr(0, slash));
    EXPECT_NE(made.resource, nullptr) << what;
    if (slash != std::string_view::npos) {
      made.subresource = schema::find_subresource(*made.resource, what.substr(slash + 1));
      EXPECT_NE(made.subresource, nullptr) << what;
    }
    if (made.resource->namespaced) made.space = space;
    made.name = name;
    return made;
  }

  template <typename T>
  static Outcome<T> wait(const std::function<void(Registry::Done<T>)>& begin) {
    std::promise<Outcome<T>> promise;
    begin([&promise](Outcome<T> outcome) { promise.set_value(std::move(outcome)); });
    return promise.get_future().get();
  }
  // The object's name, or the error; the object itself stays in last_.
  std::string shown(Outcome<Written> outcome) {
    if (!outcome) {
      last_error_ = outcome.error();
      return error_text(outcome.error());
    }
    last_ = outcome->object;
    warnings_ = outcome->warnings;
    if (field_text(last_->value(), "kind") == "Status") return field_text(last_->value(), "status");
    return field_text(last_->value(), "metadata.name");
  }

  std::string create(std::string_view what, std::string_view body, std::string_view name = "",
                     std::string_view space = "default") {
    return shown(wait<Written>([&](auto done) {
      registry_->create(target(what, name, space), parsed(body), context_, done);
    }));
  }
  std::string update(std::string_view what, std::string_view name, std::string_view body) {
    return shown(wait<Written>(
        [&](auto done) { registry_->update(target(what, name), parsed(body), context_, done); }));
  }
  std::string patch(std::string_view what, std::string_view name, std::string_view body,
                    PatchType type = PatchType::kMerge, bool force = false) {
    return shown(wait<Written>([&](auto done) {
      registry_->patch(target(what, name), type, parsed(body), force, context_, done);
    }));
  }
  std::string apply(std::string_view what, std::string_view name, std::string_view body,
                    const std::string& manager, bool force = false) {
    context_.field_manager = manager;
    std::string text = patch(what, name, body, PatchType::kApply, force);
    context_.field_manager.clear();
    return text;
  }
  std::string remove(std::string_view what, std::string_view name, DeleteOptions options = {}) {
    return shown(wait<Written>([&](auto done) {
      registry_->remove(target(what, name), std::move(options), context_, done);
    }));
  }
  // A field of the object, or the error.
  std::string get(std::string_view what, std::string_view name, std::string_view path) {
    auto outcome =
        wait<ObjectPtr>([&](auto done) { registry_->get(target(what, name), "", done); });
    if (!outcome) return error_text(outcome.error());
    last_ = *outcome;
    return field_text(last_->value(), path);
  }
  // "a b c", then "+" with how many remain, or the error.
  std::string list(std::string_view what, ListOptions options = {},
                   std::string_view space = "default") {
    auto outcome = wait<ListAnswer>(
        [&](auto done) { registry_->list(target(what, "", space), std::move(options), done); });
    if (!outcome) return error_text(outcome.error());
    listed_ = std::move(*outcome);
    std::string text;
    for (const ObjectPtr& object : listed_.objects) {
      text += (text.empty() ? "" : " ") + field_text(object->value(), "metadata.name");
    }
    if (!listed_.continuation.empty()) text += " +";
    if (listed_.remaining) text += std::to_string(*listed_.remaining);
    return text;
  }
  TestWatch watch(std::string_view what, WatchOptions options = {}) {
    TestWatch made;
    made.open(*registry_, target(what), std::move(options));
    return made;
  }
  std::string last(std::string_view path) const { return field_text(last_->value(), path); }

  store::Scratch scratch_ = store::Scratch::in_memory();
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<WorkerPool> pool_;
  std::unique_ptr<Registry> registry_;
  std::atomic<int64_t> now_{1700000000};
  WriteContext context_;
  ObjectPtr last_;
  ListAnswer listed_;
  ApiError last_error_;
  std::vector<std::string> warnings_;
};

}  // namespace fairlead::apiserver
