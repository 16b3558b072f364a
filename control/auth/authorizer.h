// May a user do this: authorizers, asked in order until one says yes or no; if none does, it is no.
//
// Here everybody who has proved who they are may do everything. Rules by role are one more
// authorizer, in front of or instead of that one.
//
// Threads: all functions from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/auth/user.h"

namespace fairlead::auth {

// What is asked for; of a path that is no resource's only `verb` and `path` are set.
struct Attributes {
  std::string verb;
  std::string group;
  std::string version;
  std::string resource;
  std::string subresource;
  std::string space;
  std::string name;
  std::string path;
};

enum class Decision { kAllow, kDeny, kNoOpinion };

struct Verdict {
  Decision decision = Decision::kNoOpinion;
  std::string reason;

  bool allowed() const { return decision == Decision::kAllow; }
};

// A rule as SelfSubjectRulesReview lists it.
struct Rule {
  std::vector<std::string> verbs;
  std::vector<std::string> groups;
  std::vector<std::string> resources;
  std::vector<std::string> paths;  // instead of groups and resources
};

class Authorizer {
 public:
  virtual ~Authorizer() = default;
  virtual Verdict authorize(const User& user, const Attributes& attributes) const = 0;
  // What the user may do in a namespace.
  virtual std::vector<Rule> rules(const User& user, std::string_view space) const = 0;
};

// Members of system:masters may do everything, whatever the others say.
std::unique_ptr<Authorizer> make_masters_authorizer();
// Everybody in system:authenticated may do everything.
std::unique_ptr<Authorizer> make_authenticated_authorizer();
std::unique_ptr<Authorizer> make_authorizer_chain(
    std::vector<std::unique_ptr<Authorizer>> authorizers);

}  // namespace fairlead::auth
