// Watches: beginning, delivering, bookmarks and their ends.
#include <fmt/format.h>

#include <charconv>

#include "tests/api_server/core.h"

namespace fairlead::api_server {
namespace {

constexpr size_t kBatch = size_t{1} << 20;  // of lines written together when a watch catches up

const char* name_of(ChangeType type) {
  switch (type) {
    case ChangeType::kAdded:
      return "ADDED";
    case ChangeType::kModified:
      return "MODIFIED";
    case ChangeType::kDeleted:
      return "DELETED";
  }
  return "";
}

void append_event(std::string& to, const char* type, std::string_view object) {
  to += R"({"type":")";
  to += type;
  to += R"(","object":)";
  to += object;
  to += "}\n";
}

std::string bookmark_line(const ResourceType& type, uint64_t version, bool initial_end) {
  std::string line;
  append_event(
      line, "BOOKMARK",
      fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}",)"
                  R"("creationTimestamp":null{}}}}})",
                  type.kind, type.api_version(), version,
                  initial_end ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : ""));
  return line;
}

bool selects(const Watch& watch, const ObjectPointer& object) {
  return object && (watch.name_space.empty() || object->name_space == watch.name_space) &&
         watch.selector.matches(*object);
}

}  // namespace

Core::WatchStart Core::prepare_watch(const net::HttpRequest& request, const Route& route,
                                     const Resource& resource) {
  WatchStart start;
  auto selector =
      Selector::parse(request.query_value("labelSelector"), request.query_value("fieldSelector"));
  if (!selector) {
    start.error = bad_request(selector.status().message());
    return start;
  }
  start.watch = std::make_shared<Watch>();
  Watch& watch = *start.watch;
  watch.resource = &resource;
  watch.path = request.path;
  watch.name_space = route.name_space;
  watch.selector = std::move(selector).value();
  watch.bookmarks = request.query_value("allowWatchBookmarks") == "true";
  start.marks_initial_end = request.query_value("sendInitialEvents") == "true";
  const std::string asked = request.query_value("resourceVersion");
  start.from_the_beginning = asked.empty() || asked == "0" || start.marks_initial_end;
  if (start.from_the_beginning) return start;
  const auto parsed = std::from_chars(asked.data(), asked.data() + asked.size(), watch.delivered);
  if (parsed.ec != std::errc() || parsed.ptr != asked.data() + asked.size()) {
    start.error = bad_request("resourceVersion is not one of this server: " + asked);
  } else if (watch.delivered < resource.compacted() && !options_.expired_as_event) {
    ++counters_.expired;
    start.error = expired(watch.delivered, resource.compacted());
  }
  return start;
}

void Core::begin_watch(const net::HttpRequest& request, WatchStart start, SharedResponder responder,
                       const Fault* fault) {
  const std::shared_ptr<Watch> watch = std::move(start.watch);
  net::HttpResponse head;
  head.content_type = kJson;
  auto stream = responder->start_stream(head, [this, watch] {
    {
      MutexLock lock(mutex_);
      watch->closed = true;
      watches_.remove(watch);
    }
    notifier_.notify();
  });
  MutexLock lock(mutex_);
  if (watch->closed) return;
  // The watch keeps the stream and the stream's call-back keeps the watch, until the stream closes.
  watch->stream = std::move(stream);
  if (fault != nullptr && fault->kind == Fault::Kind::kTruncate) {
    watch->stream->write(std::string(R"({"type":"ADDED","object":{"kind":)"));
    return watch->stream->abort();
  }
  if (fault != nullptr) watch->stream->write(std::string("{\"type\":\"ADDED\",\"object\":{]}\n"));
  watches_.push_back(watch);
  if (start.from_the_beginning) write_initial(*watch, start.marks_initial_end);
  advance(*watch);
  uint64_t seconds = 0;
  const std::string timeout = request.query_value("timeoutSeconds");
  const auto parsed = std::from_chars(timeout.data(), timeout.data() + timeout.size(), seconds);
  if (!timeout.empty() && parsed.ec == std::errc() && seconds < 1000000) {
    timers_.after(std::chrono::seconds(seconds),
                  [this, weak = std::weak_ptr<Watch>(watch)] { end_watch(weak); });
  }
}

void Core::write_initial(Watch& watch, bool mark_end) {
  ListOptions options;
  options.name_space = watch.name_space;
  options.selector = watch.selector;
  options.version = store_.version();
  std::string batch;
  for (const ObjectPointer& object : watch.resource->list(options, false).objects) {
    append_event(batch, "ADDED", object->json);
    if (batch.size() > kBatch) watch.stream->write(std::exchange(batch, {}));
  }
  if (mark_end) batch += bookmark_line(watch.resource->type(), options.version, true);
  if (!batch.empty()) watch.stream->write(std::move(batch));
  watch.delivered = options.version;
}

void Core::deliver(const Resource& resource) {
  for (const std::shared_ptr<Watch>& watch : watches_) {
    if (watch->resource == &resource) advance(*watch);
  }
}

// The line of a change as this watch must see it; null when it must not. With a selector, an object
// that begins to match is added and one that no longer does is deleted, whatever really happened.
std::shared_ptr<const std::string> Core::event_line(const Watch& watch, const Change& change) {
  const bool before = selects(watch, change.previous);
  const bool after = change.type != ChangeType::kDeleted && selects(watch, change.object);
  if (!before && !after) return nullptr;
  const ChangeType type = !before  ? ChangeType::kAdded
                          : !after ? ChangeType::kDeleted
                                   : ChangeType::kModified;
  if (line_ && line_version_ == change.version && line_type_ == type) return line_;
  const ObjectPointer shown = type == ChangeType::kDeleted && change.type != ChangeType::kDeleted
                                  ? with_version(*change.previous, change.version)
                                  : change.object;
  std::string line;
  line.reserve(shown->json.size() + 40);
  append_event(line, name_of(type), shown->json);
  line_ = std::make_shared<const std::string>(std::move(line));
  line_version_ = change.version;
  line_type_ = type;
  return line_;
}

void Core::advance(Watch& watch) {
  if (paused_ || watch.closed || !watch.stream->open()) return;
  const Resource& resource = *watch.resource;
  if (watch.delivered < resource.compacted()) return expire(watch);
  const auto& history = resource.history();
  auto change = resource.changes_after(watch.delivered);
  std::string batch;
  const bool single = history.end() - change == 1;
  for (; change != history.end(); ++change) {
    const std::shared_ptr<const std::string> line = event_line(watch, *change);
    if (!line) continue;
    if (single) {
      watch.stream->write(line);  // shared by all watches
    } else {
      batch += *line;
      if (batch.size() > kBatch) watch.stream->write(std::exchange(batch, {}));
    }
  }
  if (!batch.empty()) watch.stream->write(std::move(batch));
  // A client may ask from a version that is yet to come; it hears nothing until then.
  watch.delivered = std::max(watch.delivered, store_.version());
}

void Core::expire(Watch& watch) {
  ++counters_.expired;
  std::string line;
  append_event(line, "ERROR", expired(watch.delivered, watch.resource->compacted()).json());
  watch.stream->write(std::move(line));
  watch.stream->finish();
}

void Core::end_watch(const std::weak_ptr<Watch>& weak) {
  const std::shared_ptr<Watch> watch = weak.lock();
  if (!watch) return;
  MutexLock lock(mutex_);
  if (watch->closed) return;
  if (watch->bookmarks) {
    watch->stream->write(bookmark_line(watch->resource->type(), watch->delivered, false));
  }
  watch->stream->finish();
}

void Core::tick_bookmarks() {
  send_bookmarks({});
  timers_.after(options_.bookmark_interval, [this] { tick_bookmarks(); });
}

size_t Core::send_bookmarks(const std::string& path) {
  MutexLock lock(mutex_);
  size_t sent = 0;
  for (const std::shared_ptr<Watch>& watch : watches_) {
    if (!watch->bookmarks || !watch->path.starts_with(path)) continue;
    advance(*watch);
    watch->stream->write(bookmark_line(watch->resource->type(), watch->delivered, false));
    ++sent;
  }
  return sent;
}

size_t Core::cut_watches(const std::string& path, bool mid_line) {
  MutexLock lock(mutex_);
  size_t cut = 0;
  for (const std::shared_ptr<Watch>& watch : watches_) {
    if (!watch->path.starts_with(path)) continue;
    if (mid_line) watch->stream->write(std::string(R"({"type":"MODIFIED","object":{"kind":)"));
    watch->stream->abort();
    ++cut;
  }
  return cut;
}

size_t Core::send_to_watches(const std::string& path, const std::string& bytes) {
  MutexLock lock(mutex_);
  size_t sent = 0;
  for (const std::shared_ptr<Watch>& watch : watches_) {
    if (!watch->path.starts_with(path)) continue;
    watch->stream->write(bytes);
    ++sent;
  }
  return sent;
}

void Core::set_watches_paused(bool paused) {
  MutexLock lock(mutex_);
  paused_ = paused;
  for (const std::shared_ptr<Watch>& watch : watches_) advance(*watch);
}

}  // namespace fairlead::api_server
