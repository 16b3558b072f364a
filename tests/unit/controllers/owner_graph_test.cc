// Garbage collection's decisions: a few objects, one line each, and what shall become of one.
#include "control/controllers/owner_graph.h"

#include "support.h"

namespace fairlead::controllers {
namespace {

// "pod:d/p owner:dep! flags": kind, place, the uids of owners ("!": blocks), and of "terminating",
// "foreground", "orphan". The uid is the name.
OwnedObject owned(std::string_view text) {
  const std::vector<std::string_view> words = schema::words(text);
  OwnedObject made;
  const size_t colon = words[0].find(':');
  const std::string_view kind = words[0].substr(0, colon);
  const auto [space, name] = split_key(words[0].substr(colon + 1));
  made.what.resource = kind == "node"     ? &resource("", "v1", "nodes")
                       : kind == "deploy" ? &resource("apps", "v1", "deployments")
                                          : &resource("", "v1", "pods");
  made.what.space = space;
  made.what.name = name;
  made.uid = name;
  made.revision = "1";
  for (size_t i = 1; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "terminating") made.terminating = true;
    if (word == "foreground") made.foreground = true;
    if (word == "orphan") made.orphan = true;
    if (!word.starts_with("owner:")) continue;
    word.remove_prefix(6);
    OwnerReference owner;
    owner.blocks = word.ends_with("!");
    if (owner.blocks) word.remove_suffix(1);
    owner.api_version = "apps/v1";
    owner.kind = "Deployment";
    if (word.starts_with("node-")) owner = {"v1", "Node", "", "", owner.blocks};
    if (word.starts_with("odd-")) owner = {"odd/v1", "Odd", "", "", owner.blocks};
    owner.name = word;
    owner.uid = word;
    made.owners.push_back(owner);
  }
  return made;
}

std::string decided(const std::vector<std::string_view>& world, std::string_view uid,
                    const std::set<std::string>& absent) {
  OwnerGraph graph;
  for (const std::string_view text : world) graph.put(owned(text));
  const OwnedObject* object = graph.find(uid);
  EXPECT_NE(object, nullptr);
  if (!object) return "";
  const Decision decision = graph.decide(
      *object, [&](std::string_view asked) { return absent.count(std::string(asked)) != 0; });
  constexpr std::string_view kActs[] = {"nothing",         "ask",    "remove", "drop-owners",
                                        "drop-foreground", "release"};
  constexpr std::string_view kHow[] = {"default", "background", "foreground", "orphan"};
  std::string made(kActs[static_cast<size_t>(decision.act)]);
  if (decision.act == Decision::Act::kRemove) {
    made += " " + std::string(kHow[static_cast<size_t>(decision.propagation)]);
  }
  for (const OwnerReference& owner : decision.owners) made += " " + owner.uid;
  for (const std::string& other : decision.look_at) made += " look:" + other;
  return made;
}

TEST(OwnerGraph, Decides) {
  struct {
    std::string_view what;
    std::vector<std::string_view> world;
    std::string_view about;
    std::set<std::string> absent;
    std::string_view expected;
  } cases[] = {
      {"nobody's", {"pod:d/p"}, "p", {}, "nothing"},
      {"its owner is there", {"deploy:d/o", "pod:d/p owner:o"}, "p", {}, "nothing"},
      {"its owner was never seen", {"pod:d/p owner:o"}, "p", {}, "ask o"},
      {"its owner is gone", {"pod:d/p owner:o"}, "p", {"o"}, "remove background"},
      {"one of two is gone",
       {"deploy:d/o", "pod:d/p owner:o owner:x"},
       "p",
       {"x"},
       "drop-owners x"},
      {"both are gone", {"pod:d/p owner:o owner:x"}, "p", {"o", "x"}, "remove background"},
      {"its owner is in another namespace", {"deploy:e/o", "pod:d/p owner:o"}, "p", {}, "ask o"},
      {"and is not in this one",
       {"deploy:e/o", "pod:d/p owner:o"},
       "p",
       {"o"},
       "remove background"},
      {"an owner outside of namespaces",
       {"node:/node-1", "pod:d/p owner:node-1"},
       "p",
       {},
       "nothing"},
      {"a namespaced owner of what has no namespace", {"node:/n owner:o"}, "n", {"o"}, "nothing"},
      {"a kind that is not served", {"pod:d/p owner:odd-1"}, "p", {"odd-1"}, "nothing"},
      {"terminating already", {"pod:d/p owner:o terminating"}, "p", {"o"}, "nothing"},
      {"the owner terminates in the background",
       {"deploy:d/o terminating", "pod:d/p owner:o"},
       "p",
       {},
       "nothing"},
      {"the owner waits",
       {"deploy:d/o terminating foreground", "pod:d/p owner:o!"},
       "p",
       {},
       "remove background"},
      {"the owner waits, and this has dependents",
       {"deploy:d/o terminating foreground", "pod:d/p owner:o!", "pod:d/q owner:p!"},
       "p",
       {},
       "remove foreground"},
      {"a circle",
       {"deploy:d/o owner:p! terminating foreground", "pod:d/p owner:o!"},
       "p",
       {},
       "remove background"},
      {"one of two owners waits",
       {"deploy:d/o terminating foreground", "deploy:d/x", "pod:d/p owner:o! owner:x"},
       "p",
       {},
       "drop-owners o"},
      {"waits for one that blocks",
       {"deploy:d/o terminating foreground", "pod:d/p owner:o!", "pod:d/q owner:o"},
       "o",
       {},
       "nothing look:p"},
      {"waits for nobody that blocks",
       {"deploy:d/o terminating foreground", "pod:d/q owner:o"},
       "o",
       {},
       "drop-foreground"},
      {"waits for one that terminates already",
       {"deploy:d/o terminating foreground", "pod:d/p owner:o! terminating"},
       "o",
       {},
       "nothing"},
      {"waits for itself only",
       {"deploy:d/o owner:o! terminating foreground"},
       "o",
       {},
       "drop-foreground"},
      {"two that wait for each other",
       {"deploy:d/o owner:p! terminating foreground", "deploy:d/p owner:o! terminating foreground"},
       "o",
       {},
       "drop-foreground"},
      {"three in a circle",
       {"deploy:d/o owner:q! terminating foreground", "deploy:d/p owner:o! terminating foreground",
        "deploy:d/q owner:p! terminating foreground"},
       "p",
       {},
       "drop-foreground"},
      {"a circle, and one more that it waits for",
       {"deploy:d/o owner:p! terminating foreground", "deploy:d/p owner:o! terminating foreground",
        "pod:d/q owner:o! terminating"},
       "o",
       {},
       "nothing"},
      {"before a circle that is not its own",
       {"deploy:d/o terminating foreground", "deploy:d/p owner:o! owner:q! terminating foreground",
        "deploy:d/q owner:p! terminating foreground"},
       "o",
       {},
       "nothing"},
      {"lets go its dependents",
       {"deploy:d/o terminating orphan", "pod:d/p owner:o"},
       "o",
       {},
       "release"},
      {"its finalizer says how it goes", {"pod:d/p owner:o orphan"}, "p", {"o"}, "remove orphan"},
  };
  for (const auto& row : cases) {
    EXPECT_EQ(decided(row.world, row.about, row.absent), row.expected) << row.what;
  }
}

TEST(OwnerGraph, TellsWhoseTurnItIs) {
  OwnerGraph graph;
  const auto text = [](const std::set<std::string>& uids) {
    return fmt::format("{}", fmt::join(uids, " "));
  };
  EXPECT_EQ(text(graph.put(owned("deploy:d/o"))), "");
  EXPECT_EQ(text(graph.put(owned("pod:d/p owner:o!"))), "p");
  EXPECT_EQ(text(graph.put(owned("pod:d/p owner:o!"))), "");  // nothing new
  EXPECT_EQ(text(graph.put(owned("deploy:d/o terminating foreground"))), "o p");
  EXPECT_EQ(text(graph.erase("p")), "o");
  EXPECT_EQ(text(graph.put(owned("pod:d/q owner:o"))), "q");
  EXPECT_EQ(text(graph.erase("o")), "q");
  EXPECT_EQ(text(graph.put(owned("pod:d/q"))), "o q");
  EXPECT_EQ(text(graph.erase("q")), "");
  EXPECT_EQ(graph.size(), 0u);
}

}  // namespace
}  // namespace fairlead::controllers
