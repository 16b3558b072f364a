// Removes what has lost its owners, in the background or before them, and lets go what shall
// outlive them. owner_graph.h decides; here is how decisions are carried out.
//
// An owner that was never seen is looked up before anything is removed because of its absence.
// Every removal is conditional on the object being what the decision was about.
//
// Threads: the loop's.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/controllers/controller.h"
#include "control/controllers/owner_graph.h"

namespace fairlead::controllers {

class GarbageCollector final : public Controller {
 public:
  explicit GarbageCollector(Context context);

  void enqueue_all() override;

 protected:
  Plan plan(const std::string& uid) override;
  void work(const std::string& uid, DoneWorking done) override;

 private:
  void changed(const schema::Resource& resource, const ObjectPtr& before, const ObjectPtr& after);
  Decision decide(const OwnedObject& object);
  Plan plan_of(const OwnedObject& object, const Decision& decision);
  void ask(std::string uid, std::vector<OwnerReference> owners, Duration again, DoneWorking done);
  Duration until_heard(const std::string& uid, const schema::Resource& kind);
  void report_places(const OwnedObject& object);
  Write without_owners(const OwnedObject& object, const std::vector<OwnerReference>& owners);
  Write without_finalizer(const OwnedObject& object, std::string_view finalizer);
  ObjectPtr cached(const OwnedObject& object) const;

  std::vector<Informer*> informers_;
  OwnerGraph graph_;
  std::set<std::string> absent_;                // uids of which the server said that they are not
  std::unordered_map<std::string, int> looks_;  // how often owners were there but not cached
  std::set<std::string> reported_;              // "dependent owner" uids
};

}  // namespace fairlead::controllers
