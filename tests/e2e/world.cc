#include "tests/e2e/world.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace fairlead::e2e {
namespace {

using dataplane::Family;
using dataplane::Protocol;
using harness::Topology;

const char* variant() {
  return std::getenv("FAIRLEAD_IPTABLES_VARIANT");
}

std::string_view flag_name(std::string_view argument) {
  return argument.substr(0, argument.find('='));
}

// The pods behind the mark, in turn, so that one that is seen tells which slice is in effect.
constexpr const char* kMarkPods[] = {"a1", "a2", "a3"};

}  // namespace

const std::vector<Mode>& modes() {
  using harness::Feature;
  static const std::vector<Mode> all = {
      {"nftables",
       {Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kIPv6, Feature::kNftables}},
      {"iptables",
       {Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kIPv6, Feature::kIptables}},
      {"ebpf",
       {Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kIPv6, Feature::kBpf,
        Feature::kCgroup2}},
      {"ipvs", {Feature::kRoot, Feature::kNetns, Feature::kVeth, Feature::kIPv6, Feature::kIpvs}},
  };
  return all;
}

Result<World*> World::get() {
  struct Built {
    std::unique_ptr<World> world{new World()};
    Status status = world->build();
  };
  // Ends with the process, after the last test.
  static const Built built;
  if (!built.status) return built.status;
  return built.world.get();
}

World::~World() {
  proxy_.reset();
  if (!log_path_.empty()) ::unlink(log_path_.c_str());
}

// Where the machine has what it takes. All that runs on the node under test is inside, as it would
// be in the root cgroup of a real node; clients and servers elsewhere are not.
Status World::build_sandbox() {
  using harness::Feature;
  if (!harness::missing_features({Feature::kRoot, Feature::kBpf, Feature::kCgroup2}).empty()) {
    return {};
  }
  ASSIGN_OR_RETURN(sandbox_, harness::BpfSandbox::create());
  return {};
}

Status World::build() {
  RETURN_IF_ERROR(build_sandbox());
  ASSIGN_OR_RETURN(topology_, Topology::create([this](std::string_view name) {
                     return sandbox_ && Topology::runs_on_node_a(name) ? sandbox_->enter()
                                                                       : Status();
                   }));
  ASSIGN_OR_RETURN(api_, Api::start(at("node-a")));
  const char* directory = std::getenv("TMPDIR");
  log_path_ = std::string(directory != nullptr ? directory : "/tmp") + "/fairlead-e2e-" +
              std::to_string(::getpid()) + ".log";
  marks_ = std::make_unique<harness::Cluster>(*api_, [] {});
  mark_ =
      std::make_unique<harness::ServiceObject>(marks_->service("mark").protocols({Protocol::kTcp}));
  cluster_ = std::make_unique<harness::Cluster>(
      *api_, [this] { settle(); }, 2);
  marks_->write_node();
  return hint_at_variant();
}

std::string World::iptables_tool(dataplane::Family family) {
  const std::string tool = family == dataplane::Family::kIPv4 ? "iptables" : "ip6tables";
  return variant() == nullptr ? tool : tool + "-" + variant();
}

// Which variant of iptables the kubelet uses: so the daemon takes the same.
Status World::hint_at_variant() {
  if (variant() == nullptr) return {};
  return at("node-a").run([] {
    return harness::run_checked({iptables_tool(dataplane::Family::kIPv4), "-w", "-t", "mangle",
                                 "-N", "KUBE-IPTABLES-HINT"});
  });
}

std::vector<std::string> World::arguments(const std::string& mode,
                                          const std::vector<std::string>& flags) const {
  std::vector<std::string> all = {
      "--proxy-mode=" + mode,
      "--master=" + api_->url(),
      "--hostname-override=node-a",
      "--cluster-cidr=" + Topology::cluster_cidrs(),
      "--healthz-bind-address=0.0.0.0:" + std::to_string(harness::kHealthPort),
      "--metrics-bind-address=127.0.0.1:" + std::to_string(harness::kMetricsPort),
      "--audit-period=1s",
      "--conntrack-max-per-core=0",  // the machine's own limits are none of a test's business
      "--oom-score-adj=0",
      "--v=2",
  };
  if (mode == "ebpf") all.push_back("--ebpf-cgroup=" + sandbox_->inside_path());
  for (const std::string& flag : flags) {
    std::erase_if(all,
                  [&](const std::string& known) { return flag_name(known) == flag_name(flag); });
    all.push_back(flag);
  }
  return all;
}

Status World::ensure_proxy(const std::string& mode, const std::vector<std::string>& flags) {
  if (proxy_ && proxy_->running() && mode == mode_ && flags == flags_) return {};
  stop_proxy();
  if (!mode_.empty() && mode != mode_) RETURN_IF_ERROR(clean_up());
  mode_ = mode;
  flags_ = flags;
  // The eBPF mode's masquerading ports are below Linux's own range for clients, and nobody else's.
  harness::use_client_ports_from(mode == "ebpf" ? 32768 : 10000);
  return start_proxy();
}

Status World::switch_mode(const std::string& mode) {
  stop_proxy();
  mode_ = mode;
  return start_proxy();
}

Status World::start_proxy(std::chrono::milliseconds at_most) {
  ASSIGN_OR_RETURN(proxy_,
                   harness::ProxyProcess::start(at("node-a"), arguments(mode_, flags_), log_path_));
  return proxy_->wait_ready(at_most);
}

void World::stop_proxy() {
  if (proxy_ && proxy_->running()) {
    const Result<int> code = proxy_->stop();
    EXPECT_TRUE(code.ok()) << code.status().message();
    if (code.ok()) {
      EXPECT_EQ(*code, 0) << proxy_->log_tail();
    }
  }
  proxy_.reset();
}

Status World::clean_up() {
  std::vector<std::string> all = arguments(mode_, flags_);
  all.push_back("--cleanup");
  ASSIGN_OR_RETURN(const harness::CommandResult result,
                   harness::run_proxy(at("node-a"), std::move(all)));
  if (result.exit_code == 0) return {};
  return Status::error(StatusCode::kInternal, "clean up", mode_, result.output);
}

bool World::settle() {
  const std::string pod = kMarkPods[++settled_ % std::size(kMarkPods)];
  mark_->port(static_cast<uint16_t>(1000 + settled_)).endpoints({harness::EndpointObject{pod}});
  mark_->write();
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    const harness::Question question{&at("outside"), mark_->at_cluster_ip(family).front(), "", 0};
    harness::Answer last;
    const bool answered = harness::eventually([&] {
      last = harness::ask(question, harness::kSilence);
      return last.endpoint == pod;
    });
    if (!answered) {
      ADD_FAILURE() << "the node does not take up changes: " << question.target.to_string()
                    << " should be answered by " << pod << " but is " << last.to_string();
      return false;
    }
  }
  return true;
}

std::string World::diagnosis() {
  std::string text = "--- to look inside: nsenter --net=" + at("node-a").path() +
                     " --mount=/proc/" + std::to_string(::getpid()) + "/ns/mnt\n";
  text += mode_ == "ebpf"       ? ebpf_state()
          : mode_ == "iptables" ? iptables_state()
          : mode_ == "ipvs"     ? ipvs_state()
                                : nftables_state();
  // What connection tracking holds of questions without an answer; where the kernel shows it.
  const Result<harness::CommandResult> unanswered = at("node-a").run([] {
    return harness::run_command({"grep", "UNREPLIED", "/proc/thread-self/net/nf_conntrack"});
  });
  if (unanswered) text += "--- unanswered flows\n" + unanswered->output.substr(0, 8000);
  if (proxy_) text += "--- the end of the daemon's log\n" + proxy_->log_tail();
  return text;
}

std::string World::nftables_state() {
  std::string text;
  // What is fixed in the rules is long and the same every time: the elements tell more.
  for (const char* kind : {"maps", "sets"}) {
    const Result<harness::CommandResult> rules = at("node-a").run([kind] {
      return harness::run_command({"nft", "list", kind});
    });
    if (rules) text += "--- nft list " + std::string(kind) + "\n" + rules->output.substr(0, 8000);
  }
  return text;
}

std::string World::iptables_state() {
  std::string text;
  for (const char* save : {"iptables-legacy-save", "ip6tables-legacy-save", "iptables-nft-save",
                           "ip6tables-nft-save"}) {
    const Result<harness::CommandResult> rules = at("node-a").run([save] {
      return harness::run_command({save, "-c"});
    });
    if (rules) text += "--- " + std::string(save) + "\n" + rules->output.substr(0, 12000);
  }
  return text;
}

std::string World::ipvs_state() {
  std::string text;
  for (const char* tool : {"ipvsadm -L -n", "ip -brief address", "ipset save", "iptables-save -c",
                           "ip6tables-save -c"}) {
    const Result<harness::CommandResult> said = at("node-a").run([tool] {
      return harness::run_command({"sh", "-c", tool});
    });
    if (said) text += "--- " + std::string(tool) + "\n" + said->output.substr(0, 8000);
  }
  return text;
}

std::string World::ebpf_state() {
  std::string text;
  const auto run = [&](std::vector<std::string> command, size_t most) {
    const Result<harness::CommandResult> result =
        at("node-a").run([&] { return harness::run_command(command); });
    std::string line = "--- ";
    for (const std::string& word : command) line += word + " ";
    if (result) text += line + "\n" + result->output.substr(0, most) + "\n";
  };
  constexpr size_t kPage = 4000;
  std::error_code ignored;
  for (const auto& pin : std::filesystem::recursive_directory_iterator("/sys/fs/bpf", ignored)) {
    text += pin.path().string() + "\n";
    for (const char* small : {"fl_frontends", "fl_node_addresses", "fl_devices", "fl_config",
                              "fl_new_flows", "fl_flows"}) {
      if (pin.path().filename() != small) continue;
      run({"bpftool", "map", "dump", "pinned", pin.path()}, kPage);
    }
  }
  if (!proxy_) return text;
  const Result<harness::HttpAnswer> metrics = proxy_->get_metrics("/metrics");
  std::istringstream lines(metrics ? metrics->body : "");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("fairlead_backend_") && !line.ends_with(" 0")) text += line + "\n";
  }
  return text;
}

}  // namespace fairlead::e2e
