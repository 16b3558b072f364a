// The server's inside: the store, the watches that stand, the faults that wait, and the handlers.
//
// Threads: all public functions from any thread; one mutex guards everything. Nothing that calls
// back into us (start_stream, respond) happens under it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "control/net/server.h"
#include "tests/api_server/api_error.h"
#include "tests/api_server/api_server.h"
#include "tests/api_server/route.h"
#include "tests/api_server/store.h"
#include "tests/api_server/timers.h"

namespace fairlead::api_server {

// Lets threads wait for "something has happened".
class Notifier {
 public:
  void notify();
  bool wait_until(const std::function<bool()>& predicate, std::chrono::milliseconds patience);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t count_ = 0;
};

struct Watch {
  const Resource* resource = nullptr;
  std::string path;  // of the request
  std::string name_space;
  Selector selector;
  bool bookmarks = false;
  uint64_t delivered = 0;  // everything up to this version has been written
  bool closed = false;
  std::shared_ptr<net::Stream> stream;
};

class Core {
 public:
  explicit Core(const ApiServerOptions& options);

  void handle(const net::HttpRequest& request, std::unique_ptr<net::Responder> responder)
      EXCLUDES(mutex_);

  // As in ApiServer.
  void add_type(ResourceType type) EXCLUDES(mutex_);
  void set_served(const std::string& path, bool served) EXCLUDES(mutex_);
  Status put(std::string_view json) EXCLUDES(mutex_);
  Status remove(const std::string& path, const std::string& name_space, const std::string& name)
      EXCLUDES(mutex_);
  Result<std::string> get(const std::string& path, const std::string& name_space,
                          const std::string& name) EXCLUDES(mutex_);
  size_t size(const std::string& path) EXCLUDES(mutex_);
  uint64_t version() EXCLUDES(mutex_);
  void compact() EXCLUDES(mutex_);
  void inject(Fault fault) EXCLUDES(mutex_);
  void clear_faults() EXCLUDES(mutex_);
  size_t cut_watches(const std::string& path, bool mid_line) EXCLUDES(mutex_);
  size_t send_to_watches(const std::string& path, const std::string& bytes) EXCLUDES(mutex_);
  size_t send_bookmarks(const std::string& path) EXCLUDES(mutex_);
  void set_watches_paused(bool paused) EXCLUDES(mutex_);
  Counters counters() EXCLUDES(mutex_);
  std::vector<RecordedRequest> recorded(const std::string& path) EXCLUDES(mutex_);
  Notifier& notifier() { return notifier_; }

 private:
  using SharedResponder = std::shared_ptr<net::Responder>;
  struct Stalled {
    net::HttpRequest request;
    SharedResponder responder;
  };
  struct WatchStart {  // either an error or a watch to begin
    std::optional<ApiError> error;
    std::shared_ptr<Watch> watch;
    bool from_the_beginning = false;
    bool marks_initial_end = false;
  };

  // core.cc
  bool admits(const net::HttpRequest& request) const;
  std::optional<Fault> take_fault(const std::string& path, Verb verb) REQUIRES(mutex_);
  void count(const net::HttpRequest& request, const Route& route) REQUIRES(mutex_);
  void meet_fault(const Fault& fault, const net::HttpRequest& request, SharedResponder responder)
      EXCLUDES(mutex_);
  // The right answer.
  void answer(const net::HttpRequest& request, SharedResponder responder,
              const Fault* fault = nullptr) EXCLUDES(mutex_);

  // requests.cc
  net::HttpResponse dispatch(const net::HttpRequest& request, const Route& route,
                             Resource& resource) REQUIRES(mutex_);
  net::HttpResponse list(const net::HttpRequest& request, const Route& route,
                         const Resource& resource) REQUIRES(mutex_);
  net::HttpResponse create(const net::HttpRequest& request, const Route& route, Resource& resource)
      REQUIRES(mutex_);
  net::HttpResponse update(const net::HttpRequest& request, const Route& route, Resource& resource)
      REQUIRES(mutex_);
  net::HttpResponse erase(const Route& route, Resource& resource) REQUIRES(mutex_);

  // watches.cc
  WatchStart prepare_watch(const net::HttpRequest& request, const Route& route,
                           const Resource& resource) REQUIRES(mutex_);
  void begin_watch(const net::HttpRequest& request, WatchStart start, SharedResponder responder,
                   const Fault* fault) EXCLUDES(mutex_);
  void write_initial(Watch& watch, bool mark_end) REQUIRES(mutex_);
  void deliver(const Resource& resource) REQUIRES(mutex_);
  void advance(Watch& watch) REQUIRES(mutex_);
  void expire(Watch& watch) REQUIRES(mutex_);
  void end_watch(const std::weak_ptr<Watch>& weak) EXCLUDES(mutex_);
  void tick_bookmarks();
  std::shared_ptr<const std::string> event_line(const Watch& watch, const Change& change)
      REQUIRES(mutex_);

  const ApiServerOptions options_;
  Notifier notifier_;
  Mutex mutex_;
  Store store_ GUARDED_BY(mutex_);
  std::set<std::string> unserved_ GUARDED_BY(mutex_);
  std::list<std::shared_ptr<Watch>> watches_ GUARDED_BY(mutex_);
  bool paused_ GUARDED_BY(mutex_) = false;
  std::list<Fault> faults_ GUARDED_BY(mutex_);
  std::vector<Stalled> stalled_ GUARDED_BY(mutex_);
  Counters counters_ GUARDED_BY(mutex_);
  std::set<std::string> peers_ GUARDED_BY(mutex_);
  std::vector<RecordedRequest> recorded_ GUARDED_BY(mutex_);
  // The event line written last: most watches of a type want the same one.
  uint64_t line_version_ GUARDED_BY(mutex_) = 0;
  ChangeType line_type_ GUARDED_BY(mutex_) = ChangeType::kAdded;
  std::shared_ptr<const std::string> line_ GUARDED_BY(mutex_);
  Timers timers_;  // last: its thread uses all of the above
};

constexpr const char* kJson = "application/json";

}  // namespace fairlead::api_server
