// Who makes a request: authenticators, asked in order until one knows.
//
// Here: client certificates (common name: user, organizations: groups) and a static file of
// tokens. A further way (service account tokens, OIDC) is one more object in the list.
//
// Threads: all functions from any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/auth/user.h"
#include "control/net/server.h"

namespace fairlead::auth {

class Authenticator {
 public:
  virtual ~Authenticator() = default;
  // nullopt: the request has no credentials of this kind. An error: it has, and they are wrong.
  virtual Result<std::optional<User>> authenticate(const net::HttpRequest& request) const = 0;
  // The same for a bare token, as TokenReview asks; nullopt: not known.
  virtual std::optional<User> check_token(std::string_view token) const = 0;
};

// Of certificates that the transport has verified.
std::unique_ptr<Authenticator> make_certificate_authenticator();

// kube-apiserver's --token-auth-file: CSV lines "token,user,uid,"group1,group2"", '#' begins a
// comment line. `name` is for messages.
Result<std::unique_ptr<Authenticator>> make_token_authenticator(std::string_view csv,
                                                                std::string_view name);

class Authentication {
 public:
  explicit Authentication(std::vector<std::unique_ptr<Authenticator>> authenticators)
      : authenticators_(std::move(authenticators)) {}

  // With system:authenticated among the groups; nullopt: 401.
  std::optional<User> authenticate(const net::HttpRequest& request) const;
  std::optional<User> check_token(std::string_view token) const;

 private:
  std::vector<std::unique_ptr<Authenticator>> authenticators_;
};

}  // namespace fairlead::auth
