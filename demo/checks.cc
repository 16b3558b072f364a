#include "demo/checks.h"

namespace fairlead::demo {

using harness::Answer;

Status expect(bool holds, std::string_view what, std::string_view found) {
  if (holds) return {};
  return Status::error(StatusCode::kInternal, "expect", what, found);
}

Status expect_all_from(const std::vector<Answer>& answers, const std::set<std::string>& pods,
                       std::string_view what) {
  for (const Answer& answer : answers) {
    RETURN_IF_ERROR(expect(pods.contains(answer.endpoint), what, answer.to_string()));
  }
  return {};
}

std::function<bool(const Answer&)> answered_by(std::string_view pod) {
  return [pod = std::string(pod)](const Answer& answer) { return answer.endpoint == pod; };
}

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace fairlead::demo
