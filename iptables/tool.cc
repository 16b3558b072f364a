#include "iptables/tool.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <utility>

#include "base/log.h"
#include "iptables/layout.h"
#include "iptables/stamp.h"

namespace fairlead::iptables {
namespace {

using dataplane::Family;

constexpr std::array<Family, 2> kFamilies = {Family::kIPv4, Family::kIPv6};
// How long a tool waits for the lock that all users of iptables share.
constexpr const char* kLockSeconds = "5";
// Of the tools' exit codes, what may go away by itself: locked, or out of memory.
constexpr int kResourceProblem = 4;

std::string program(Variant variant, Family family, std::string_view suffix) {
  return std::string(family == Family::kIPv4 ? "iptables-" : "ip6tables-") +
         std::string(to_string(variant)) + std::string(suffix);
}

// What a tool said, in one clause: warnings and hints to read the manual left out.
std::string reason_of(const CommandResult& result) {
  std::string reason;
  std::string_view rest = result.errors;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.empty() || line.starts_with("#") || line.starts_with("Try `")) continue;
    if (!reason.empty()) reason += "; ";
    reason += line;
    if (reason.size() > 500) break;
  }
  if (reason.empty()) reason = "exit code " + std::to_string(result.exit_code);
  return reason;
}

// The nft tool says of a table that it cannot show only that, in a comment, and calls it a success:
// "# Table `nat' is incompatible, use 'nft' tool." To take the table for empty would be to write
// everything once more.
Status readable(std::string_view text, const std::string& tool) {
  for (const Table table : kTables) {
    const std::string name(to_string(table));
    const std::string told = "# Table `" + name + "' is incompatible";
    if (!text.starts_with(told) && text.find("\n" + told) == std::string_view::npos) continue;
    return Status::error(StatusCode::kUnsupported, "read rules by", tool,
                         "table " + name +
                             " has rules that it cannot show: written by nft, as "
                             "\"nft list ruleset\" shows them");
  }
  return {};
}

Status failure(const CommandResult& result, std::string_view operation, const std::string& tool) {
  // The legacy tools have one code for a full memory and a lost race; nf_tables says it in words.
  const bool passing = result.exit_code == kResourceProblem ||
                       result.errors.find("Resource temporarily") != std::string::npos ||
                       result.errors.find("Device or resource busy") != std::string::npos;
  const bool refused = result.errors.find("ermission denied") != std::string::npos ||
                       result.errors.find("not permitted") != std::string::npos;
  return Status::error(refused   ? StatusCode::kPermission
                       : passing ? StatusCode::kUnavailable
                                 : StatusCode::kInvalid,
                       operation, tool, reason_of(result));
}

// Asking the legacy tool about a table makes the kernel create it, which must not happen on a node
// that does not use it.
bool legacy_table_exists(Family family, std::string_view table) {
  std::ifstream names(family == Family::kIPv4 ? "/proc/thread-self/net/ip_tables_names"
                                              : "/proc/thread-self/net/ip6_tables_names");
  for (std::string name; std::getline(names, name);) {
    if (name == table) return true;
  }
  return false;
}

class CommandTool final : public Tool {
 public:
  CommandTool(std::unique_ptr<ProcessRunner> runner, Variant variant)
      : runner_(std::move(runner)), variant_(variant) {}

  Variant variant() const override { return variant_; }

  Result<std::string> save(Family family, std::string_view table) override {
    // Without a table's name, the legacy tool prints those that exist.
    if (!table.empty() && !may_ask(family, table)) return std::string();
    std::vector<std::string> arguments;
    if (!table.empty()) arguments = {"-t", std::string(table)};
    std::string text;
    ASSIGN_OR_RETURN(text, run(family, "-save", std::move(arguments), {}, "read rules by"));
    RETURN_IF_ERROR(readable(text, program(variant_, family, "-save")));
    return text;
  }
  Result<bool> has_chain(Family family, std::string_view table, std::string_view chain) override {
    if (!may_ask(family, table)) return false;
    const Status listed =
        run(family, "", {"-w", kLockSeconds, "-t", std::string(table), "-S", std::string(chain)},
            {}, "look for a chain by")
            .status();
    if (listed) return true;
    if (listed.code() == StatusCode::kNotFound) {
      LOG_V(1, "{} rules are not looked for: {}", to_string(family), listed.message());
      return false;
    }
    if (listed.code() != StatusCode::kInvalid) return listed;
    if (listed.detail().find("is incompatible") == std::string::npos) return false;
    // So the nft tool says of a chain that is missing, too.
    std::string text;
    ASSIGN_OR_RETURN(text, save(family, table));
    return text.find("\n:" + std::string(chain) + " ") != std::string::npos;
  }
  Status restore(Family family, std::string_view input) override {
    return run(family, "-restore", {"-w", kLockSeconds, "--noflush", "--counters"}, input,
               "write rules by")
        .status();
  }
  Result<std::string> list_chain(Family family, std::string_view table,
                                 std::string_view chain) override {
    if (!may_ask(family, table)) return std::string();
    return run(family, "",
               {"-w", kLockSeconds, "-t", std::string(table), "-v", "-S", std::string(chain)}, {},
               "list chain by");
  }
  Result<uint64_t> stamp(Family family, std::string_view table) override {
    return variant_ == Variant::kLegacy ? legacy_stamp(family, table) : nft_stamp();
  }

 private:
  bool may_ask(Family family, std::string_view table) const {
    return variant_ != Variant::kLegacy || legacy_table_exists(family, table);
  }

  Result<std::string> run(Family family, std::string_view suffix,
                          std::vector<std::string> arguments, std::string_view input,
                          std::string_view operation) {
    const std::string tool = program(variant_, family, suffix);
    arguments.insert(arguments.begin(), tool);
    Command command;
    command.arguments = std::move(arguments);
    command.input = input;
    Result<CommandResult> result = runner_->run(command);
    if (!result) return result.status();
    if (result->exit_code != 0) return failure(*result, operation, tool);
    return std::move(result->output);
  }

  std::unique_ptr<ProcessRunner> runner_;
  const Variant variant_;
};

std::string output_of(ProcessRunner& runner, std::vector<std::string> arguments) {
  Command command;
  command.arguments = std::move(arguments);
  Result<CommandResult> result = runner.run(command);
  return result.ok() && result->exit_code == 0 ? std::move(result->output) : std::string();
}

std::string saved(ProcessRunner& runner, Variant variant, Family family, std::string_view table) {
  if (variant == Variant::kLegacy && !legacy_table_exists(family, table)) return {};
  return output_of(runner, {program(variant, family, "-save"), "-t", std::string(table)});
}

bool in_mangle(ProcessRunner& runner, Variant variant, std::string_view chain) {
  return std::any_of(kFamilies.begin(), kFamilies.end(), [&](Family family) {
    if (variant == Variant::kLegacy && !legacy_table_exists(family, "mangle")) return false;
    return !output_of(runner, {program(variant, family, ""), "-w", kLockSeconds, "-t", "mangle",
                               "-S", std::string(chain)})
                .empty();
  });
}

size_t count_rules(std::string_view text) {
  size_t rules = 0;
  for (size_t at = text.find("\n-A "); at != std::string_view::npos;
       at = text.find("\n-A ", at + 1))
    ++rules;
  return rules;
}

}  // namespace

std::string_view to_string(Variant variant) {
  return variant == Variant::kLegacy ? "legacy" : "nft";
}

std::vector<Variant> installed_variants(ProcessRunner& runner) {
  std::vector<Variant> variants;
  for (const Variant variant : {Variant::kNft, Variant::kLegacy}) {
    const std::string version =
        output_of(runner, {program(variant, Family::kIPv4, "-restore"), "--version"});
    if (!version.empty()) variants.push_back(variant);
  }
  return variants;
}

Result<Variant> detect_variant(ProcessRunner& runner) {
  const std::vector<Variant> installed = installed_variants(runner);
  if (installed.empty()) {
    return Status::error(StatusCode::kNotFound, "find", "iptables",
                         "neither iptables-nft-restore nor iptables-legacy-restore is in PATH "
                         "(Debian: apt-get install iptables)");
  }
  if (installed.size() == 1) return installed[0];

  for (const char* hint : {"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY", "KUBE-PROXY-CANARY"}) {
    for (const Variant variant : installed) {
      if (in_mangle(runner, variant, hint)) return variant;
    }
  }
  std::array<size_t, 2> rules{};
  for (size_t i = 0; i < rules.size(); ++i) {
    for (const Family family : kFamilies) {
      for (const char* table : {"nat", "filter"}) {
        rules[i] += count_rules(saved(runner, installed[i], family, table));
      }
    }
  }
  if (rules[0] != rules[1]) return installed[rules[0] > rules[1] ? 0 : 1];
  const std::string version = output_of(runner, {"iptables", "--version"});
  return version.find("legacy") != std::string::npos ? Variant::kLegacy : Variant::kNft;
}

Status check_family(Tool& tool, Family family) {
  // Only writing shows that the tables are there: the nft tool reads missing ones as empty. Each
  // rule is gone again in the same transaction.
  constexpr std::string_view kNatRule = "POSTROUTING -m comment --comment fairlead -j MASQUERADE\n";
  constexpr std::string_view kFilterRule = "FORWARD -m comment --comment fairlead -j REJECT\n";
  std::string input = "*nat\n";
  for (const char* verb : {"-A ", "-D "}) input.append(verb).append(kNatRule);
  input += "COMMIT\n*filter\n";
  for (const char* verb : {"-A ", "-D "}) input.append(verb).append(kFilterRule);
  const Status written = tool.restore(family, input + "COMMIT\n");
  if (written) return {};
  StatusCode code = written.code();
  // For the nft tool it is one code whether the kernel is busy or lacks something.
  if (written.detail().find("No such file or directory") != std::string::npos ||
      written.detail().find("not supported") != std::string::npos) {
    if (code == StatusCode::kUnavailable) code = StatusCode::kUnsupported;
  }
  if (code == StatusCode::kUnavailable) return written;
  const bool v4 = family == Family::kIPv4;
  std::string mending;
  if (code == StatusCode::kNotFound) {
    mending = v4 ? "install iptables" : "install ip6tables; Debian's package iptables has it";
  } else if (tool.variant() == Variant::kNft) {
    mending = v4 ? "try: modprobe -a nft_chain_nat nft_compat xt_MASQUERADE ipt_REJECT"
                 : "try: modprobe -a nft_chain_nat nft_compat xt_MASQUERADE ip6t_REJECT";
  } else {
    mending = v4 ? "try: modprobe -a iptable_nat iptable_filter xt_MASQUERADE ipt_REJECT"
                 : "try: modprobe -a ip6table_nat ip6table_filter xt_MASQUERADE ip6t_REJECT";
  }
  return Status::error(code, written.operation(), written.object(),
                       written.detail() + " (" + mending + ")");
}

std::unique_ptr<Tool> create_tool(std::unique_ptr<ProcessRunner> runner, Variant variant) {
  return std::make_unique<CommandTool>(std::move(runner), variant);
}

}  // namespace fairlead::iptables
