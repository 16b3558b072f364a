// Rules that somebody else damages are repaired within the audit period; --cleanup removes ours and
// nobody else's.
#include <sstream>

#include "tests/e2e/scenario.h"

namespace fairlead::e2e {
namespace {

constexpr std::string_view kForeignTable = "somebody_elses";

// An object inside an nftables table, as nft names it: "chain ip filter input".
struct NftObject {
  std::string kind;   // "table", "chain", "map", "set"
  std::string table;  // "ip fairlead"
  std::string name;   // empty for a table
  std::string text;   // its listing

  std::string path() const { return table + (name.empty() ? "" : " " + name); }
};

class Rules : public Scenario {
 protected:
  std::string nft(const std::string& commands) {
    Result<harness::CommandResult> result = world().at("node-a").run([&] {
      return harness::run_command({"nft", "-f", "-"}, commands);
    });
    EXPECT_TRUE(result.ok() && result->exit_code == 0)
        << commands << (result ? result->output : "");
    return result ? result->output : "";
  }

  // Everything in the node's tables for this family but the foreign one.
  std::vector<NftObject> our_objects(const std::string& kind) {
    std::vector<NftObject> found;
    std::istringstream lines(nft("list ruleset\n"));
    std::string table;
    bool ours = false;
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string first, second, third;
      words >> first >> second >> third;
      if (first == "table") {
        table = second + " " + third;
        ours = third == "fairlead" && second != (family() == Family::kIPv4 ? "ip6" : "ip");
        if (ours && kind == "table") found.push_back({kind, table, "", ""});
      } else if (!ours) {
        continue;
      } else if (first == kind && line.ends_with("{")) {
        found.push_back({kind, table, second, ""});
        inside = true;
      } else if (line == "\t}") {
        inside = false;
      } else if (inside) {
        found.back().text += line + "\n";
      }
    }
    return found;
  }

  void expect_repair(const std::string& damage) {
    SCOPED_TRACE(damage);
    const double repairs = world().proxy().metric("fairlead_audit_repairs_total");
    nft(damage);
    for (const Target& target : web_->at_cluster_ip(family())) {
      EXPECT_TRUE(eventually([&] { return ask(pod(), target, kSilence).fate == Fate::kAnswered; }));
    }
    EXPECT_TRUE(eventually([&] {
      return world().proxy().metric("fairlead_audit_repairs_total") > repairs;
    })) << "repaired, but not counted";
    reaches(everywhere(), web_->at_cluster_ip(family()), {"a1", "b1"});
    reaches({outside()}, web_->at_node_port(family()), {"a1", "b1"}, Seen::kNode);
    refused(everywhere(), empty_->at_cluster_ip(family()));
  }

  void SetUp() override {
    Scenario::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    web_ = service().endpoints({"a1", "b1"}).node_port();
    empty_ = service("empty").no_endpoints();
    web_->write();
    empty_->apply();
  }

  std::optional<ServiceObject> web_;
  std::optional<ServiceObject> empty_;
};
FAIRLEAD_SCENARIOS_OF(Rules, "nftables");

TEST_P(Rules, DeletedTablesComeBack) {
  for (const NftObject& table : our_objects("table")) expect_repair("delete table " + table.path());
}

TEST_P(Rules, AFlushedRulesetComesBack) {
  expect_repair("flush ruleset");
}

TEST_P(Rules, FlushedChainsAreFilledAgain) {
  for (const NftObject& chain : our_objects("chain")) {
    if (chain.text.find("hook") == std::string::npos) continue;
    expect_repair("flush chain " + chain.path());
  }
}

TEST_P(Rules, SingleElementsComeBack) {
  // All elements about one address, in each map or set: "10.96.0.9 . tcp . 80 : goto ..." loses its
  // key.
  const std::string address = of(web_->cluster_ip());
  int deleted = 0;
  for (const char* kind : {"map", "set"}) {
    for (const NftObject& object : our_objects(kind)) {
      const size_t at = object.text.find(address + " ");
      if (at == std::string::npos) continue;
      const std::string key =
          object.text.substr(at, object.text.find_first_of(":,}\n", at + address.size()) - at);
      ++deleted;
      expect_repair("delete element " + object.path() + " { " + key + " }");
    }
  }
  EXPECT_GT(deleted, 0) << "no element names the service's address";
}

TEST_P(Rules, AddedElementsAndRulesGo) {
  for (const NftObject& chain : our_objects("chain")) {
    if (chain.text.find("hook prerouting") == std::string::npos) continue;
    expect_repair("insert rule " + chain.path() + " meta l4proto { tcp, udp } drop");
  }
}

TEST_P(Rules, CleanupRemovesOursAndNobodyElses) {
  nft("table ip " + std::string(kForeignTable) +
      " {\n chain c {\n type filter hook forward priority 0; policy accept;\n counter\n }\n}\n");
  ASSERT_FALSE(our_objects("table").empty());
  world().stop_proxy();
  const Status cleaned = world().clean_up();
  EXPECT_TRUE(cleaned.ok()) << cleaned.message();
  const std::string left = nft("list ruleset\n");
  EXPECT_EQ(left.find("table"), left.rfind("table")) << "more than the foreign table:\n" << left;
  EXPECT_NE(left.find("table ip " + std::string(kForeignTable)), std::string::npos) << left;
  EXPECT_NE(left.find("counter"), std::string::npos) << left;
  dropped({outside()}, web_->at_cluster_ip(family()));
  const Status again = world().clean_up();
  EXPECT_TRUE(again.ok()) << "with nothing left to remove: " << again.message();

  ASSERT_TRUE(world().start_proxy().ok());
  settle();
  reaches(everywhere(), web_->at_cluster_ip(family()), {"a1", "b1"});
  EXPECT_NE(nft("list ruleset\n").find(kForeignTable), std::string::npos);
  nft("delete table ip " + std::string(kForeignTable) + "\n");
}

}  // namespace
}  // namespace fairlead::e2e
