#include "tests/server/http_client.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "tests/harness/loopback.h"

namespace fairlead::server_test {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

schema::Document Answer::json() const {
  auto document = schema::parse_json(body, {.bytes = body.size(), .depth = 300});
  return document ? std::move(document).value() : schema::Document();
}

std::string Answer::verdict() const {
  const schema::Document document = json();
  if (document.root.get("kind").as_string() != "Status") return std::to_string(status);
  return fmt::format("{} {}", status, document.root.get("reason").as_string());
}

HttpClient::HttpClient(uint16_t port) : fd_(harness::connect_loopback(port)) {
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool HttpClient::send_bytes(std::string_view bytes) {
  while (fd_.valid() && !bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return fd_.valid();
}

bool HttpClient::fill() {
  constexpr size_t kPiece = size_t{64} << 10;
  const size_t had = buffer_.size();
  buffer_.resize(had + kPiece);
  const ssize_t size = ::read(fd_.get(), buffer_.data() + had, kPiece);
  buffer_.resize(had + static_cast<size_t>(std::max<ssize_t>(size, 0)));
  return size > 0;
}

std::optional<std::string> HttpClient::read_some(std::chrono::milliseconds at_most) {
  if (buffer_.empty()) {
    pollfd readable = {fd_.get(), POLLIN, 0};
    if (::poll(&readable, 1, static_cast<int>(at_most.count())) != 1 || !fill()) return {};
  }
  return std::exchange(buffer_, {});
}

std::optional<Answer> HttpClient::read_head() {
  size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!fd_.valid() || !fill()) return {};
  }
  Answer answer;
  answer.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  answer.status = std::atoi(answer.head.c_str() + std::string_view("HTTP/1.1 ").size());
  return answer;
}

std::optional<Answer> HttpClient::read_answer() {
  std::optional<Answer> answer = read_head();
  if (!answer) return {};
  if (answer->status == 100) return read_answer();
  const size_t at = answer->head.find("content-length: ");
  if (at == std::string::npos) return answer;
  const size_t length = std::strtoull(answer->head.c_str() + at + 16, nullptr, 10);
  while (buffer_.size() < length) {
    if (!fill()) return {};
  }
  answer->body = buffer_.substr(0, length);
  buffer_.erase(0, length);
  return answer;
}

std::optional<Answer> HttpClient::send(std::string_view method, std::string_view path,
                                       std::string_view body, std::string_view content_type) {
  const std::string head = fmt::format(
      "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n", method,
      path, content_type, body.size());
  if (!send_bytes(head) || !send_bytes(body)) return {};
  return read_answer();
}

WatchClient::WatchClient(uint16_t port, std::string_view path) : client_(port) {
  client_.send_bytes(fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path));
  const std::optional<Answer> head = client_.read_head();
  status_ = head ? head->status : 0;
  ended_ = status_ != 200;
}

std::optional<std::string> WatchClient::next(std::chrono::milliseconds at_most) {
  const auto deadline = Clock::now() + at_most;
  while (true) {
    if (const size_t end = text_.find('\n'); end != std::string::npos) {
      std::string line = text_.substr(0, end);
      text_.erase(0, end + 1);
      return line;
    }
    if (ended_) return {};
    // One whole chunk more.
    std::string& buffer = client_.buffer_;
    const size_t line = buffer.find("\r\n");
    if (line != std::string::npos) {
      const size_t size = std::strtoull(buffer.c_str(), nullptr, 16);
      if (buffer.size() >= line + 2 + size + 2) {
        text_ += buffer.substr(line + 2, size);
        buffer.erase(0, line + 2 + size + 2);
        ended_ = size == 0;
        continue;
      }
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd readable = {client_.fd(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) != 1) return {};
    ended_ = !client_.fill();
  }
}

}  // namespace fairlead::server_test
