#include "control/client/client.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "control/client/kubeconfig.h"
#include "control/client/multi_pool.h"
#include "control/client/request_kind.h"
#include "control/client/timer_queue.h"
#include "control/client/token_source.h"
#include "control/client/transfer.h"

namespace fairlead::client {

namespace {

using Clock = std::chrono::steady_clock;

class ClientImpl : public Client {
 public:
  explicit ClientImpl(ClientConfig config)
      : config_(std::move(config)),
        target_(config_),
        tokens_(config_.token, config_.token_file),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        pool_(epoll_.get()) {}

  ~ClientImpl() override {
    for (auto& [id, transfer] : transfers_) pool_.remove(transfer->easy());
  }

  Status open() {
    if (!epoll_.valid()) return Status::from_errno(errno, "create", "epoll");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = mailbox_.wake_fd();
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, mailbox_.wake_fd(), &event) != 0) {
      return Status::from_errno(errno, "watch", "mailbox");
    }
    return {};
  }

  RequestId send(Request request, ResponseCallback done) override {
    return begin(std::make_unique<Transfer>(++last_id_, std::move(request), std::move(done)));
  }

  RequestId stream(Request request, StreamCallbacks callbacks) override {
    return begin(std::make_unique<Transfer>(++last_id_, std::move(request), std::move(callbacks)));
  }

  void cancel(RequestId id) override {
    if (timers_.cancel(id)) return;
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    // Its callback may be running right now, inside libcurl: the loop removes it.
    found->second->cancel();
    any_cancelled_ = true;
  }

  RequestId after(std::chrono::milliseconds delay, std::function<void()> callback) override {
    const RequestId id = ++last_id_;
    timers_.add(id, Clock::now() + delay, std::move(callback));
    return id;
  }

  void run() override {
    while (!stopping_.load()) {
      start_new();
      remove_cancelled();
      wait();
      const Clock::time_point now = Clock::now();
      timers_.run(now);
      pool_.on_time(now);
      pool_.collect([this](CURL* easy, CURLcode code) { end(easy, code); });
    }
    stopping_.store(false);
  }

  void stop() override {
    stopping_.store(true);
    mailbox_.post([] {});
  }

  void post(std::function<void()> work) override { mailbox_.post(std::move(work)); }

  void set_request_observer(std::function<void(const RequestReport&)> observer) override {
    observer_ = std::move(observer);
  }

 private:
  RequestId begin(std::unique_ptr<Transfer> transfer) {
    const RequestId id = transfer->id();
    new_.push_back(id);
    transfers_.emplace(id, std::move(transfer));
    return id;
  }

  // libcurl must not be entered from its own callbacks, so requests start from the loop.
  void start_new() {
    const std::vector<RequestId> starting = std::exchange(new_, {});
    for (const RequestId id : starting) {
      const auto found = transfers_.find(id);
      if (found == transfers_.end() || found->second->cancelled()) continue;
      Transfer& transfer = *found->second;
      const std::string& token = current_token();
      Status status = transfer.prepare(config_, target_, token);
      if (status.ok()) status = pool_.add(transfer.easy());
      if (!status.ok()) {
        finish(id, CURLE_FAILED_INIT, status);
        continue;
      }
      transfer.set_head_observer([this, &transfer] { report(transfer); });
      if (transfer.request().silence_limit.count() > 0)
        listen_for(id, transfer.request().silence_limit);
    }
  }

  const std::string& current_token() {
    const bool was_ok = tokens_.status().ok();
    const std::string& token = tokens_.token(Clock::now());
    if (was_ok && !tokens_.status().ok()) LOG_WARNING("{}", tokens_.status().message());
    return token;
  }

  // Looks at the transfer when its silence would be too long, and again if it said something since.
  void listen_for(RequestId id, Clock::duration delay) {
    const auto listen = [this, id] {
      const auto found = transfers_.find(id);
      if (found == transfers_.end() || found->second->cancelled()) return;
      const Transfer& transfer = *found->second;
      const auto left = transfer.last_byte_at() + transfer.request().silence_limit - Clock::now();
      if (left > Clock::duration::zero()) return listen_for(id, left);
      pool_.retire();
      finish(id, CURLE_OPERATION_TIMEDOUT,
             Status::error(StatusCode::kUnavailable, "request", transfer.object(),
                           "the server has been silent for too long"));
    };
    timers_.add(++last_id_, Clock::now() + delay, listen);
  }

  void remove_cancelled() {
    if (!std::exchange(any_cancelled_, false)) return;
    std::vector<RequestId> ids;
    for (const auto& [id, transfer] : transfers_) {
      if (transfer->cancelled()) ids.push_back(id);
    }
    for (const RequestId id : ids) take(id);
  }

  // Out of libcurl and out of the table; nobody is told.
  std::unique_ptr<Transfer> take(RequestId id) {
    auto node = transfers_.extract(id);
    pool_.remove(node.mapped()->easy());
    return std::move(node.mapped());
  }

  void end(CURL* easy, CURLcode code) {
    char* self = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &self);
    const auto* transfer = reinterpret_cast<Transfer*>(self);
    if (code == CURLE_OPERATION_TIMEDOUT) pool_.retire();
    finish(transfer->id(), code, {});
  }

  void finish(RequestId id, CURLcode code, const Status& failure) {
    const std::unique_ptr<Transfer> transfer = take(id);
    if (transfer->cancelled()) return;
    if (!transfer->streaming() || !transfer->head_done()) report(*transfer);
    if (transfer->status() == 401) tokens_.refused();
    transfer->finish(code, failure);
  }

  void report(const Transfer& transfer) {
    if (!observer_) return;
    RequestReport report;
    report.method = transfer.request().method;
    report.host = target_.host;
    report.code = transfer.status();
    report.duration = Transfer::Clock::now() - transfer.started_at();
    report.verb = request_verb(transfer.request().method, transfer.request().path);
    observer_(report);
  }

  int timeout_ms() const {
    if (!new_.empty() || any_cancelled_) return 0;
    std::optional<Clock::time_point> first = pool_.next();
    const std::optional<Clock::time_point> timer = timers_.next();
    if (timer && (!first || *timer < *first)) first = timer;
    if (!first) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*first - Clock::now()).count();
    constexpr int64_t kLongest = 60000;
    return static_cast<int>(std::clamp<int64_t>(left, 0, kLongest));
  }

  void wait() {
    constexpr int kMaxEvents = 64;
    epoll_event events[kMaxEvents];
    const int count = ::epoll_wait(epoll_.get(), events, kMaxEvents, timeout_ms());
    bool mail = false;
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == mailbox_.wake_fd()) {
        mail = true;
      } else {
        pool_.on_event(events[i].data.fd, events[i].events);
      }
    }
    if (!mail) return;
    for (const auto& work : mailbox_.take()) work();
  }

  const ClientConfig config_;
  const Target target_;
  TokenSource tokens_;
  Mailbox<std::function<void()>> mailbox_;
  std::atomic<bool> stopping_{false};
  std::function<void(const RequestReport&)> observer_;

  Fd epoll_;
  MultiPool pool_;
  TimerQueue timers_;
  RequestId last_id_ = 0;
  std::unordered_map<RequestId, std::unique_ptr<Transfer>> transfers_;
  std::vector<RequestId> new_;  // not yet with libcurl
  bool any_cancelled_ = false;
};

Status check_config(const ClientConfig& config) {
  ASSIGN_OR_RETURN(const std::string server, check_server(config.server, "server"));
  if (!config.ca_pem.empty()) RETURN_IF_ERROR(check_pem(config.ca_pem, "CERTIFICATE", "ca_pem"));
  if (config.client_certificate_pem.empty() != config.client_key_pem.empty()) {
    return Status::error(StatusCode::kInvalid, "create client", server,
                         "client certificate and key must come together");
  }
  return {};
}

bool initialize_libcurl() {
  static const bool initialized = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return initialized;
}

}  // namespace

Result<std::unique_ptr<Client>> Client::create(ClientConfig config) {
  if (!initialize_libcurl()) {
    return Status::error(StatusCode::kInternal, "create client", "libcurl",
                         "cannot be initialized");
  }
  RETURN_IF_ERROR(check_config(config));
  while (config.server.ends_with('/')) config.server.pop_back();
  auto client = std::make_unique<ClientImpl>(std::move(config));
  RETURN_IF_ERROR(client->open());
  return std::unique_ptr<Client>(std::move(client));
}

}  // namespace fairlead::client
