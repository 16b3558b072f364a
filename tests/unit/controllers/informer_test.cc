// The cache: what handlers hear and what indexes find, with writes learned of before their events.
#include "control/controllers/informer.h"

#include "control/controllers/loop_cluster.h"
#include "fake_cluster.h"
#include "manual_loop.h"
#include "support.h"

namespace fairlead::controllers {
namespace {

class InformerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    by_node_ = informer_.add_index([](const Value& pod, std::vector<std::string>* keys) {
      keys->emplace_back(pod.at("spec").get("nodeName").as_string());
    });
    informer_.add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
      heard_ += heard_.empty() ? "" : " ";
      heard_ += before ? (after ? "~" : "-") : "+";
      heard_ += name_of(after ? *after : *before);
    });
  }
  ObjectPtr put(std::string_view name, std::string_view node) {
    return cluster_.put(
        fmt::format("{{apiVersion: v1, kind: Pod, metadata: {{name: {}, namespace: "
                    "d}}, spec: {{nodeName: {}}}}}",
                    name, node));
  }
  std::string heard() {
    EXPECT_TRUE(loop_->run());
    std::string taken;
    taken.swap(heard_);
    return taken;
  }
  std::string on(const std::string& node) const {
    std::string made;
    for (const ObjectPtr& pod : informer_.by_index(by_node_, node)) {
      made += std::string(name_of(*pod)) + " ";
    }
    EXPECT_EQ(informer_.index_size(by_node_, node), schema::words(made).size());
    return made;
  }

  FakeCluster cluster_;
  std::shared_ptr<ManualLoop> loop_ = std::make_shared<ManualLoop>();
  LoopCluster on_loop_{cluster_, loop_};
  Informer informer_{on_loop_, *loop_, {&resource("", "v1", "pods"), "", ""}};
  size_t by_node_ = 0;
  std::string heard_;
};

TEST_F(InformerTest, ListsThenWatches) {
  put("a", "n1");
  informer_.start();
  EXPECT_FALSE(informer_.synced());
  EXPECT_EQ(heard(), "+a");
  EXPECT_TRUE(informer_.synced());
  put("b", "n1");
  put("a", "n2");
  EXPECT_EQ(heard(), "+b ~a");
  EXPECT_EQ(on("n1"), "b ");
  EXPECT_EQ(on("n2"), "a ");
  cluster_.erase("pods", "d", "a");
  EXPECT_EQ(heard(), "-a");
  EXPECT_EQ(on("n2"), "");
  EXPECT_EQ(informer_.in_space("d").size(), 1u);
  EXPECT_EQ(informer_.in_space("e").size(), 0u);
}

TEST_F(InformerTest, OldNewsDoesNotUndoWhatWasLearned) {
  informer_.start();
  EXPECT_EQ(heard(), "");
  cluster_.pause("pods");
  put("a", "n1");
  informer_.learn(put("a", "n2"));
  EXPECT_EQ(heard(), "+a");
  cluster_.resume();
  EXPECT_EQ(heard(), "") << "neither the older event nor the one that is known";
  EXPECT_EQ(on("n2"), "a ");
}

TEST_F(InformerTest, OldNewsDoesNotBringBackWhatIsGone) {
  const std::string uid(uid_of(*put("a", "n1")));
  informer_.start();
  EXPECT_EQ(heard(), "+a");
  cluster_.pause("pods");
  put("a", "n1");
  cluster_.erase("pods", "d", "a");
  informer_.learn_gone("d", "a", uid);
  EXPECT_EQ(heard(), "-a");
  put("a", "n1");
  cluster_.resume();
  EXPECT_EQ(heard(), "+a") << "the successor only";
}

TEST_F(InformerTest, AnAnswerThatComesAfterItsEventTeachesNothing) {
  informer_.start();
  const ObjectPtr first = put("a", "n1");
  EXPECT_EQ(heard(), "+a");
  cluster_.erase("pods", "d", "a");
  EXPECT_EQ(heard(), "-a");
  informer_.learn(first);
  EXPECT_EQ(heard(), "");
}

TEST_F(InformerTest, ASuccessorUnderTheSameNameIsAnother) {
  put("a", "n1");
  informer_.start();
  EXPECT_EQ(heard(), "+a");
  cluster_.pause("pods");
  cluster_.erase("pods", "d", "a");
  put("a", "n1");
  cluster_.lose_watches(Status::error(StatusCode::kExpired, "watch", "pods", "too old"));
  EXPECT_TRUE(loop_->advance(std::chrono::seconds(1)));
  EXPECT_EQ(heard(), "-a +a");
  EXPECT_EQ(informer_.lists(), 2u);
}

TEST_F(InformerTest, AListUndoesNothingThatWasLearnedSince) {
  put("a", "n1");
  const std::string uid(uid_of(*put("b", "n1")));
  informer_.start();
  EXPECT_EQ(heard(), "+a +b");
  cluster_.hold_lists();
  cluster_.lose_watches(Status::error(StatusCode::kExpired, "watch", "pods", "too old"));
  EXPECT_TRUE(loop_->advance(std::chrono::seconds(1)));
  informer_.learn(put("a", "n2"));
  informer_.learn(put("c", "n2"));
  cluster_.erase("pods", "d", "b");
  informer_.learn_gone("d", "b", uid);
  EXPECT_EQ(heard(), "~a +c -b");
  cluster_.let_lists_go();
  EXPECT_EQ(heard(), "") << "the list is older than all of that";
  EXPECT_EQ(on("n2"), "a c ");
  cluster_.erase("pods", "d", "c");
  EXPECT_EQ(heard(), "-c");
}

TEST_F(InformerTest, WhatGoesBetweenListAndWatchIsHeardOf) {
  put("a", "n1");
  cluster_.hold_lists();
  informer_.start();
  EXPECT_EQ(heard(), "");
  cluster_.erase("pods", "d", "a");
  cluster_.let_lists_go();
  EXPECT_EQ(heard(), "+a -a");
}

TEST_F(InformerTest, AnAbsentServerIsNoReasonToListAgain) {
  informer_.start();
  EXPECT_EQ(heard(), "");
  for (int i = 0; i < 5; ++i) {
    cluster_.lose_watches(Status::error(StatusCode::kUnavailable, "watch", "pods", "away"));
    put(fmt::format("p{}", i), "n1");
    EXPECT_TRUE(loop_->advance(std::chrono::milliseconds(100) * (1 << i)));
    EXPECT_EQ(heard(), fmt::format("+p{}", i));
  }
  EXPECT_EQ(informer_.lists(), 1u);
  // One that lasted: the next delay is short again.
  EXPECT_TRUE(loop_->advance(std::chrono::seconds(31)));
  cluster_.lose_watches(Status());
  put("last", "n1");
  EXPECT_TRUE(loop_->advance(std::chrono::milliseconds(100)));
  EXPECT_EQ(heard(), "+last");
}

TEST_F(InformerTest, AHistoryThatIsNeverThereIsNotAskedForAllTheTime) {
  informer_.start();
  EXPECT_EQ(heard(), "");
  for (int i = 0; i < 600; ++i) {
    cluster_.lose_watches(Status::error(StatusCode::kExpired, "watch", "pods", "too old"));
    EXPECT_TRUE(loop_->advance(std::chrono::milliseconds(100)));
  }
  EXPECT_LT(informer_.lists(), 12u) << "of a minute";
}

}  // namespace
}  // namespace fairlead::controllers
