// One control loop: a plan, computed from cached objects, that a queue runs until it holds.
//
// A plan is pure: it reads caches and says which writes would make the cluster as it should be. The
// runner makes the writes one after another, tells the caches what came of them, and tries a key
// again when one failed.
//
// Threads: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/controllers/cluster.h"
#include "control/controllers/informer.h"
#include "control/controllers/loop.h"
#include "control/controllers/work_queue.h"

namespace fairlead::controllers {

// What all controllers of one run share; outlives them.
struct Context {
  Cluster& cluster;  // completes on the loop
  Loop& loop;
  Informers& informers;
};

struct Write {
  enum class Verb : uint8_t { kCreate, kUpdate, kMergePatch, kRemove };

  Verb verb = Verb::kCreate;
  Reference what;
  std::string subresource;
  schema::Document body;  // none for kRemove
  RemoveOptions options;  // of kRemove
};

struct Plan {
  std::vector<Write> writes;
  // When the clock alone makes a new plan due; zero: never.
  Duration again{};
};

// How the work on a key went.
struct Worked {
  Status status;  // an error brings the key back, later and later
  Duration again{};
};

// Numbers for /metrics, since the start.
struct ControllerMetrics {
  std::string name;
  uint64_t depth = 0;      // keys waiting
  uint64_t in_flight = 0;  // keys worked on
  uint64_t adds = 0;
  uint64_t worked = 0;
  uint64_t retries = 0;
  uint64_t writes = 0;
  std::string last_error;  // empty: none yet
};

class Controller {
 public:
  Controller(Context context, std::string name, WorkQueue::Limits limits = {});
  virtual ~Controller() = default;

  // Work begins when everything needed is synced. After the constructor of the subclass.
  void start();
  // Puts every key into the queue: what a missed event left undone is done then.
  virtual void enqueue_all() = 0;
  ControllerMetrics metrics() const;

 protected:
  using DoneWorking = std::function<void(Worked)>;

  virtual Plan plan(const std::string& key) = 0;
  // Plans and performs; a controller whose decisions need more than caches does otherwise.
  // `done` is called once, now or later.
  virtual void work(const std::string& key, DoneWorking done);

  // An informer that has to be synced before work begins.
  Informer& needs(const schema::Resource& resource);
  void perform(Plan plan, DoneWorking done);
  void enqueue(const std::string& key) { queue_.add(key); }
  void enqueue_after(const std::string& key, Duration delay) { queue_.add_after(key, delay); }

  Context context_;
  Token token_;

 private:
  struct Performing;

  void step(std::shared_ptr<Performing> performing);
  void finished(const std::string& key, Worked worked);

  const std::string name_;
  std::vector<Informer*> needed_;
  size_t unsynced_ = 0;
  uint64_t worked_ = 0;
  uint64_t retries_ = 0;
  uint64_t writes_ = 0;
  std::string last_error_;
  WorkQueue queue_;
};

}  // namespace fairlead::controllers
