// The program killed at any moment, under writers and a watch: what it has acknowledged is there,
// with its revision; what it has not is there whole or not at all; revisions never go back; a watch
// goes on where it was.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/http_client.h"
#include "tests/server/server_process.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::server_test {
namespace {

using std::chrono::milliseconds;

constexpr int kWriters = 6;

int64_t number(std::string_view text) {
  return std::strtoll(std::string(text).c_str(), nullptr, 10);
}

// An object as somebody believes it to be; revision 0: there is none.
struct Known {
  int64_t revision = 0;
  std::string token;
  bool operator==(const Known&) const = default;
};

// "token" repeated, so that half of an object would show.
std::string padded(const std::string& token) {
  std::string text;
  while (text.size() < 2000) text += token + ".";
  return text;
}

std::string config_map(const std::string& name, const std::string& token) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"token":"{}","pad":"{}"}}}})",
      name, token, padded(token));
}

Known known_of(const schema::Value& object) {
  Known known;
  known.revision = number(object.at("metadata.resourceVersion").as_string());
  known.token = std::string(object.at("data.token").as_string());
  EXPECT_EQ(object.at("data.pad").as_string(), padded(known.token)) << "half of an object";
  return known;
}

bool is_ours(std::string_view name) {
  return name.starts_with("w");
}

// The objects of one writer: what was acknowledged, and what was asked when the server went.
struct Writer {
  std::map<std::string, Known> objects;
  std::string pending_name;   // empty: nothing was under way
  std::string pending_token;  // empty: a removal
  int64_t newest = 0;
  int acknowledged = 0;

  // Until the server goes.
  void run(uint16_t port, int writer, int round) {
    std::mt19937 random(static_cast<unsigned>(round * 100 + writer));
    HttpClient client(port);
    for (int step = 0;; ++step) {
      const std::string name = fmt::format("w{}-{}", writer, random() % 12);
      const bool exists = objects[name].revision != 0;
      pending_name = name;
      pending_token =
          exists && random() % 4 == 0 ? "" : fmt::format("t{}-{}-{}", writer, round, step);
      const bool removal = pending_token.empty();
      const std::string body = removal ? "" : config_map(name, pending_token);
      const std::string path = exists ? fmt::format("{}/{}", kPath, name) : kPath;
      const auto answer = client.send(removal ? "DELETE" : exists ? "PUT" : "POST", path, body);
      if (!answer) return;
      ASSERT_EQ(answer->status / 100, 2) << answer->body;
      ++acknowledged;
      const schema::Document written = answer->json();
      if (removal) {
        objects[name] = {};
      } else {
        objects[name] = known_of(written.root);
        ASSERT_GT(objects[name].revision, newest) << "revisions go back";
        newest = objects[name].revision;
      }
      pending_name.clear();
    }
  }

  // `now`: what the server says after its restart.
  void compare(const std::map<std::string, Known>& now) {
    for (auto& [name, known] : objects) {
      const auto found = now.find(name);
      const Known there = found == now.end() ? Known() : found->second;
      if (name == pending_name) {
        const bool happened = there.token == pending_token;
        EXPECT_TRUE(there == known || happened)
            << name << " is at " << there.revision << " with " << there.token << "; acknowledged "
            << known.revision << " with " << known.token << ", asked for " << pending_token;
        known = there;
      } else {
        EXPECT_EQ(there.revision, known.revision) << name;
        EXPECT_EQ(there.token, known.token) << name;
      }
    }
    pending_name.clear();
  }
};

// Follows the collection with one watch after the other.
struct Watcher {
  std::map<std::string, Known> objects;
  int64_t revision = 0;
  int events = 0;
  int expired = 0;

  // Until the server goes, or `silence` passes without a word.
  void follow(uint16_t port, milliseconds silence) {
    WatchClient watch(port, fmt::format("{}?watch=true&resourceVersion={}", kPath, revision));
    if (watch.status() == 0) return;
    ASSERT_EQ(watch.status(), 200);
    while (const auto line = watch.next(silence)) {
      const auto event = schema::parse_json(*line);
      ASSERT_TRUE(event) << *line;
      const schema::Value& object = event->root.get("object");
      const std::string_view type = event->root.get("type").as_string();
      if (type == "ERROR") {
        ASSERT_EQ(object.get("code").as_int(), 410) << *line;
        ++expired;
        return;
      }
      ++events;
      const int64_t at = number(object.at("metadata.resourceVersion").as_string());
      ASSERT_GT(at, revision) << "an event twice, or out of its order: " << *line;
      revision = at;
      const std::string name(object.at("metadata.name").as_string());
      if (!is_ours(name)) continue;
      if (type == "DELETED") {
        ASSERT_EQ(objects.erase(name), 1u) << name << " was not there";
      } else {
        ASSERT_EQ(objects.contains(name), type == "MODIFIED") << *line;
        objects[name] = known_of(object);
      }
    }
  }
};

struct Listed {
  std::map<std::string, Known> objects;
  int64_t revision = 0;
};

Listed list(uint16_t port) {
  Listed listed;
  const auto answer = HttpClient(port).send("GET", kPath);
  if (!answer || answer->status != 200) {
    ADD_FAILURE() << "no list";
    return listed;
  }
  const schema::Document document = answer->json();
  listed.revision = number(document.root.at("metadata.resourceVersion").as_string());
  for (const schema::Value& item : document.root.get("items").items()) {
    const std::string name(item.at("metadata.name").as_string());
    if (is_ours(name)) listed.objects[name] = known_of(item);
  }
  return listed;
}

TEST(Kill, AcknowledgedWritesStayAndOthersAreWholeOrNotThere) {
  constexpr int kRounds = 12;
  const store::Scratch scratch;
  ServerProcess server(scratch.path(""));
  std::mt19937 random(7);
  std::vector<Writer> writers(kWriters);
  Watcher watcher;
  Listed before = list(server.port());
  watcher.revision = before.revision;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kWriters; ++i) {
      threads.emplace_back(
          [&, i] { writers[static_cast<size_t>(i)].run(server.port(), i, round); });
    }
    threads.emplace_back([&] { watcher.follow(server.port(), std::chrono::seconds(30)); });
    std::this_thread::sleep_for(milliseconds(20 + random() % 150));
    server.kill();
    for (std::thread& thread : threads) thread.join();
    server.start_again();

    const Listed now = list(server.port());
    EXPECT_GE(now.revision, before.revision);
    size_t there = 0;
    for (Writer& writer : writers) {
      EXPECT_GE(now.revision, writer.newest) << "an acknowledged revision is gone";
      writer.compare(now.objects);
      for (const auto& [name, known] : writer.objects) there += known.revision != 0 ? 1 : 0;
    }
    EXPECT_EQ(there, now.objects.size()) << "objects that nobody made";
    EXPECT_LE(watcher.revision, now.revision) << "an event of what has not happened";
    before = now;
    if (HasFailure()) break;
  }
  int acknowledged = 0;
  for (const Writer& writer : writers) acknowledged += writer.acknowledged;
  EXPECT_GT(acknowledged, kRounds);
  // The watch, continued across every kill, has seen the same.
  watcher.follow(server.port(), milliseconds(300));
  EXPECT_EQ(watcher.expired, 0);
  EXPECT_GE(watcher.events, acknowledged);
  EXPECT_EQ(watcher.objects, before.objects);
}

}  // namespace
}  // namespace fairlead::server_test
