#include "control/client/multi_pool.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

namespace fairlead::client {

MultiPool::Multi::~Multi() {
  // Closing the connections calls on_socket, so the pool must still be whole.
  if (handle) curl_multi_cleanup(handle);
}

MultiPool::~MultiPool() {
  while (!owners_.empty()) remove(owners_.begin()->first);
  multis_.clear();
}

MultiPool::Multi* MultiPool::current() {
  if (!multis_.empty() && !multis_.back()->retired) return multis_.back().get();
  auto multi = std::make_unique<Multi>();
  multi->pool = this;
  multi->handle = curl_multi_init();
  if (!multi->handle) return nullptr;
  curl_multi_setopt(multi->handle, CURLMOPT_SOCKETFUNCTION, &MultiPool::on_socket);
  curl_multi_setopt(multi->handle, CURLMOPT_SOCKETDATA, multi.get());
  curl_multi_setopt(multi->handle, CURLMOPT_TIMERFUNCTION, &MultiPool::on_timer);
  curl_multi_setopt(multi->handle, CURLMOPT_TIMERDATA, multi.get());
  curl_multi_setopt(multi->handle, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
  multis_.push_back(std::move(multi));
  return multis_.back().get();
}

Status MultiPool::add(CURL* easy) {
  Multi* multi = current();
  if (!multi)
    return Status::error(StatusCode::kExhausted, "start request", "libcurl", "out of memory");
  if (const CURLMcode code = curl_multi_add_handle(multi->handle, easy); code != CURLM_OK) {
    return Status::error(StatusCode::kInternal, "start request", "libcurl",
                         curl_multi_strerror(code));
  }
  ++multi->active;
  owners_.emplace(easy, multi);
  return {};
}

void MultiPool::remove(CURL* easy) {
  const auto found = owners_.find(easy);
  if (found == owners_.end()) return;
  Multi* multi = found->second;
  owners_.erase(found);
  curl_multi_remove_handle(multi->handle, easy);
  --multi->active;
}

void MultiPool::retire() {
  if (!multis_.empty()) multis_.back()->retired = true;
}

std::optional<MultiPool::Clock::time_point> MultiPool::next() const {
  std::optional<Clock::time_point> first;
  for (const auto& multi : multis_) {
    if (multi->deadline && (!first || *multi->deadline < *first)) first = multi->deadline;
  }
  return first;
}

void MultiPool::on_event(int fd, uint32_t epoll_events) {
  const auto found = sockets_.find(fd);
  if (found == sockets_.end()) return;  // closed by an earlier event of this round
  int mask = 0;
  if (epoll_events & (EPOLLIN | EPOLLHUP)) mask |= CURL_CSELECT_IN;
  if (epoll_events & EPOLLOUT) mask |= CURL_CSELECT_OUT;
  if (epoll_events & EPOLLERR) mask |= CURL_CSELECT_ERR;
  int running = 0;
  curl_multi_socket_action(found->second->handle, fd, mask, &running);
}

void MultiPool::on_time(Clock::time_point now) {
  for (const auto& multi : multis_) {
    if (!multi->deadline || *multi->deadline > now) continue;
    multi->deadline.reset();
    int running = 0;
    curl_multi_socket_action(multi->handle, CURL_SOCKET_TIMEOUT, 0, &running);
  }
}

void MultiPool::collect(const Ended& ended) {
  std::vector<std::pair<CURL*, CURLcode>> all;
  for (const auto& multi : multis_) {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi->handle, &left)) {
      if (message->msg == CURLMSG_DONE)
        all.emplace_back(message->easy_handle, message->data.result);
    }
  }
  // An earlier callback may have removed, and even freed, a later one's handle.
  for (const auto& [easy, code] : all) {
    if (owners_.count(easy) > 0) ended(easy, code);
  }
  drop_unused();
}

void MultiPool::drop_unused() {
  const auto unused = std::stable_partition(multis_.begin(), multis_.end(), [](const auto& multi) {
    return !multi->retired || multi->active > 0;
  });
  // Out of the list first: the destructor closes connections, which calls back.
  std::vector<std::unique_ptr<Multi>> dropped(std::make_move_iterator(unused),
                                              std::make_move_iterator(multis_.end()));
  multis_.erase(unused, multis_.end());
}

int MultiPool::on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) {
  auto* multi = static_cast<Multi*>(self);
  MultiPool* pool = multi->pool;
  if (what == CURL_POLL_REMOVE) {
    pool->sockets_.erase(fd);
    ::epoll_ctl(pool->epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
    return 0;
  }
  epoll_event event{};
  event.data.fd = fd;
  if (what & CURL_POLL_IN) event.events |= EPOLLIN;
  if (what & CURL_POLL_OUT) event.events |= EPOLLOUT;
  // The descriptor's number may have belonged to a socket that libcurl closed without a word.
  if (::epoll_ctl(pool->epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) {
    ::epoll_ctl(pool->epoll_fd_, EPOLL_CTL_ADD, fd, &event);
  }
  pool->sockets_[fd] = multi;
  return 0;
}

int MultiPool::on_timer(CURLM*, long timeout_ms, void* self) {
  auto* multi = static_cast<Multi*>(self);
  if (timeout_ms < 0) {
    multi->deadline.reset();
  } else {
    multi->deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  }
  return 0;
}

}  // namespace fairlead::client
