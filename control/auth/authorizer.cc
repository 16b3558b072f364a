#include "control/auth/authorizer.h"

namespace fairlead::auth {
namespace {

class GroupAuthorizer : public Authorizer {
 public:
  explicit GroupAuthorizer(std::string_view group) : group_(group) {}

  Verdict authorize(const User& user, const Attributes&) const override {
    if (!user.in_group(group_)) return {};
    return {Decision::kAllow, "member of " + std::string(group_)};
  }

  std::vector<Rule> rules(const User& user, std::string_view) const override {
    if (!user.in_group(group_)) return {};
    return {{{"*"}, {"*"}, {"*"}, {}}, {{"*"}, {}, {}, {"*"}}};
  }

 private:
  std::string_view group_;
};

class Chain : public Authorizer {
 public:
  explicit Chain(std::vector<std::unique_ptr<Authorizer>> authorizers)
      : authorizers_(std::move(authorizers)) {}

  Verdict authorize(const User& user, const Attributes& attributes) const override {
    std::string reason;
    for (const auto& each : authorizers_) {
      Verdict verdict = each->authorize(user, attributes);
      if (verdict.decision != Decision::kNoOpinion) return verdict;
      if (verdict.reason.empty()) continue;
      reason += (reason.empty() ? "" : "; ") + verdict.reason;
    }
    return {Decision::kNoOpinion, reason};
  }

  std::vector<Rule> rules(const User& user, std::string_view space) const override {
    std::vector<Rule> all;
    for (const auto& each : authorizers_) {
      for (Rule& rule : each->rules(user, space)) all.push_back(std::move(rule));
    }
    return all;
  }

 private:
  std::vector<std::unique_ptr<Authorizer>> authorizers_;
};

}  // namespace

std::unique_ptr<Authorizer> make_masters_authorizer() {
  return std::make_unique<GroupAuthorizer>(kMasters);
}

std::unique_ptr<Authorizer> make_authenticated_authorizer() {
  return std::make_unique<GroupAuthorizer>(kAuthenticated);
}

std::unique_ptr<Authorizer> make_authorizer_chain(
    std::vector<std::unique_ptr<Authorizer>> authorizers) {
  return std::make_unique<Chain>(std::move(authorizers));
}

}  // namespace fairlead::auth
