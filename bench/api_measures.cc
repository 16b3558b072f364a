#include "bench/api_measures.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "bench/scale_report.h"
#include "tests/harness/loopback.h"

namespace fairlead::bench {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void give_up(std::string_view why) {
  fmt::print(stderr, "api_bench: {}\n", why);
  std::exit(1);
}

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void in_threads(int count, const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

std::string config_map(std::string_view name) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"k":"{}"}}}})",
      name, std::string(1000, 'v'));
}

}  // namespace

ApiClient::ApiClient(uint16_t port) : fd_(harness::connect_loopback(port)) {
  if (!fd_.valid()) give_up("the server cannot be reached");
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void ApiClient::fill() {
  constexpr size_t kPiece = size_t{256} << 10;
  const size_t had = buffer_.size();
  buffer_.resize(had + kPiece);
  const ssize_t size = ::read(fd_.get(), buffer_.data() + had, kPiece);
  if (size <= 0) give_up("the server closed a connection");
  buffer_.resize(had + static_cast<size_t>(size));
}

ApiClient::Answer ApiClient::send(std::string_view method, std::string_view path,
                                  std::string_view body) {
  const std::string request = fmt::format(
      "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n\r\n{}",
      method, path, body.size(), body);
  if (::send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    give_up("a request cannot be sent");
  }
  size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) fill();
  Answer answer;
  answer.began = Clock::now();
  answer.status = std::atoi(buffer_.c_str() + std::string_view("HTTP/1.1 ").size());
  const size_t length_at = buffer_.find("content-length: ");
  if (length_at == std::string::npos || length_at > end) {
    buffer_.erase(0, end + 4);
    while (take_chunk(&answer.body) > 0) {
    }
    return answer;
  }
  const size_t length = std::strtoull(buffer_.c_str() + length_at + 16, nullptr, 10);
  const size_t start = end + 4;
  buffer_.reserve(start + length + (size_t{256} << 10));
  while (buffer_.size() < start + length) fill();
  answer.body = buffer_.substr(start, length);
  buffer_.erase(0, start + length);
  return answer;
}

// The size of what is appended; 0 at the end.
size_t ApiClient::take_chunk(std::string* body) {
  size_t line = 0;
  while ((line = buffer_.find("\r\n")) == std::string::npos) fill();
  const size_t size = std::strtoull(buffer_.c_str(), nullptr, 16);
  while (buffer_.size() < line + 2 + size + 2) fill();
  body->append(buffer_, line + 2, size);
  buffer_.erase(0, line + 2 + size + 2);
  return size;
}

void ApiClient::begin_watch(std::string_view path) {
  const std::string request = fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
  if (::send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    give_up("a watch cannot be sent");
  }
  while (buffer_.find("\r\n\r\n") == std::string::npos) fill();
  if (buffer_.find(" 200 ") > buffer_.find('\r')) give_up("a watch is refused");
}

std::string pod_json(std::string_view name) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}","labels":{{"app":"web","tier":)"
      R"("front","pod-template-hash":"6d4cf56db6"}}}},"spec":{{"nodeName":"node-1","containers":[)"
      R"({{"name":"c","image":"registry.example/web:1.2.3","ports":[{{"containerPort":8080}}],)"
      R"("env":[{{"name":"A","value":"1"}},{{"name":"B","value":"2"}}],"resources":{{"requests":)"
      R"({{"cpu":"100m","memory":"128Mi"}},"limits":{{"memory":"256Mi"}}}}}}]}}}})",
      name);
}

ApiCreates measure_api_creates(uint16_t port, const std::string& prefix, int clients,
                               std::chrono::milliseconds duration) {
  std::mutex mutex;
  std::vector<double> all;
  const auto start = Clock::now();
  in_threads(clients, [&](int number) {
    ApiClient client(port);
    std::vector<double> mine;
    for (int i = 0; Clock::now() - start < duration; ++i) {
      const std::string body = config_map(fmt::format("{}-{}-{}", prefix, number, i));
      const auto before = Clock::now();
      const auto answer = client.send("POST", "/api/v1/namespaces/default/configmaps", body);
      if (answer.status != 201) give_up(answer.body);
      mine.push_back(ms_since(before));
    }
    const std::lock_guard lock(mutex);
    all.insert(all.end(), mine.begin(), mine.end());
  });
  const double seconds = ms_since(start) / 1000;
  return {static_cast<double>(all.size()) / seconds, quantile(all, 0.5), quantile(all, 0.99)};
}

void fill_pods(uint16_t port, size_t count) {
  constexpr int kClients = 32;
  ApiClient(port).send("POST", "/api/v1/namespaces",
                       R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"listed"}})");
  std::atomic<size_t> next{0};
  in_threads(kClients, [&](int) {
    ApiClient client(port);
    for (size_t i = next++; i < count; i = next++) {
      const auto answer =
          client.send("POST", "/api/v1/namespaces/listed/pods", pod_json(fmt::format("p-{}", i)));
      if (answer.status != 201) give_up(answer.body);
    }
  });
}

ApiList measure_api_list(uint16_t port, size_t expected) {
  ApiClient client(port);
  client.send("GET", "/healthz");
  const auto before = Clock::now();
  const auto answer = client.send("GET", "/api/v1/pods");
  const std::chrono::duration<double, std::milli> begins = answer.began - before;
  const ApiList list{begins.count(), ms_since(before)};
  size_t found = 0;
  for (size_t at = 0; (at = answer.body.find("\"name\":\"p-", at)) != std::string::npos; ++at) {
    ++found;
  }
  if (found != expected) give_up(fmt::format("a list has {} of {} pods", found, expected));
  return list;
}

std::vector<double> measure_api_watch(uint16_t port, int watchers, int writes) {
  const std::string path = "/api/v1/namespaces/default/configmaps";
  ApiClient writer(port);
  const Fd poll(::epoll_create1(EPOLL_CLOEXEC));
  std::vector<std::unique_ptr<ApiClient>> clients;
  for (int i = 0; i < watchers; ++i) {
    clients.push_back(std::make_unique<ApiClient>(port));
    clients.back()->begin_watch(path +
                                "?watch=true&resourceVersion=0&fieldSelector=metadata.name%3D"
                                "watched");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = static_cast<uint32_t>(i);
    ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, clients.back()->fd(), &event);
  }
  std::vector<double> delays;
  std::vector<std::string> tails(static_cast<size_t>(watchers));
  for (int i = 0; i < writes; ++i) {
    const std::string marker = fmt::format("write-{}-", i);
    const std::string body = fmt::format(
        R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"watched","annotations":)"
        R"({{"n":"{}"}}}}}})",
        marker);
    const auto before = Clock::now();
    std::thread sender([&] {
      const auto answer =
          i == 0 ? writer.send("POST", path, body) : writer.send("PUT", path + "/watched", body);
      if (answer.status / 100 != 2) give_up(answer.body);
    });
    for (int seen = 0; seen < watchers;) {
      epoll_event events[256];
      const int ready = ::epoll_wait(poll.get(), events, 256, 10'000);
      if (ready <= 0) give_up("an event does not come");
      for (int k = 0; k < ready; ++k) {
        char buffer[16384];
        const uint32_t number = events[k].data.u32;
        const ssize_t size = ::read(clients[number]->fd(), buffer, sizeof buffer);
        if (size <= 0) give_up("a watch ended");
        std::string& tail = tails[number];
        tail.append(buffer, static_cast<size_t>(size));
        if (tail.find(marker) == std::string::npos) continue;
        tail.clear();
        delays.push_back(ms_since(before));
        ++seen;
      }
    }
    sender.join();
  }
  return delays;
}

}  // namespace fairlead::bench
