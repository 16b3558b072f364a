// iptables-save and iptables-restore: how rules are read and written, in both IP families.
//
// There are two programs of that name: "legacy" replaces a table as one block of memory, "nft"
// writes nf_tables. A node must use one of them only, the one that the kubelet and everybody else
// there use; detect_variant() finds it out.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "iptables/process.h"

namespace fairlead::iptables {

enum class Variant : uint8_t { kLegacy, kNft };
std::string_view to_string(Variant variant);  // "legacy", "nft"

class Tool {
 public:
  virtual ~Tool() = default;

  virtual Variant variant() const = 0;

  // One table ("nat"), or all for an empty name, as iptables-save writes it, without counters. A
  // table that does not exist yet is no text or one with empty chains. The nft variant reads all
  // tables whatever it prints: ask once. kUnsupported: in nat, filter or mangle somebody has
  // written by nft what this tool cannot show; restore() goes on working.
  virtual Result<std::string> save(dataplane::Family family, std::string_view table) = 0;

  // iptables-restore --noflush --counters: chains that `input` declares (":KUBE-SVC-X - [0:0]") are
  // created or emptied, other chains stay. A table goes in as a whole or not at all; of several
  // tables those before a failing one are in. Waits for the lock for seconds.
  //
  // kUnavailable: somebody holds the lock, or the kernel was busy; later it may work. kInvalid: the
  // tool or the kernel refused the input; the detail is what the tool said.
  virtual Status restore(dataplane::Family family, std::string_view input) = 0;

  // False also when the family's program is not installed: then nobody can tell. kUnsupported: as
  // for save().
  virtual Result<bool> has_chain(dataplane::Family family, std::string_view table,
                                 std::string_view chain) = 0;

  // The rules of one chain with their counters: "-A CHAIN ... -c PACKETS BYTES ...".
  virtual Result<std::string> list_chain(dataplane::Family family, std::string_view table,
                                         std::string_view chain) = 0;

  // A number that differs when somebody has changed the table's rules since the last call, found
  // without reading them. The nft variant also counts changes of other tables; the legacy variant
  // does not see a change that leaves the table's size and number of rules as they were.
  virtual Result<uint64_t> stamp(dataplane::Family family, std::string_view table) = 0;
};

// Which variants are installed.
std::vector<Variant> installed_variants(ProcessRunner& runner);

// The variant in which the kubelet keeps its hint (KUBE-IPTABLES-HINT, KUBE-KUBELET-CANARY), else
// that of an earlier proxy (KUBE-PROXY-CANARY), else the one that has more rules, else the one that
// "iptables" stands for. kNotFound when no iptables is installed.
Result<Variant> detect_variant(ProcessRunner& runner);

// Do the tool and the kernel's tables work in `family`? Leaves no rule behind; tables of the
// kernel's that did not exist may be there then, empty. kUnavailable: cannot be said now. Any other
// error: no, and how to get what is missing.
Status check_family(Tool& tool, dataplane::Family family);

// On the network namespace of the calling thread. Precondition: `runner` is not null.
std::unique_ptr<Tool> create_tool(std::unique_ptr<ProcessRunner> runner, Variant variant);

}  // namespace fairlead::iptables
