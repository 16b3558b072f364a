#include "control/client/reflector.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

#include "control/client/backoff.h"
#include "control/client/known_objects.h"
#include "control/client/line_splitter.h"
#include "control/client/query.h"

namespace fairlead::client {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPageTimeout{60000};
constexpr milliseconds kHealthyAfter{60000};
// A watch that ended sooner than this and brought nothing counts as a failure, else a server that
// closes every watch at once would be asked without pause.
constexpr milliseconds kShortWatch{1000};
// So many watches in a row that brought nothing but an error: the resume point may be what is
// wrong.
constexpr int kFruitlessWatches = 5;

std::optional<uint64_t> as_number(std::string_view version) {
  uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(version.data(), version.data() + version.size(), number);
  if (error != std::errc() || end != version.data() + version.size()) return std::nullopt;
  return number;
}

bool expired(const api::ApiStatus& status) {
  return status.code == 410 || status.reason == "Expired" || status.reason == "Gone";
}

// The resume point is ahead of the server: its history was cut back.
bool ahead_of_server(const api::ApiStatus& status) {
  return status.message.find("Too large resource version") != std::string::npos;
}

class ReflectorImpl : public Reflector {
 public:
  ReflectorImpl(Client& client, ReflectorOptions options, ReflectorSink& sink)
      : client_(client),
        options_(std::move(options)),
        sink_(sink),
        splitter_(options_.max_watch_line_bytes),
        backoff_(options_.backoff_min, options_.backoff_max, options_.jitter_seed) {}

  ~ReflectorImpl() override { stop(); }

  void start() override {
    stopped_ = false;
    list();
  }

  void stop() override {
    stopped_ = true;
    for (Client::RequestId* id : {&request_, &timer_, &healthy_timer_, &lived_timer_}) drop(*id);
  }

  Statistics statistics() const override {
    Statistics statistics = statistics_;
    statistics.objects = known_.size();
    return statistics;
  }

 private:
  void drop(Client::RequestId& id) {
    if (id != 0) client_.cancel(std::exchange(id, 0));
  }

  void schedule(milliseconds delay, void (ReflectorImpl::*step)()) {
    drop(timer_);
    timer_ = client_.after(delay, [this, step] {
      timer_ = 0;
      (this->*step)();
    });
  }

  std::string base_path() const {
    std::string path = options_.path;
    if (!options_.label_selector.empty())
      add_query(&path, "labelSelector", options_.label_selector);
    if (!options_.field_selector.empty())
      add_query(&path, "fieldSelector", options_.field_selector);
    return path;
  }

  // --- Listing ---

  void list() {
    ++statistics_.lists;
    known_.begin_round();
    continue_token_.clear();
    list_version_.clear();
    request_page();
  }

  void request_page() {
    Request request;
    request.path = base_path();
    if (!whole_list_) add_query(&request.path, "limit", std::to_string(options_.page_size));
    if (!continue_token_.empty()) add_query(&request.path, "continue", continue_token_);
    request.max_body = options_.max_page_bytes;
    request.timeout = kPageTimeout;
    request_ = client_.send(std::move(request), [this](Result<Response> result) {
      request_ = 0;
      on_page(std::move(result));
    });
  }

  void on_page(Result<Response> result) {
    if (!result.ok()) return fail(result.status(), backoff_.next(), &ReflectorImpl::request_page);
    const Response& response = result.value();
    if (response.status == 200) return take_page(response.body);
    const Status failure = status_of(response, "list");
    const api::ApiStatus detail = decoder_.status(response.body);
    const bool in_the_middle = !continue_token_.empty();
    if (response.status == 410 || (response.status == 400 && in_the_middle)) {
      ++statistics_.expired;
      whole_list_ = in_the_middle && std::exchange(restarted_, true);
      return fail(failure, backoff_.next(), &ReflectorImpl::list);
    }
    if (response.status == 404) {
      sink_.on_unsupported();
      if (!stopped_) fail(failure, backoff_.longest(), &ReflectorImpl::list);
      return;
    }
    fail(failure, delay_after(response.retry_after, detail), &ReflectorImpl::request_page);
  }

  Result<api::ListHeader> read_page(const std::string& body) {
    return decoder_.list(
        body,
        [this](const api::RawObject& object) {
          if (!stopped_) upsert(object);
        },
        [this](size_t, const Status& reason) {
          if (!stopped_) sink_.on_malformed(reason);
        });
  }

  void take_page(const std::string& body) {
    Result<api::ListHeader> header = read_page(body);
    if (stopped_) return;
    const bool first_page = list_version_.empty();
    if (header.ok() && first_page && history_went_back(header->resource_version)) {
      // What was skipped as known has to come after all.
      known_.distrust_versions();
      resume_version_.clear();
      header = read_page(body);
      if (stopped_) return;
    }
    const Status wrong = !header.ok() ? header.status() : page_problem(header.value());
    if (!wrong.ok()) {
      sink_.on_malformed(wrong);
      if (!stopped_) fail(wrong, backoff_.next(), &ReflectorImpl::list);
      return;
    }
    // All pages are of the version that the first one named; should one not be, the oldest is the
    // one from which no event is missed.
    if (first_page) list_version_ = header->resource_version;
    continue_token_ = header->continue_token;
    if (!continue_token_.empty()) return request_page();
    finish_list();
  }

  Status page_problem(const api::ListHeader& header) const {
    std::string_view reason;
    if (header.resource_version.empty()) reason = "metadata.resourceVersion is missing";
    if (!header.continue_token.empty() && header.continue_token == continue_token_) {
      reason = "metadata.continue does not advance";
    }
    if (reason.empty()) return {};
    return Status::error(StatusCode::kInvalid, "list", options_.path, reason);
  }

  bool history_went_back(const std::string& list_version) const {
    const auto now = as_number(list_version);
    const auto before = as_number(resume_version_);
    return now && before && *now < *before;
  }

  void finish_list() {
    bool stopped = false;
    known_.sweep([&](const std::string& name_space, const std::string& name) {
      stopped = stopped_;
      if (!stopped) sink_.on_remove(name_space, name);
    });
    if (stopped_) return;
    resume_version_ = list_version_;
    restarted_ = false;
    whole_list_ = false;
    progress_since_list_ = false;
    fruitless_watches_ = 0;
    sink_.on_listed();
    if (!stopped_) watch();
  }

  void upsert(const api::RawObject& object) {
    // Without a version there is nothing to compare.
    const bool news = known_.upsert(object.name_space, object.name, object.resource_version);
    if (news || object.resource_version.empty()) sink_.on_upsert(object);
  }

  // --- Watching ---

  void watch() {
    ++statistics_.watches;
    splitter_.reset();
    progress_ = false;
    lived_ = false;
    Request request;
    request.path = base_path();
    add_query(&request.path, "watch", "true");
    add_query(&request.path, "allowWatchBookmarks", "true");
    add_query(&request.path, "resourceVersion", resume_version_);
    if (options_.watch_timeout_min.count() > 0) {
      const milliseconds least = options_.watch_timeout_min;
      const auto timeout = backoff_.spread(least, least * 2);
      add_query(&request.path, "timeoutSeconds",
                std::to_string(std::chrono::ceil<std::chrono::seconds>(timeout).count()));
    }
    request.timeout = milliseconds(0);
    request.silence_limit = options_.silence_limit;
    StreamCallbacks callbacks;
    callbacks.on_headers = [this](int status) {
      if (status == 200) on_watching();
    };
    callbacks.on_data = [this](std::string_view bytes) { return on_data(bytes); };
    callbacks.on_end = [this](Result<Response> result) {
      request_ = 0;
      drop(lived_timer_);
      on_watch_end(result);
    };
    request_ = client_.stream(std::move(request), std::move(callbacks));
  }

  void on_watching() {
    drop(lived_timer_);
    lived_timer_ = client_.after(kShortWatch, [this] {
      lived_timer_ = 0;
      lived_ = true;
    });
    if (healthy_timer_ == 0) {
      healthy_timer_ = client_.after(kHealthyAfter, [this] {
        healthy_timer_ = 0;
        backoff_.reset();
      });
    }
    sink_.on_health(Status());
  }

  bool on_data(std::string_view bytes) {
    if (stopped_) return false;
    const auto outcome =
        splitter_.feed(bytes, [this](std::string_view line) { return on_line(line); });
    if (outcome == LineSplitter::Outcome::kTooLong) {
      lost_event(Status::error(
          StatusCode::kExhausted, "watch", options_.path,
          fmt::format("a line is longer than {} bytes", options_.max_watch_line_bytes)));
    }
    return outcome == LineSplitter::Outcome::kMore && !stopped_;
  }

  // False ends the watch; what comes next has been scheduled then.
  bool on_line(std::string_view text) {
    const Result<api::WatchLine> result = decoder_.watch_line(text);
    if (!result.ok()) {
      lost_event(result.status());
      return false;
    }
    const api::WatchLine& line = result.value();
    switch (line.type) {
      case api::WatchType::kError:
        on_error_event(line.status);
        return false;
      case api::WatchType::kAdded:
      case api::WatchType::kModified:
        upsert(line.object);
        break;
      case api::WatchType::kDeleted:
        if (known_.erase(line.object.name_space, line.object.name)) {
          sink_.on_remove(line.object.name_space, line.object.name);
        }
        break;
      case api::WatchType::kBookmark:
        break;
    }
    if (!line.object.resource_version.empty()) resume_version_ = line.object.resource_version;
    progress_ = true;
    progress_since_list_ = true;
    fruitless_watches_ = 0;
    return !stopped_;
  }

  void abandon_watch() {
    drop(request_);
    drop(lived_timer_);
  }

  void lost_event(const Status& reason) {
    abandon_watch();
    sink_.on_malformed(reason);
    if (!stopped_) fail(reason, backoff_.next(), &ReflectorImpl::list);
  }

  void on_error_event(const api::ApiStatus& status) {
    abandon_watch();
    const Status failure = Status::error(StatusCode::kUnavailable, "watch", options_.path,
                                         fmt::format("the server sent an error: {} {} {}",
                                                     status.code, status.reason, status.message));
    if (expired(status)) return list_after_expiry(failure);
    retry_watch(failure, delay_after({}, status), ahead_of_server(status));
  }

  void on_watch_end(const Result<Response>& result) {
    if (!result.ok()) return retry_watch(result.status(), backoff_.next(), false);
    const Response& response = result.value();
    if (response.status / 100 == 2) {
      if (lived_ || progress_) return schedule(milliseconds(0), &ReflectorImpl::watch);
      const auto failure = Status::error(StatusCode::kUnavailable, "watch", options_.path,
                                         "the server ended the watch at once");
      return retry_watch(failure, backoff_.next(), false);
    }
    const Status failure = status_of(response, "watch");
    const api::ApiStatus detail = decoder_.status(response.body);
    if (response.status == 410 || expired(detail)) return list_after_expiry(failure);
    const bool may_pass = response.status >= 500 || response.status == 401 ||
                          response.status == 403 || response.status == 408 ||
                          response.status == 429;
    retry_watch(failure, delay_after(response.retry_after, detail),
                !may_pass || ahead_of_server(detail));
  }

  // A resume point too old is nobody's failure, unless not even a fresh one will do.
  void list_after_expiry(const Status& reason) {
    ++statistics_.expired;
    if (!progress_since_list_) return fail(reason, backoff_.next(), &ReflectorImpl::list);
    schedule(backoff_.spread(milliseconds(0), options_.backoff_min), &ReflectorImpl::list);
  }

  void retry_watch(const Status& reason, milliseconds delay, bool list_instead) {
    if (++fruitless_watches_ >= kFruitlessWatches) list_instead = true;
    fail(reason, delay, list_instead ? &ReflectorImpl::list : &ReflectorImpl::watch);
  }

  // --- Failing ---

  void fail(const Status& reason, milliseconds delay, void (ReflectorImpl::*next)()) {
    ++statistics_.failures;
    drop(healthy_timer_);
    sink_.on_health(reason);
    if (!stopped_) schedule(delay, next);
  }

  milliseconds delay_after(const std::string& retry_after, const api::ApiStatus& detail) {
    // The header may also be a date; servers of this API send seconds.
    std::optional<uint64_t> seconds = as_number(retry_after);
    if (!seconds && detail.retry_after_seconds > 0) seconds = detail.retry_after_seconds;
    if (!seconds) return backoff_.next();
    constexpr uint64_t kMost = 86400;
    return backoff_.asked(std::chrono::seconds(std::min(*seconds, kMost)));
  }

  Status status_of(const Response& response, std::string_view operation) {
    StatusCode code = StatusCode::kUnavailable;
    if (response.status == 401 || response.status == 403) code = StatusCode::kPermission;
    if (response.status == 404) code = StatusCode::kNotFound;
    const api::ApiStatus detail = decoder_.status(response.body);
    return Status::error(code, operation, options_.path,
                         detail.message.empty()
                             ? fmt::format("HTTP status {}", response.status)
                             : fmt::format("HTTP status {}: {}", response.status, detail.message));
  }

  Client& client_;
  const ReflectorOptions options_;
  ReflectorSink& sink_;
  api::Decoder decoder_;
  KnownObjects known_;
  LineSplitter splitter_;
  Backoff backoff_;
  Statistics statistics_;

  bool stopped_ = true;
  Client::RequestId request_ = 0;        // 0 in all four: none
  Client::RequestId timer_ = 0;          // the next step
  Client::RequestId healthy_timer_ = 0;  // until the back-off is forgotten
  Client::RequestId lived_timer_ = 0;    // until a watch is not short any more

  std::string continue_token_;
  std::string list_version_;    // of the list that is under way
  bool restarted_ = false;      // the list has been started over once
  bool whole_list_ = false;     // pages do not work out: ask for everything at once
  std::string resume_version_;  // the last event's, bookmark's or list's

  bool lived_ = false;                // this watch lasted for kShortWatch
  bool progress_ = false;             // this watch brought an event or a bookmark
  bool progress_since_list_ = false;  // some watch did
  int fruitless_watches_ = 0;
};

}  // namespace

std::unique_ptr<Reflector> Reflector::create(Client& client, ReflectorOptions options,
                                             ReflectorSink& sink) {
  return std::make_unique<ReflectorImpl>(client, std::move(options), sink);
}

}  // namespace fairlead::client
