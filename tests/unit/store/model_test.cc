// Random histories against a plain model: a map for each revision. The model knows nothing of
// rings, overlays, groups or disks.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/store/embedded/embedded_store.h"
#include "tests/unit/store/calls.h"
#include "tests/unit/store/etcd_server.h"

namespace fairlead::store {
namespace {

struct Value {
  std::string text;
  Revision create = 0;
  Revision mod = 0;
  int64_t version = 0;
};
using State = std::map<std::string, Value>;

struct Model {
  std::map<Revision, State> states;  // after each change
  std::vector<std::string> changes;  // as a watch tells them
  std::vector<Revision> revisions;   // of the changes
  Revision compacted = 0;

  const State& now() const { return states.rbegin()->second; }
};

std::string show(const State& state) {
  std::string text;
  for (const auto& [key, value] : state) {
    text += key + "=" + value.text + "@" + std::to_string(value.create) + "/" +
            std::to_string(value.mod) + "/" + std::to_string(value.version) + " ";
  }
  return text;
}

std::string show(const RangeResult& result) {
  std::string text;
  for (const EntryPtr& entry : result.entries) {
    text += entry->key + "=" + entry->value + "@" + std::to_string(entry->create_revision) + "/" +
            std::to_string(entry->mod_revision) + "/" + std::to_string(entry->version) + " ";
  }
  return text;
}

class History {
 public:
  // Called between two steps, with the chance to replace the store.
  using Disturb = std::function<Store*()>;

  History(Store* store, bool can_compact) : store_(store), can_compact_(can_compact) {
    model_.states[store->revision()] = {};
    first_ = store->revision();
    model_.compacted = first_;
  }

  void run(int steps, const Disturb& disturb) {
    live_.emplace(watch_from(0));
    for (int i = 0; i < steps; ++i) {
      if (Store* other = disturb()) {
        store_ = other;
        live_.emplace(watch_from(model_.states.rbegin()->first + 1));
        live_begin_ = model_.changes.size();
      }
      step();
      if (i % 8 == 7) check();
    }
    check();
  }

 private:
  TestWatch watch_from(Revision start) {
    WatchRequest request;
    request.start = start;
    request.key = "/k/";
    return TestWatch::open(*store_, request).value();
  }

  void step() {
    const std::string key = "/k/" + std::string(1, *rc::gen::elementOf(std::string("abcdef")));
    const Calls calls(*store_);
    const auto held = model_.now().find(key);
    const Revision mod = held == model_.now().end() ? 0 : held->second.mod;
    Expect expect = Expect::anything();
    switch (*rc::gen::inRange(0, 4)) {
      case 1:
        expect = Expect::absent();
        break;
      case 2:
        expect = Expect::at(mod);
        break;
      case 3:
        expect = Expect::at(model_.states.rbegin()->first);
        break;
      default:
        break;
    }
    const int action = *rc::gen::inRange(0, 10);
    if (action < 6) {
      put(calls, key, expect, mod);
    } else if (action < 9) {
      remove(calls, key, expect, mod);
    } else if (can_compact_ && model_.states.size() > 4) {
      const Revision to = std::next(model_.states.begin(), 2)->first;
      if (to > model_.compacted) {
        follow();  // or the watch would be one of the slow
        RC_ASSERT(calls.compact(to).ok());
        model_.compacted = to;
        model_.states.erase(model_.states.begin(), model_.states.find(to));
      }
    }
  }

  void put(const Calls& calls, const std::string& key, Expect expect, Revision mod) {
    const std::string text = std::to_string(++counter_);
    const WriteOutcome outcome = calls.put(key, text, expect).value();
    const bool applies = !expect.mod_revision() || *expect.mod_revision() == mod;
    RC_ASSERT(outcome.applied == applies);
    RC_ASSERT((outcome.previous ? outcome.previous->mod_revision : 0) == mod);
    if (!applies) return;
    State next = model_.now();
    const auto [at, is_new] = next.try_emplace(key);
    const std::string was = is_new ? "" : " (was " + at->second.text + ")";
    Value& value = at->second;
    value.text = text;
    value.mod = outcome.revision;
    if (is_new) value.create = outcome.revision;
    ++value.version;
    add(outcome.revision, std::move(next), "put " + key + "=" + text + was);
  }

  void remove(const Calls& calls, const std::string& key, Expect expect, Revision mod) {
    const WriteOutcome outcome = calls.remove(key, expect).value();
    const bool applies = mod != 0 && (!expect.mod_revision() || *expect.mod_revision() == mod);
    RC_ASSERT(outcome.applied == applies);
    if (!applies) return;
    State next = model_.now();
    const std::string was = " (was " + next.at(key).text + ")";
    next.erase(key);
    add(outcome.revision, std::move(next), "remove " + key + was);
  }

  void add(Revision revision, State state, std::string change) {
    RC_ASSERT(revision > model_.states.rbegin()->first);
    model_.states[revision] = std::move(state);
    model_.changes.push_back(std::move(change));
    model_.revisions.push_back(revision);
  }

  // The watch that has been there all along tells what has happened.
  void follow() {
    for (; live_begin_ < model_.changes.size(); ++live_begin_) {
      RC_ASSERT(live_->next(1) == model_.changes[live_begin_]);
    }
  }

  void check() {
    const Calls calls(*store_);
    RangeRequest request;
    request.key = "/k/";
    request.end = prefix_end("/k/");
    RC_ASSERT(show(calls.range(request).value()) == show(model_.now()));
    // A state of the past, whole and in pages.
    const auto past = std::next(model_.states.begin(),
                                *rc::gen::inRange<int>(0, static_cast<int>(model_.states.size())));
    request.revision = past->first;
    RC_ASSERT(show(calls.range(request).value()) == show(past->second));
    RangeResult paged;
    request.limit = 2;
    for (bool more = true; more;) {
      RangeResult page = calls.range(request).value();
      RC_ASSERT(page.count >= page.entries.size());
      for (EntryPtr& entry : page.entries) paged.entries.push_back(std::move(entry));
      more = page.more;
      if (more) request.key = key_after(paged.entries.back()->key);
    }
    RC_ASSERT(show(paged) == show(past->second));
    // And a watch from the past.
    follow();
    const Revision start = past->first + 1;
    size_t index = 0;
    while (index < model_.revisions.size() && model_.revisions[index] < start) ++index;
    if (start <= store_->revision()) {
      TestWatch replay = watch_from(start);
      for (; index < model_.changes.size(); ++index) {
        RC_ASSERT(replay.next(1) == model_.changes[index]);
      }
    }
    if (model_.compacted > first_) {
      request.revision = model_.compacted - 1;
      RC_ASSERT(calls.range(request).status().code() == StatusCode::kExpired);
    }
  }

  Store* store_;
  const bool can_compact_;
  Model model_;
  std::optional<TestWatch> live_;
  Revision first_ = 0;
  size_t live_begin_ = 0;
  int counter_ = 0;
};

RC_GTEST_PROP(StoreModel, EmbeddedEqualsAMapForEachRevision, ()) {
  const Scratch scratch = Scratch::in_memory();
  EmbeddedOptions options;
  options.directory = scratch.path("store");
  std::unique_ptr<EmbeddedStore> store = EmbeddedStore::open(options).value();
  Calls(*store).put("/other", "1").value();  // revision 0 cannot be asked for
  History history(store.get(), true);
  history.run(60, [&]() -> Store* {
    if (*rc::gen::inRange(0, 25) != 0) return nullptr;
    store.reset();
    store = EmbeddedStore::open(options).value();
    return store.get();
  });
}

RC_GTEST_PROP(StoreModel, EtcdEqualsAMapForEachRevision, ()) {
  if (shared_etcd() == nullptr) return;
  const EtcdOptions options = shared_etcd()->options(shared_etcd()->fresh_location());
  std::unique_ptr<EtcdStore> store = EtcdStore::open(options).value();
  History history(store.get(), false);  // another test's revisions are no business of this one
  history.run(60, [&]() -> Store* { return nullptr; });
}

}  // namespace
}  // namespace fairlead::store
