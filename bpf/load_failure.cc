#include "bpf/load_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "bpf/map_rows.h"

namespace fairlead::bpf {
namespace {

// The text between `before` and `after`, at the last place where the two stand in one line.
std::string_view last_between(std::string_view text, std::string_view before,
                              std::string_view after) {
  for (size_t at = text.rfind(before); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : text.rfind(before, at - 1)) {
    const std::string_view rest = text.substr(at + before.size());
    const size_t end = rest.find(after);
    if (end < rest.find('\n')) return rest.substr(0, end);
  }
  return {};
}

// The last `count` lines of what the verifier said, in one line; its statistics are left out.
std::string last_words(std::string_view log, size_t count) {
  constexpr std::string_view kBegin = "BEGIN PROG LOAD LOG --\n";
  const size_t begin = log.rfind(kBegin);
  if (begin == std::string_view::npos) return {};
  log.remove_prefix(begin + kBegin.size());
  log = log.substr(0, log.find("-- END PROG LOAD LOG"));
  std::vector<std::string_view> lines;
  while (!log.empty()) {
    const std::string_view line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(log.size(), line.size() + 1));
    const bool statistics = line.starts_with("processed ") || line.starts_with("verification time");
    if (!line.empty() && !statistics) lines.push_back(line);
  }
  std::string words;
  for (size_t i = lines.size() - std::min(lines.size(), count); i < lines.size(); ++i) {
    if (!words.empty()) words += " | ";
    words += lines[i];
  }
  return words;
}

}  // namespace

std::string last_line(std::string_view log) {
  constexpr std::string_view kPrefix = "libbpf: ";
  std::string_view last;
  while (!log.empty()) {
    std::string_view line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(log.size(), line.size() + 1));
    if (line.starts_with(kPrefix)) line.remove_prefix(kPrefix.size());
    // Every failure ends with this, and it says nothing.
    if (!line.empty() && !line.starts_with("failed to load object")) last = line;
  }
  return std::string(last);
}

std::string_view refused_program(std::string_view log) {
  return last_between(log, "prog '", "': BPF program load failed");
}

Status explain_load_failure(int error, std::string_view log, std::string_view otherwise) {
  const std::string reason = Status::from_errno(error, "", "").detail();
  const StatusCode code = error == EPERM ? StatusCode::kPermission : StatusCode::kUnsupported;
  const std::string_view permission =
      error == EPERM ? "give the container \"privileged: true\" or capabilities BPF, NET_ADMIN, "
                       "PERFMON"
                     : "";
  if (const std::string_view program = refused_program(log); !program.empty()) {
    const std::string words = last_words(log, 3);
    return Status::error(
        code, "load eBPF program", program,
        fmt::format("the kernel refuses it: {}{}{}; {}", reason, words.empty() ? "" : ": ", words,
                    permission.empty() ? otherwise : permission));
  }
  if (const std::string_view name = last_between(log, "map '", "': failed to create");
      !name.empty()) {
    const auto row = std::find_if(kMapRows.begin(), kMapRows.end(),
                                  [&](const MapRow& candidate) { return candidate.name == name; });
    std::string advice(permission);
    if (advice.empty() && row != kMapRows.end() && !row->flag.empty()) {
      advice = fmt::format("lower {}, or give the node more memory", row->flag);
    }
    return Status::error(error == ENOMEM || error == E2BIG ? StatusCode::kExhausted : code,
                         "create eBPF map", name, reason + (advice.empty() ? "" : "; " + advice));
  }
  const std::string words = permission.empty() ? last_line(log) : "";  // it guesses at others
  return Status::error(code, "load", "the eBPF programs",
                       fmt::format("{}{}{}{}{}", reason, words.empty() ? "" : ": ", words,
                                   permission.empty() ? "" : "; ", permission));
}

}  // namespace fairlead::bpf
