#include "nftables/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "nftables/ruleset.h"

namespace fairlead::nftables {
namespace {

using dataplane::Ack;
using dataplane::AuditReport;
using dataplane::Delta;
using dataplane::EntryKey;
using dataplane::EntryKeyHash;
using dataplane::Family;
using dataplane::NodeRules;

// Interface names go into commands: only what the kernel and nft both take without quoting.
bool plain_interface_name(const std::string& name) {
  return name.size() < 16 && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.' || c == ':' || c == '@';
         });
}

class NftablesBackend final : public dataplane::Backend {
 public:
  NftablesBackend(std::unique_ptr<NetlinkTransport> transport, std::unique_ptr<TextClient> text,
                  FamilyOptions options)
      : transport_(std::move(transport)), text_(std::move(text)), options_(options) {}

  std::string_view name() const override { return "nftables"; }
  Status can_serve(Family family) override;
  Status start(const NodeRules& rules) override;
  Result<Ack> apply(const Delta& delta) override;
  bool disturbed() override;
  Result<AuditReport> audit() override;
  std::vector<dataplane::Counter> counters() override;
  Status remove_all() override;

 private:
  // Brings the delta's entries of one family into its table.
  static Status render(const Delta& delta, Family family, FamilyTable& table,
                       std::vector<dataplane::Refusal>& refused);
  // Sets disturbed_ when others have committed since the last call.
  Status notice_others();
  Result<uint32_t> generation();

  std::unique_ptr<NetlinkTransport> transport_;
  std::unique_ptr<TextClient> text_;
  FamilyOptions options_;
  std::vector<std::pair<Family, std::unique_ptr<FamilyTable>>> tables_;
  // At the last notice_others(): the generation of nf_tables, and our own commits.
  uint32_t generation_ = 0;
  uint64_t commits_ = 0;
  bool disturbed_ = false;
};

Result<uint32_t> NftablesBackend::generation() {
  return KernelState(*transport_, Family::kIPv4).generation();
}

// Every commit adds one to the generation: what it grew by beyond our own was somebody else,
// whenever that was.
Status NftablesBackend::notice_others() {
  uint32_t now = 0;
  ASSIGN_OR_RETURN(now, generation());
  uint64_t commits = 0;
  for (const auto& [family, table] : tables_) commits += table->commits();
  disturbed_ |= now - generation_ != static_cast<uint32_t>(commits - commits_);
  generation_ = now;
  commits_ = commits;
  return {};
}

Status NftablesBackend::can_serve(Family family) {
  // What a kernel may have in one family and lack in the other.
  const Status checked = text_->check(
      fmt::format("add table {0} fairlead-check\n"
                  "add chain {0} fairlead-check nat {{ type nat hook postrouting priority 100; }}\n"
                  "add rule {0} fairlead-check nat masquerade\n"
                  "add chain {0} fairlead-check in {{ type filter hook prerouting priority 0; }}\n"
                  "add rule {0} fairlead-check in reject\n",
                  nft_family(family)));
  if (checked) return {};
  StatusCode code = checked.code();
  for (const char* passing : {"temporarily unavailable", "busy", "allocate memory", "No buffer"}) {
    if (checked.detail().find(passing) != std::string::npos) code = StatusCode::kUnavailable;
  }
  // The lines below the first show where in the commands it happened.
  return Status::error(
      code, "use", fmt::format("nf_tables for {}", to_string(family)),
      fmt::format("{} (NAT and reject are needed; try: modprobe -a nft_chain_nat nft_masq {})",
                  checked.detail().substr(0, checked.detail().find('\n')),
                  family == Family::kIPv4 ? "nft_reject_ipv4" : "nft_reject_ipv6"));
}

Status NftablesBackend::start(const NodeRules& rules) {
  for (const std::string* name :
       {&rules.detector.bridge_interface, &rules.detector.interface_name_prefix}) {
    if (!plain_interface_name(*name)) {
      return Status::error(StatusCode::kInvalid, "use", "interface name \"" + *name + "\"",
                           "not a name that a network interface can have");
    }
  }
  tables_.clear();
  commits_ = 0;
  disturbed_ = false;
  ASSIGN_OR_RETURN(generation_, generation());
  for (const Family family : rules.families) {
    auto table = std::make_unique<FamilyTable>(family, *transport_, *text_, options_);
    RETURN_IF_ERROR(table->start(rules));
    tables_.emplace_back(family, std::move(table));
  }
  return notice_others();
}

Status NftablesBackend::render(const Delta& delta, Family family, FamilyTable& table,
                               std::vector<dataplane::Refusal>& refused) {
  std::vector<FamilyTable::Change> changes;
  for (const dataplane::EntryPointer& entry : delta.upserted) {
    if (entry->key.family == family) changes.push_back({&entry->key, entry});
  }
  for (const EntryKey& key : delta.removed) {
    if (key.family == family) changes.push_back({&key, nullptr});
  }
  RETURN_IF_ERROR(table.apply(changes, refused));
  if (!delta.complete) return {};
  boost::unordered_flat_set<EntryKey, EntryKeyHash> wanted;
  for (const dataplane::EntryPointer& entry : delta.upserted) {
    if (entry->key.family == family) wanted.insert(entry->key);
  }
  return table.finish_complete(wanted, refused);
}

Result<Ack> NftablesBackend::apply(const Delta& delta) {
  if (delta.node) {
    for (auto& [family, table] : tables_) RETURN_IF_ERROR(table->set_node_rules(*delta.node));
  }
  Ack ack;
  ack.generation = delta.generation;
  for (auto& [family, table] : tables_) {
    const uint64_t before = table->operations();
    std::vector<dataplane::Refusal> refused;
    Status rendered = render(delta, family, *table, refused);
    RETURN_IF_ERROR(notice_others());
    // What failed may have failed because somebody took our elements away, or put some in: set that
    // right and try once more. What is in costs nothing.
    if (disturbed_ && (!rendered || !refused.empty())) {
      AuditReport report;
      RETURN_IF_ERROR(table->audit(report));
      refused.clear();
      rendered = render(delta, family, *table, refused);
    }
    RETURN_IF_ERROR(rendered);
    ack.operations += table->operations() - before;
    ack.refused.insert(ack.refused.end(), refused.begin(), refused.end());
  }
  RETURN_IF_ERROR(notice_others());
  return ack;
}

bool NftablesBackend::disturbed() {
  if (const Status asked = notice_others(); !asked) LOG_V(1, "{}", asked.message());
  return disturbed_;
}

Result<AuditReport> NftablesBackend::audit() {
  RETURN_IF_ERROR(notice_others());
  AuditReport report;
  for (auto& [family, table] : tables_) RETURN_IF_ERROR(table->audit(report));
  // All that others did before is found. What they did meanwhile may be in a set that was compared
  // already.
  disturbed_ = false;
  RETURN_IF_ERROR(notice_others());
  return report;
}

std::vector<dataplane::Counter> NftablesBackend::counters() {
  std::vector<dataplane::Counter> result;
  uint64_t elements = 0;
  for (const auto& [family, table] : tables_) elements += table->element_count();
  result.push_back({"nftables_elements", "Elements in the sets and maps of table fairlead.",
                    static_cast<double>(elements), false});
  result.push_back({"nftables_element_limit", "Elements at which further entries are refused.",
                    static_cast<double>(options_.element_limit * tables_.size()), false});
  for (const CounterSpec& spec : nftables::counters()) {
    double packets = 0;
    for (auto& [family, table] : tables_) {
      const auto values = table->kernel().counters();
      if (!values) continue;
      const auto value = values->find(spec.name);
      if (value != values->end()) packets += static_cast<double>(value->second);
    }
    std::string name = std::string("nftables_") + spec.name + "_packets_total";
    std::replace(name.begin(), name.end(), '-', '_');
    result.push_back({std::move(name), spec.help, packets, true});
  }
  return result;
}

Status NftablesBackend::remove_all() {
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    FamilyTable table(family, *transport_, *text_, options_);
    bool exists = false;
    ASSIGN_OR_RETURN(exists, table.kernel().table_exists());
    if (exists) RETURN_IF_ERROR(table.remove());
  }
  tables_.clear();
  return {};
}

}  // namespace

Status probe() {
  const Result<std::unique_ptr<NetlinkTransport>> transport = open_netlink();
  if (!transport) {
    return Status::error(
        transport.status().code(), "use", "nf_tables",
        transport.status().message() +
            " (needs CAP_NET_ADMIN and a kernel with CONFIG_NF_TABLES; try: modprobe nf_tables)");
  }
  const Result<uint32_t> generation = KernelState(**transport, Family::kIPv4).generation();
  if (!generation) {
    return Status::error(generation.status().code(), "use", "nf_tables",
                         generation.status().message() + " (try: modprobe nf_tables)");
  }
  return {};
}

Result<std::unique_ptr<dataplane::Backend>> create_backend(FamilyOptions options) {
  std::unique_ptr<NetlinkTransport> transport;
  ASSIGN_OR_RETURN(transport, open_netlink());
  std::unique_ptr<TextClient> text;
  ASSIGN_OR_RETURN(text, open_text_client());
  return create_backend(std::move(transport), std::move(text), options);
}

std::unique_ptr<dataplane::Backend> create_backend(std::unique_ptr<NetlinkTransport> transport,
                                                   std::unique_ptr<TextClient> text,
                                                   FamilyOptions options) {
  return std::make_unique<NftablesBackend>(std::move(transport), std::move(text), options);
}

}  // namespace fairlead::nftables
