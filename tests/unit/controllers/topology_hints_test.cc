// Hints: shares of zones and endpoints by zone, to endpoints by hint.
#include "control/controllers/topology_hints.h"

#include <random>

#include "support.h"

namespace fairlead::controllers {
namespace {

// "a b:b -c": an endpoint in zone a without hint, one in b hinted to b, one in c that is not ready.
std::vector<EndpointRow> rows(std::string_view text) {
  std::vector<EndpointRow> made;
  for (std::string_view word : schema::words(text)) {
    EndpointRow row;
    row.ready = word[0] != '-';
    if (word[0] == '-') word.remove_prefix(1);
    const size_t colon = word.find(':');
    row.zone = word.substr(0, colon);
    if (colon != std::string_view::npos) row.hint_zones.emplace_back(word.substr(colon + 1));
    made.push_back(std::move(row));
  }
  return made;
}

std::string text_of(const std::vector<Slice>& slices) {
  std::string made;
  for (const Slice& slice : slices) {
    for (const EndpointRow& row : slice.endpoints) {
      made += made.empty() ? "" : " ";
      made += (row.is_ready() ? "" : "-") + row.zone;
      for (const std::string& zone : row.hint_zones) made += ":" + zone;
    }
  }
  return made;
}

struct HintCase {
  std::string_view what;
  HintMode mode;
  ZoneShares shares;
  std::string_view kept;
  std::string_view created;
  std::string_view then_kept;
  std::string_view then_updated;
  std::string_view then_created;
};

TEST(Hints, Cases) {
  const ZoneShares half = {{"a", 0.5}, {"b", 0.5}};
  const ZoneShares third = {{"a", 1.0 / 3}, {"b", 1.0 / 3}, {"c", 1.0 / 3}};
  const HintCase cases[] = {
      {"own zone", HintMode::kOwnZone, {}, "", "a -b c", "", "", "a:a -b c:c"},
      {"own zone, known already", HintMode::kOwnZone, {}, "a:a -b", "", "a:a -b", "", ""},
      {"none takes hints away", HintMode::kNone, {}, "a:a b", "", "", "a b", ""},
      {"even", HintMode::kByShare, half, "", "a b", "", "", "a:a b:b"},
      {"one lends to the other", HintMode::kByShare, half, "", "a a a a", "", "",
       "a:a a:a a:b a:b"},
      {"what is not ready has none", HintMode::kByShare, half, "", "a -a b", "", "", "a:a -a b:b"},
      {"fewer endpoints than zones", HintMode::kByShare, third, "", "a b", "", "", "a b"},
      {"an endpoint without zone", HintMode::kByShare, half, "", "a b :", "", "", "a b :"},
      {"no shares", HintMode::kByShare, {}, "a:a b:b", "", "", "a b", ""},
      {"a zone without nodes gives", HintMode::kByShare, half, "", "a x", "", "", "a:a x:b"},
      {"fair enough stays", HintMode::kByShare, half, "a:b b:a", "a b", "a:b b:a", "", "a:a b:b"},
      {"unfair is dealt anew", HintMode::kByShare, half, "a:a b:a a:a b:a", "", "",
       "a:a b:b a:a b:b", ""},
      {"an uneven division that would overload",
       HintMode::kByShare,
       {{"a", 0.5}, {"b", 0.5}},
       "",
       "a b a",
       "",
       "",
       "a b a"},
  };
  for (const HintCase& row : cases) {
    SliceChanges changes;
    if (!row.kept.empty()) changes.keep.emplace_back().endpoints = rows(row.kept);
    if (!row.created.empty()) changes.create.emplace_back().endpoints = rows(row.created);
    set_hints(row.mode, row.shares, &changes);
    EXPECT_EQ(text_of(changes.keep), row.then_kept) << row.what;
    EXPECT_EQ(text_of(changes.update), row.then_updated) << row.what;
    // A lone ":" is an endpoint without zone: it reads back as nothing.
    std::string expected(row.then_created);
    if (expected.size() > 1 && expected.ends_with(" :")) expected.pop_back();
    EXPECT_EQ(text_of(changes.create), expected) << row.what;
  }
}

// However endpoints and CPU lie: either nobody has hints or no zone carries more than 1.2 times its
// share, every ready endpoint has exactly one hint, and doing it again changes nothing.
TEST(Hints, KeepTheirPromiseWhateverTheZones) {
  std::mt19937 random(7);
  int hinted = 0;
  for (int round = 0; round < 500; ++round) {
    ZoneShares shares;
    const int zones = 2 + static_cast<int>(random() % 3);
    double total = 0;
    for (int i = 0; i < zones; ++i) total += shares[std::string(1, 'a' + i)] = 1 + random() % 4;
    for (auto& [zone, share] : shares) share /= total;
    SliceChanges changes;
    const int endpoints = static_cast<int>(random() % 30);
    changes.create.emplace_back();
    for (int i = 0; i < endpoints; ++i) {
      EndpointRow row;
      row.zone = std::string(1, 'a' + static_cast<int>(random() % zones));
      row.ready = true;
      changes.create[0].endpoints.push_back(row);
    }
    set_hints(HintMode::kByShare, shares, &changes);
    std::map<std::string, int> counts;
    for (const EndpointRow& row : changes.create[0].endpoints) {
      if (!row.hint_zones.empty()) ++counts[row.hint_zones[0]];
    }
    if (counts.empty()) continue;
    ++hinted;
    int sum = 0;
    for (const auto& [zone, share] : shares) {
      sum += counts[zone];
      EXPECT_LE(share * endpoints, 1.2 * counts[zone] + 1e-6) << "round " << round;
    }
    EXPECT_EQ(sum, endpoints) << "round " << round;
    SliceChanges again;
    again.keep = changes.create;
    set_hints(HintMode::kByShare, shares, &again);
    EXPECT_TRUE(again.update.empty()) << "round " << round;
  }
  EXPECT_GT(hinted, 100);
}

TEST(ZoneShares, OfNodes) {
  const auto node = [](std::string_view zone, std::string_view cpu, std::string_view labels = "",
                       std::string_view ready = "True") {
    return object(fmt::format(
        "{{metadata: {{labels: {{topology.kubernetes.io/zone: '{}'{}}}}}, status: {{allocatable: "
        "{{cpu: {}}}, conditions: [{{type: Ready, status: '{}'}}]}}}}",
        zone, labels, cpu, ready));
  };
  const auto text = [](const ZoneShares& shares) {
    std::string made;
    for (const auto& [zone, share] : shares) made += fmt::format("{}={:.2f} ", zone, share);
    return made;
  };
  EXPECT_EQ(text(zone_shares({node("a", "'500m'"), node("b", "'1500m'")})), "a=0.25 b=0.75 ");
  EXPECT_EQ(text(zone_shares({node("a", "1"), node("b", "1"),
                              node("c", "1", ", node-role.kubernetes.io/control-plane: ''"),
                              node("d", "1", "", "False")})),
            "a=0.50 b=0.50 ");
  EXPECT_EQ(text(zone_shares({node("a", "1")})), "");
  EXPECT_EQ(text(zone_shares({node("a", "1"), node("b", "1"), node("", "1")})), "");
  EXPECT_EQ(text(zone_shares({node("a", "1"), node("b", "many")})), "");
}

TEST(HintMode, Reads) {
  const std::string mode = "service.kubernetes.io/topology-mode: ";
  const std::string deprecated = "service.kubernetes.io/topology-aware-hints: ";
  struct {
    std::string annotations;
    std::string spec;
    HintMode expected;
  } cases[] = {
      {"", "", HintMode::kNone},
      {mode + "Auto", "", HintMode::kByShare},
      {deprecated + "auto", "", HintMode::kByShare},
      {mode + "Disabled, " + deprecated + "Auto", "", HintMode::kByShare},
      {mode + "Auto, " + deprecated + "Disabled", "", HintMode::kNone},
      {"", "trafficDistribution: PreferClose", HintMode::kOwnZone},
      {mode + "Auto", "trafficDistribution: PreferClose", HintMode::kByShare},
  };
  for (const auto& row : cases) {
    const ObjectPtr service = object(fmt::format(
        "{{metadata: {{annotations: {{{}}}}}, spec: {{{}}}}}", row.annotations, row.spec));
    EXPECT_EQ(hint_mode(*service), row.expected) << row.annotations << " " << row.spec;
  }
}

}  // namespace
}  // namespace fairlead::controllers
