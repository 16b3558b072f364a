// Namespaces that are being deleted: everything in them goes, finalizers of what is in them are
// waited for, and then the namespace's own finalizer "kubernetes" is taken away, upon which the API
// server removes it.
//
// Pods go first (KEP-5080): no policy that protects a pod ends before the pod does.
//
// Threads: the pure functions anywhere; the controller is the loop's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/controllers/controller.h"

namespace fairlead::controllers {

// What a pass over a namespace found.
struct NamespaceFindings {
  std::vector<std::string> failures;         // resources that could not be emptied, and why
  std::map<std::string, size_t> remaining;   // "pods." or "deployments.apps" to objects
  std::map<std::string, size_t> finalizers;  // finalizer to objects that wait for it
  bool done() const { return failures.empty() && remaining.empty(); }
};

// One write, or none when everything is said already: the status with phase and conditions, or,
// when all is gone, the finalizer's removal.
Plan plan_namespace(const schema::Value& space, const NamespaceFindings& findings,
                    int64_t unix_microseconds);

class NamespaceController final : public Controller {
 public:
  // `grace`: from when a namespace is seen to terminate until it may go, however empty it is.
  NamespaceController(Context context, Duration grace);

  void enqueue_all() override;

 protected:
  Plan plan(const std::string& key) override;
  void work(const std::string& key, DoneWorking done) override;

 private:
  struct Pass;

  void confirm(std::shared_ptr<Pass> pass, std::function<void()> go_on);
  void next(std::shared_ptr<Pass> pass);
  void count(std::shared_ptr<Pass> pass, const schema::Resource& row, Listing listing);
  void conclude(std::shared_ptr<Pass> pass);

  const Duration grace_;
  Informer& spaces_;
  std::unordered_map<std::string, TimePoint> terminating_;  // uid to when it was seen
  std::vector<const schema::Resource*> rows_;               // pods first
};

}  // namespace fairlead::controllers
