#include "tests/api_server/store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/api_server/objects.h"

namespace fairlead::api_server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kServicesPath = "/api/v1/services";

class StoreTest : public ::testing::Test {
 protected:
  ObjectPointer put(const std::string& json, Store::Mode mode = Store::Mode::kUpsert) {
    auto stored = store_.put(services_, json, mode, std::nullopt);
    EXPECT_TRUE(stored.ok()) << stored.status().message();
    return stored.ok() ? *stored : nullptr;
  }
  ObjectPointer put_named(const std::string& name_space, const std::string& name) {
    return put(service_json({.name_space = name_space, .name = name}));
  }
  std::vector<std::string> keys(ListOptions options) const {
    if (options.version == 0) options.version = store_.version();
    std::vector<std::string> keys;
    for (const ObjectPointer& object : services_.list(options, false).objects) {
      keys.push_back(object->key());
    }
    return keys;
  }

  Store store_{4};
  Resource& services_ = store_.add_type({"", "v1", "services", "Service", true});
};

TEST_F(StoreTest, WritesTheEnvelopeAndKeepsTheRest) {
  const ObjectPointer object =
      put(R"({"spec":{"a":[1,{"b":"}"}],"n":null},"metadata":{"resourceVersion":"99","name":"x",)"
          R"("labels":{"k":"v"},"namespace":"n","finalizers":["f"]},"status":{"x":1.0}})");
  EXPECT_THAT(
      object->json,
      testing::StartsWith(
          R"({"kind":"Service","apiVersion":"v1","metadata":{"name":"x","namespace":"n","uid":")"));
  EXPECT_THAT(object->json, HasSubstr(R"("resourceVersion":"2","creationTimestamp":"2)"));
  EXPECT_THAT(object->json, HasSubstr(R"("labels":{"k":"v"},"finalizers":["f"])"));
  EXPECT_THAT(object->json,
              testing::EndsWith(R"(,"spec":{"a":[1,{"b":"}"}],"n":null},"status":{"x":1.0}})"));
  EXPECT_THAT(object->item_tail(), testing::StartsWith(R"("metadata":{)"));
  EXPECT_THAT(object->labels, ElementsAre(std::pair<std::string, std::string>("k", "v")));
}

TEST_F(StoreTest, KeepsIdentityAcrossUpdates) {
  const ObjectPointer first = put_named("a", "x");
  const ObjectPointer second = put_named("a", "x");
  EXPECT_EQ(first->uid, second->uid);
  EXPECT_EQ(first->creation_timestamp, second->creation_timestamp);
  EXPECT_EQ(second->resource_version, first->resource_version + 1);
}

TEST_F(StoreTest, ANewVersionChangesOnlyTheDigits) {
  const ObjectPointer object = put_named("a", "x");
  const ObjectPointer copy = with_version(*object, 1234567);
  EXPECT_THAT(copy->json, HasSubstr(R"("resourceVersion":"1234567",)"));
  EXPECT_EQ(with_version(*copy, object->resource_version)->json, object->json);
}

TEST_F(StoreTest, ModesAreChecked) {
  const std::string json = service_json({.name = "x"});
  EXPECT_EQ(store_.put(services_, json, Store::Mode::kUpdate, "default").status().code(),
            StatusCode::kNotFound);
  EXPECT_TRUE(store_.put(services_, json, Store::Mode::kCreate, "default").ok());
  EXPECT_EQ(store_.put(services_, json, Store::Mode::kCreate, "default").status().code(),
            StatusCode::kConflict);
  EXPECT_EQ(store_.remove(services_, "default/y").status().code(), StatusCode::kNotFound);
}

TEST_F(StoreTest, BadTextIsRefusedByName) {
  struct Case {
    const char* json;
    const char* reason;
  };
  for (const Case& each :
       {Case{"", ""}, Case{"[]", ""}, Case{"{\"metadata\":", ""}, Case{"{}", "no metadata"},
        Case{R"({"metadata":{}})", "name is missing"}, Case{R"({"metadata":{"name":7}})", ""},
        Case{R"({"metadata":{"name":"x"}})", "needs a namespace"},
        Case{R"({"metadata":{"name":"x","labels":{"a":1}}})", ""}}) {
    const auto stored = store_.put(services_, each.json, Store::Mode::kUpsert, std::nullopt);
    ASSERT_FALSE(stored.ok()) << each.json;
    EXPECT_EQ(stored.status().code(), StatusCode::kInvalid);
    EXPECT_THAT(stored.status().message(), HasSubstr(each.reason));
  }
}

TEST_F(StoreTest, ListsByNamespaceInOrder) {
  for (const char* name_space : {"b", "a", "a-b"}) put_named(name_space, "x");
  put_named("a", "w");
  EXPECT_THAT(keys({}), ElementsAre("a-b/x", "a/w", "a/x", "b/x"));
  EXPECT_THAT(keys({.name_space = "a"}), ElementsAre("a/w", "a/x"));
}

TEST_F(StoreTest, PagesSeeOneMoment) {
  for (const char* name : {"1", "2", "3"}) put_named("n", name);
  const uint64_t moment = store_.version();
  ListOptions options{.limit = 2, .version = moment};
  const ListPage first = services_.list(options, true);
  EXPECT_EQ(first.next, "n/3");
  EXPECT_EQ(first.remaining, 1u);
  ASSERT_TRUE(store_.remove(services_, "n/3").ok());
  put_named("n", "4");
  options.start = first.next;
  EXPECT_THAT(keys(options), ElementsAre("n/3"));
  EXPECT_THAT(keys({}), ElementsAre("n/1", "n/2", "n/4"));
}

TEST_F(StoreTest, HistoryIsBounded) {
  put_named("n", "gone");
  ASSERT_TRUE(store_.remove(services_, "n/gone").ok());
  for (int i = 0; i < 10; ++i) put_named("n", "x");
  EXPECT_EQ(services_.history().size(), 4u);
  EXPECT_EQ(services_.compacted(), store_.version() - 4);
  EXPECT_EQ(services_.history().end() - services_.changes_after(store_.version() - 2), 2);
  EXPECT_THAT(keys({}), ElementsAre("n/x"));
  store_.compact();
  EXPECT_EQ(services_.compacted(), store_.version());
  EXPECT_THAT(keys({}), ElementsAre("n/x"));
  EXPECT_EQ(services_.size(), 1u);
}

TEST_F(StoreTest, FindsTypes) {
  EXPECT_EQ(store_.find(kServicesPath), &services_);
  EXPECT_EQ(store_.find("/api/v1/pods"), nullptr);
  EXPECT_EQ(store_.find_kind("v1", "Service"), &services_);
}

struct SelectorCase {
  const char* labels;
  const char* fields;
  bool matches;
};

TEST(Selector, Matches) {
  const auto object =
      make_object(R"({"metadata":{"name":"x","namespace":"n","labels":{"app":"web","tier":""}}})",
                  {.api_version = "v1", .kind = "Service"});
  ASSERT_TRUE(object.ok());
  for (const SelectorCase& each :
       {SelectorCase{"", "", true}, SelectorCase{"app=web", "", true},
        SelectorCase{"app==web", "", true}, SelectorCase{"app!=web", "", false},
        SelectorCase{"other!=web", "", true}, SelectorCase{"app", "", true},
        SelectorCase{"!app", "", false}, SelectorCase{"!other,app", "", true},
        SelectorCase{"tier=", "", true}, SelectorCase{"app=web,tier=x", "", false},
        SelectorCase{"", "metadata.name=x", true}, SelectorCase{"", "metadata.name=y", false},
        SelectorCase{"", "metadata.name!=y,metadata.namespace=n", true}}) {
    const auto selector = Selector::parse(each.labels, each.fields);
    ASSERT_TRUE(selector.ok()) << each.labels << each.fields;
    EXPECT_EQ(selector->matches(**object), each.matches) << each.labels << each.fields;
  }
}

TEST(Selector, RefusesWhatItDoesNotKnow) {
  for (const char* labels : {"a in (b)", "=b", ",", "a>1"}) {
    EXPECT_FALSE(Selector::parse(labels, "").ok()) << labels;
  }
  for (const char* fields : {"spec.nodeName=x", "metadata.name", "!metadata.name"}) {
    EXPECT_FALSE(Selector::parse("", fields).ok()) << fields;
  }
}

}  // namespace
}  // namespace fairlead::api_server
