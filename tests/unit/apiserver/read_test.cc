// Reads, lists and watches.
#include "control/apiserver/snapshots.h"
#include "control/schema/selector.h"
#include "tests/unit/apiserver/support.h"

namespace fairlead::apiserver {
namespace {

class RegistryRead : public RegistryTest {
 protected:
  void make(std::initializer_list<const char*> names, std::string_view labels = "{}") {
    for (const char* name : names) {
      ASSERT_EQ(
          create("configmaps", fmt::format("{{metadata: {{name: {}, labels: {}}}}}", name, labels)),
          name);
    }
  }
  static ListOptions page(int64_t limit, std::string continuation = "") {
    ListOptions options;
    options.limit = limit;
    options.continuation = std::move(continuation);
    return options;
  }
  static ListOptions at(std::string version, std::string match) {
    ListOptions options;
    options.resource_version = std::move(version);
    options.match = std::move(match);
    return options;
  }
  static ListOptions labelled(std::string_view selector) {
    ListOptions options;
    options.labels = schema::LabelSelector::parse(selector).value();
    return options;
  }
  static ListOptions with_fields(std::string_view selector) {
    ListOptions options;
    options.fields = schema::FieldSelector::parse(selector, *target("configmaps").resource).value();
    return options;
  }
};

TEST_F(RegistryRead, Lists) {
  make({"b", "a"}, "{x: yy}");
  make({"c"});
  EXPECT_EQ(list("configmaps"), "a b c");
  EXPECT_EQ(list("configmaps", {}, ""), "a b c");
  EXPECT_EQ(list("configmaps", {}, "other"), "");
  EXPECT_EQ(list("configmaps", labelled("x=yy")), "a b");
  EXPECT_EQ(list("configmaps", labelled("!x")), "c");
  EXPECT_EQ(list("configmaps", with_fields("metadata.name=b")), "b");
  EXPECT_EQ(list("configmaps", with_fields("metadata.name!=b")), "a c");
}

TEST_F(RegistryRead, PagesAreOneState) {
  make({"a", "b", "c", "d"});
  EXPECT_EQ(list("configmaps", page(2)), "a b +2");
  make({"bb"});
  EXPECT_EQ(list("configmaps", page(1, listed_.continuation)), "c +1");
  EXPECT_EQ(list("configmaps", page(5, listed_.continuation)), "d");
  EXPECT_EQ(list("configmaps", page(5, "nonsense")), "400 BadRequest: continue key is not valid");
  ListOptions filtered = labelled("!q");
  filtered.limit = 3;
  EXPECT_EQ(list("configmaps", filtered), "a b bb +");
}

TEST_F(RegistryRead, PastAndFuture) {
  make({"a"});
  const std::string then = last("metadata.resourceVersion");
  make({"b"});
  EXPECT_EQ(list("configmaps", at(then, "Exact")), "a");
  EXPECT_EQ(list("configmaps", at(then, "NotOlderThan")), "a b");
  EXPECT_EQ(list("configmaps", at("0", "")), "a b");
  EXPECT_EQ(list("configmaps", at("9999", "")).substr(0, 11), "504 Timeout");
  EXPECT_EQ(list("configmaps", at("9999", "Exact")).substr(0, 11), "504 Timeout");
  EXPECT_EQ(list("configmaps", at("x", "")).substr(0, 14), "400 BadRequest");
  std::promise<Status> compacted;
  store_->compact(store_->revision(), [&](Status status) { compacted.set_value(status); });
  ASSERT_TRUE(compacted.get_future().get().ok());
  EXPECT_EQ(list("configmaps", at(then, "Exact")),
            "410 Expired: The resourceVersion for the provided list is too old.");
  WatchOptions old;
  old.resource_version = then;
  EXPECT_EQ(watch("configmaps", old).next(1).substr(0, 11), "410 Expired");
}

TEST_F(RegistryRead, WatchFromRevision) {
  WatchOptions options;
  options.resource_version = std::to_string(store_->revision());
  TestWatch watched = watch("configmaps", options);
  make({"a"});
  patch("configmaps", "a", "{data: {k: v}}");
  remove("configmaps", "a");
  EXPECT_EQ(watched.next(3), "ADDED a, MODIFIED a, DELETED a");
  EXPECT_EQ(field_text(watched.last->value(), "data.k"), "v");
}

TEST_F(RegistryRead, WatchBeginsWithWhatIsThere) {
  make({"a", "b"});
  TestWatch watched = watch("configmaps");
  EXPECT_EQ(watched.next(2), "ADDED a, ADDED b");
  make({"c"});
  EXPECT_EQ(watched.next(1), "ADDED c");
  WatchOptions options;
  options.send_initial_events = true;
  options.match = "NotOlderThan";
  options.bookmarks = true;
  EXPECT_EQ(watch("configmaps", options).next(4), "ADDED a, ADDED b, ADDED c, BOOKMARK end");
  options.match.clear();
  EXPECT_EQ(watch("configmaps", options).next(1).substr(0, 14), "400 BadRequest");
}

// Clients that come at once and are slow hold one state, not one each.
TEST(Snapshots, OneForEqualStates) {
  const auto entry = [] { return std::make_shared<const store::Entry>(); };
  const std::vector<store::EntryPtr> state = {entry(), entry()};
  Snapshots snapshots;
  const Snapshots::Shared first = snapshots.share("a", state);
  EXPECT_EQ(snapshots.share("a", state), first);
  EXPECT_NE(snapshots.share("b", state), first);
  const std::vector<store::EntryPtr> later = {state[0], entry()};
  const Snapshots::Shared second = snapshots.share("a", later);
  EXPECT_EQ(*second, later);
  EXPECT_EQ(*first, state);
  std::weak_ptr<const std::vector<store::EntryPtr>> gone;
  for (int i = 0; i < 1000; ++i) gone = snapshots.share(std::to_string(i), state);
  EXPECT_TRUE(gone.expired());
}

// A server that is behind the one that a client has come from must not take it back.
TEST_F(RegistryRead, PositionBeginsWhereTheClientIs) {
  const store::Revision ahead = store_->revision() + 100;
  WatchOptions options;
  options.resource_version = std::to_string(ahead);
  auto opened = wait<std::unique_ptr<ObjectWatch>>([&](auto done) {
    registry_->watch(
        target("configmaps"), options, [] {}, done);
  });
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)->position(), ahead);
  ASSERT_TRUE((*opened)->take(10).ok());
  EXPECT_EQ((*opened)->position(), ahead);
}

TEST_F(RegistryRead, SelectorsMakeAdditionsAndDeletions) {
  make({"a", "b"});
  WatchOptions options;
  options.resource_version = std::to_string(store_->revision());
  options.labels = schema::LabelSelector::parse("x=yy").value();
  TestWatch watched = watch("configmaps", options);
  patch("configmaps", "a", "{metadata: {labels: {x: yy}}}");
  patch("configmaps", "b", "{metadata: {labels: {x: z}}}");
  patch("configmaps", "a", "{data: {k: v}}");
  patch("configmaps", "a", "{metadata: {labels: {x: z}}}");
  remove("configmaps", "a");
  patch("configmaps", "b", "{metadata: {labels: {x: yy}}}");
  EXPECT_EQ(watched.next(4), "ADDED a, MODIFIED a, DELETED a, ADDED b");
}

}  // namespace
}  // namespace fairlead::apiserver
