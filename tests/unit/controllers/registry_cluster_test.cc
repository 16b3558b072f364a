// The registry as the controllers' cluster: what is asked, what is answered, how watches are read.
#include "control/server/registry_cluster.h"

#include <atomic>
#include <deque>
#include <future>
#include <mutex>

#include "support.h"

namespace fairlead::server {
namespace {

using apiserver::ApiError;
using apiserver::Outcome;
using controllers::Event;

class FakeObject final : public apiserver::Object {
 public:
  explicit FakeObject(std::string_view yaml) : value_(controllers::object(yaml)) {}
  const schema::Resource* resource() const override { return nullptr; }
  const schema::Value& value() const override { return *value_; }
  void append_json(std::string* out) const override { schema::append_json(*value_, out); }
  const schema::Type* type() const override { return nullptr; }
  store::Revision revision() const override { return 7; }

 private:
  controllers::ObjectPtr value_;
};

apiserver::ObjectPtr made(std::string_view yaml) {
  return std::make_shared<FakeObject>(yaml);
}

// What a watch may take, from any thread.
struct Feed {
  std::mutex mutex;
  std::deque<apiserver::WatchEvent> events;
  std::optional<ApiError> error;
  std::function<void()> ready;

  void push(std::vector<apiserver::WatchEvent> more) {
    {
      const std::lock_guard lock(mutex);
      for (apiserver::WatchEvent& event : more) events.push_back(std::move(event));
    }
    ready();
  }
};

class FakeObjectWatch final : public apiserver::ObjectWatch {
 public:
  explicit FakeObjectWatch(std::shared_ptr<Feed> feed) : feed_(std::move(feed)) {}
  Outcome<std::vector<apiserver::WatchEvent>> take(size_t limit) override {
    const std::lock_guard lock(feed_->mutex);
    if (feed_->events.empty() && feed_->error) return *feed_->error;
    std::vector<apiserver::WatchEvent> taken;
    while (!feed_->events.empty() && taken.size() < limit) {
      taken.push_back(std::move(feed_->events.front()));
      feed_->events.pop_front();
    }
    return taken;
  }
  store::Revision position() const override { return 0; }

 private:
  std::shared_ptr<Feed> feed_;
};

// Remembers the request as text and answers with what it was given.
class FakeRegistry final : public apiserver::Registry {
 public:
  std::string asked;
  Outcome<apiserver::ObjectPtr> object = apiserver::ObjectPtr();
  std::shared_ptr<Feed> feed = std::make_shared<Feed>();

  void note(std::string_view verb, const apiserver::Target& target) {
    asked = fmt::format("{} {} {}/{}{}", verb, target.resource->plural, target.space, target.name,
                        target.subresource ? " " + std::string(target.subresource->name) : "");
  }
  void answer(Done<apiserver::Written> done) {
    if (!object) return done(object.error());
    apiserver::Written written;
    written.object = *object;
    done(std::move(written));
  }

  void get(apiserver::Target target, std::string, Done<apiserver::ObjectPtr> done) override {
    note("get", target);
    done(object);
  }
  void list(apiserver::Target target, apiserver::ListOptions options,
            Done<apiserver::ListAnswer> done) override {
    note("list", target);
    asked += " " + options.labels.to_string();
    if (!object) return done(object.error());
    apiserver::ListAnswer answer;
    answer.objects = {*object};
    answer.revision = 9;
    done(std::move(answer));
  }
  void watch(apiserver::Target target, apiserver::WatchOptions options, std::function<void()> ready,
             Done<std::unique_ptr<apiserver::ObjectWatch>> done) override {
    note("watch", target);
    asked += " from " + options.resource_version;
    if (!object) return done(object.error());
    feed->ready = std::move(ready);
    done(std::unique_ptr<apiserver::ObjectWatch>(std::make_unique<FakeObjectWatch>(feed)));
  }
  void create(apiserver::Target target, schema::Document, apiserver::WriteContext context,
              Done<apiserver::Written> done) override {
    note("create", target);
    asked += " by " + context.user.name;
    answer(std::move(done));
  }
  void update(apiserver::Target target, schema::Document, apiserver::WriteContext,
              Done<apiserver::Written> done) override {
    note("update", target);
    answer(std::move(done));
  }
  void patch(apiserver::Target target, apiserver::PatchType type, schema::Document, bool,
             apiserver::WriteContext, Done<apiserver::Written> done) override {
    note(type == apiserver::PatchType::kMerge ? "merge" : "?", target);
    answer(std::move(done));
  }
  void remove(apiserver::Target target, apiserver::DeleteOptions options, apiserver::WriteContext,
              Done<apiserver::Written> done) override {
    note("remove", target);
    asked += fmt::format(" {} {} {}", options.uid.value_or("-"),
                         options.resource_version.value_or("-"), options.propagation);
    answer(std::move(done));
  }
  void remove_collection(apiserver::Target target, apiserver::ListOptions,
                         apiserver::DeleteOptions options, apiserver::WriteContext,
                         Done<apiserver::ListAnswer> done) override {
    note("remove-all", target);
    asked += " " + options.propagation;
    if (!object) return done(object.error());
    done(apiserver::ListAnswer());
  }
};

auth::User controller_user() {
  auth::User user;
  user.name = "system:controllers";
  return user;
}

class RegistryClusterTest : public ::testing::Test {
 protected:
  controllers::Reference pod(std::string_view name = "p") const {
    return {&controllers::resource("", "v1", "pods"), "d", std::string(name)};
  }
  // "p" or "gone" or the code of the error.
  controllers::Cluster::Done<controllers::ObjectPtr> answer() {
    return [this](Result<controllers::ObjectPtr> result) {
      answered_ = !result    ? std::string(to_string(result.status().code()))
                  : !*result ? "gone"
                             : std::string(controllers::name_of(**result));
    };
  }

  FakeRegistry registry_;
  RegistryCluster cluster_{registry_, controller_user()};
  std::string answered_;
};

TEST_F(RegistryClusterTest, Asks) {
  registry_.object = made("{kind: Pod, metadata: {name: p}}");
  const auto expect = [&](std::string_view asked, std::string_view answered = "p") {
    EXPECT_EQ(registry_.asked, asked);
    EXPECT_EQ(answered_, answered) << asked;
    answered_ = "";
  };
  cluster_.get(pod(), answer());
  expect("get pods d/p");
  cluster_.create(pod(), {}, answer());
  expect("create pods d/ by system:controllers");
  cluster_.update(pod(), "", {}, answer());
  expect("update pods d/p");
  cluster_.update(pod(), "status", {}, answer());
  expect("update pods d/p status");
  cluster_.merge_patch(pod(), "", {}, answer());
  expect("merge pods d/p");
  cluster_.remove(pod(), {"u", "5", controllers::Propagation::kOrphan}, answer());
  expect("remove pods d/p u 5 Orphan");
  registry_.object = made("{kind: Status, status: Success}");
  cluster_.remove(pod(), {}, answer());
  expect("remove pods d/p - - ", "gone");
  registry_.asked = "";
  cluster_.update(pod(), "finalise", {}, answer());
  expect("", "unsupported");
  std::string listed;
  registry_.object = made("{kind: Pod, metadata: {name: p}}");
  cluster_.list({pod().resource, "d", "a=b"}, [&](Result<controllers::Listing> result) {
    listed = fmt::format("{} {}", result->objects.size(), result->revision);
  });
  EXPECT_EQ(registry_.asked, "list pods d/ a=b");
  EXPECT_EQ(listed, "1 9");
  bool done = false;
  cluster_.remove_all({pod().resource, "d", ""}, [&](Result<bool> result) { done = *result; });
  EXPECT_EQ(registry_.asked, "remove-all pods d/ Background");
  EXPECT_TRUE(done);
}

TEST_F(RegistryClusterTest, SaysWhyNot) {
  const std::pair<int, std::string_view> cases[] = {
      {400, "invalid"},     {401, "permission"}, {403, "permission"},  {404, "not_found"},
      {405, "unsupported"}, {409, "conflict"},   {410, "expired"},     {413, "exhausted"},
      {422, "invalid"},     {429, "exhausted"},  {500, "unavailable"}, {504, "unavailable"}};
  for (const auto& [code, expected] : cases) {
    ApiError error;
    error.code = code;
    error.message = "because";
    registry_.object = error;
    cluster_.get(pod(), answer());
    EXPECT_EQ(answered_, expected) << code;
    cluster_.remove(pod(), {}, answer());
    EXPECT_EQ(answered_, expected) << code;
  }
}

TEST_F(RegistryClusterTest, ReadsWatchesToTheirEnd) {
  registry_.object = made("{}");
  std::mutex mutex;
  size_t seen = 0;
  std::string last;
  std::promise<Status> ended;
  controllers::WatchHandler handler;
  handler.events = [&](std::vector<Event> events) {
    const std::lock_guard lock(mutex);
    seen += events.size();
    last = events.back().revision;
  };
  handler.end = [&](Status status) { ended.set_value(std::move(status)); };
  const auto watch = cluster_.watch({pod().resource, "", ""}, "5", std::move(handler));
  EXPECT_EQ(registry_.asked, "watch pods / from 5");
  std::vector<apiserver::WatchEvent> events;
  for (int i = 0; i < 1000; ++i) {  // more than is taken at a time
    apiserver::WatchEvent event;
    event.object = made("{metadata: {name: p}}");
    event.revision = 10 + i;
    events.push_back(std::move(event));
  }
  registry_.feed->push(std::move(events));
  ApiError gone;
  gone.code = 410;
  {
    const std::lock_guard lock(registry_.feed->mutex);
    registry_.feed->error = gone;
  }
  registry_.feed->ready();
  EXPECT_EQ(ended.get_future().get().code(), StatusCode::kExpired);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(seen, 1000u);
  EXPECT_EQ(last, "1009");
}

TEST_F(RegistryClusterTest, AWatchThatWasEndedIsSilent) {
  registry_.object = made("{}");
  std::atomic<int> told = 0;
  controllers::WatchHandler handler;
  handler.events = [&](std::vector<Event>) { ++told; };
  handler.end = [&](Status) { ++told; };
  auto watch = cluster_.watch({pod().resource, "", ""}, "5", std::move(handler));
  watch = nullptr;
  registry_.feed->push({apiserver::WatchEvent()});
  // Whatever the reader still had to do is done after this one has ended.
  std::promise<void> refused;
  controllers::WatchHandler next;
  next.end = [&](Status) { refused.set_value(); };
  registry_.object = ApiError();
  const auto other = cluster_.watch({pod().resource, "", ""}, "5", std::move(next));
  refused.get_future().wait();
  EXPECT_EQ(told, 0);
}

}  // namespace
}  // namespace fairlead::server
