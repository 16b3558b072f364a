#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "control/client/kubeconfig.h"

namespace fairlead::client {

namespace {

constexpr size_t kMaxFile = size_t{16} << 20;

// What follows the host in "host", "host:port", "[v6]:port": empty or ":digits".
bool split_host(std::string_view authority, std::string_view* host, std::string_view* port) {
  size_t end = authority.rfind(':');
  if (!authority.empty() && authority.front() == '[') {
    const size_t bracket = authority.find(']');
    if (bracket == std::string_view::npos) return false;
    end = bracket + 1 < authority.size() ? bracket + 1 : std::string_view::npos;
    if (end != std::string_view::npos && authority[end] != ':') return false;
  }
  *host = authority.substr(0, end);
  *port = end == std::string_view::npos ? std::string_view() : authority.substr(end + 1);
  return end == std::string_view::npos || !port->empty();
}

bool is_port(std::string_view text) {
  unsigned value = 0;
  if (text.empty() || text.size() > 5) return false;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value >= 1 && value <= 65535;
}

}  // namespace

Result<std::string> read_whole_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Status::from_errno(errno, "open", path);
  std::string content;
  char buffer[16384];
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::from_errno(errno, "read", path);
    if (count == 0) return content;
    content.append(buffer, static_cast<size_t>(count));
    if (content.size() > kMaxFile) {
      return Status::error(StatusCode::kExhausted, "read", path,
                           fmt::format("is larger than {} bytes", kMaxFile));
    }
  }
}

Result<std::string> check_server(std::string_view server, std::string_view object) {
  constexpr std::string_view kCheck = "check server address";
  const auto invalid = [&](std::string_view reason) {
    return Status::error(StatusCode::kInvalid, kCheck, object,
                         fmt::format("\"{}\" {}", server, reason));
  };
  for (const char c : server) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') {
      return Status::error(StatusCode::kInvalid, kCheck, object,
                           "has a space or control character");
    }
  }
  std::string_view rest = server;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return invalid("must start with https:// or http://");
  }
  if (rest.find_first_of("?#@") != std::string_view::npos) {
    return invalid("must not have a user, query or fragment");
  }
  std::string_view host;
  std::string_view port;
  if (!split_host(rest.substr(0, rest.find('/')), &host, &port) || host.empty() || host == "[]") {
    return invalid("names no host");
  }
  if (!port.empty() && !is_port(port)) return invalid("has a port that is none");
  while (server.ends_with('/')) server.remove_suffix(1);
  return std::string(server);
}

Status check_pem(std::string_view pem, std::string_view label, std::string_view object) {
  // "-----BEGIN RSA PRIVATE KEY-----" has its label at the end.
  for (size_t at = pem.find("-----BEGIN "); at != std::string_view::npos;
       at = pem.find("-----BEGIN ", at + 1)) {
    const std::string_view line = pem.substr(at, pem.find('\n', at) - at);
    if (line.find(fmt::format("{}-----", label)) != std::string_view::npos) return {};
  }
  return Status::error(StatusCode::kInvalid, "check PEM", object,
                       fmt::format("holds no PEM {}", label));
}

}  // namespace fairlead::client
