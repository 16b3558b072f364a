#include "control/auth/authenticator.h"

#include <fmt/core.h>
#include <openssl/crypto.h>

#include <ctime>

#include "control/net/text.h"

namespace fairlead::auth {
namespace {

// Empty when there is none.
std::string_view bearer_token(const net::HttpRequest& request) {
  const std::string* header = request.header("authorization");
  if (header == nullptr) return "";
  const std::string_view text = *header;
  const size_t blank = text.find(' ');
  if (blank == std::string_view::npos) return "";
  if (!net::equals_ignoring_case(text.substr(0, blank), "bearer")) return "";
  return net::trim(text.substr(blank));
}

class CertificateAuthenticator : public Authenticator {
 public:
  Result<std::optional<User>> authenticate(const net::HttpRequest& request) const override {
    if (request.client_certificate_common_name.empty()) return std::optional<User>();
    // The handshake looked at the dates, and was perhaps long ago.
    if (std::time(nullptr) > request.client_certificate_not_after) {
      return Status::error(StatusCode::kPermission, "authenticate",
                           request.client_certificate_common_name, "its certificate has expired");
    }
    User user;
    user.name = request.client_certificate_common_name;
    user.groups = request.client_certificate_organizations;
    return std::optional<User>(std::move(user));
  }
  std::optional<User> check_token(std::string_view) const override { return std::nullopt; }
};

class TokenAuthenticator : public Authenticator {
 public:
  explicit TokenAuthenticator(std::vector<std::pair<std::string, User>> tokens)
      : tokens_(std::move(tokens)) {}

  Result<std::optional<User>> authenticate(const net::HttpRequest& request) const override {
    const std::string_view token = bearer_token(request);
    if (token.empty()) return std::optional<User>();
    auto user = check_token(token);
    if (!user) {
      return Status::error(StatusCode::kPermission, "authenticate", "bearer token", "unknown");
    }
    return user;
  }

  // Looks at every token in full, so that the time it takes tells nothing.
  std::optional<User> check_token(std::string_view token) const override {
    const User* found = nullptr;
    for (const auto& [known, user] : tokens_) {
      if (known.size() == token.size() &&
          ::CRYPTO_memcmp(known.data(), token.data(), token.size()) == 0) {
        found = &user;
      }
    }
    return found == nullptr ? std::nullopt : std::optional<User>(*found);
  }

 private:
  std::vector<std::pair<std::string, User>> tokens_;
};

// The columns of one line; quotes as in CSV. False when a quote does not end.
bool split_line(std::string_view line, std::vector<std::string>* columns) {
  bool quoted = false;
  std::string column;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      column += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      columns->push_back(std::exchange(column, {}));
    } else {
      column += c;
    }
  }
  columns->push_back(std::move(column));
  for (std::string& each : *columns) each = std::string(net::trim(each));
  return !quoted;
}

}  // namespace

std::unique_ptr<Authenticator> make_certificate_authenticator() {
  return std::make_unique<CertificateAuthenticator>();
}

Result<std::unique_ptr<Authenticator>> make_token_authenticator(std::string_view csv,
                                                                std::string_view name) {
  std::vector<std::pair<std::string, User>> tokens;
  size_t number = 0;
  while (!csv.empty()) {
    const size_t end = std::min(csv.find('\n'), csv.size());
    std::string_view line = csv.substr(0, end);
    csv.remove_prefix(std::min(end + 1, csv.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (net::trim(line).empty() || line.front() == '#') continue;
    std::vector<std::string> columns;
    const bool complete = split_line(line, &columns);
    constexpr size_t kFewest = 3;
    if (!complete || columns.size() < kFewest || columns[0].empty() || columns[1].empty()) {
      return Status::error(StatusCode::kInvalid, "read tokens", name,
                           fmt::format("line {} must be token,user,uid[,\"group,...\"]", number));
    }
    User user;
    user.name = columns[1];
    user.uid = columns[2];
    if (columns.size() > kFewest) {
      net::for_each_element(columns[kFewest], [&user](std::string_view group) {
        if (!group.empty()) user.groups.emplace_back(group);
      });
    }
    tokens.emplace_back(columns[0], std::move(user));
  }
  return std::unique_ptr<Authenticator>(std::make_unique<TokenAuthenticator>(std::move(tokens)));
}

std::optional<User> Authentication::authenticate(const net::HttpRequest& request) const {
  for (const auto& each : authenticators_) {
    auto user = each->authenticate(request);
    if (!user) return std::nullopt;
    if (!user.value()) continue;
    if (!user.value()->in_group(kAuthenticated)) {
      user.value()->groups.emplace_back(kAuthenticated);
    }
    return std::move(user).value();
  }
  return std::nullopt;
}

std::optional<User> Authentication::check_token(std::string_view token) const {
  for (const auto& each : authenticators_) {
    auto user = each->check_token(token);
    if (!user) continue;
    if (!user->in_group(kAuthenticated)) user->groups.emplace_back(kAuthenticated);
    return user;
  }
  return std::nullopt;
}

}  // namespace fairlead::auth
