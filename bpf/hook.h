// One place where a program of ours hangs: a link, or a classifier on clsact. Of attach.h alone.
//
// Threads: one owner. Nothing is detached by destruction.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "bpf/devices.h"
#include "bpf/object.h"

namespace fairlead::bpf {

// Linux 6.6; libbpf's and Debian 12's headers do not know them.
inline constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
inline constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);

// What a name in the directory of links says: "fl_connect4", "fl_ingress-7", "fl_xdp-7-native".
struct HookName {
  Program program;
  uint32_t device = 0;  // 0: a socket program
  std::optional<XdpMode> xdp;

  std::string text() const;
  static std::optional<HookName> parse(std::string_view text);
};

class Hook {
 public:
  virtual ~Hook() = default;
  const HookName& name() const { return name_; }
  std::string label() const;  // "fl_ingress on device 7 (eth0)"

  // The program that hangs there now; kNotFound when the place is gone or was emptied.
  virtual Result<uint32_t> program_id() const = 0;
  // Exchanges the program, without a moment in which none hangs there.
  virtual Status exchange(int program) = 0;
  virtual Status detach() = 0;
  // Keeps it beyond this process, under its name in `directory`.
  virtual Status pin(const std::string& directory) = 0;
  virtual bool pinned() const = 0;

 protected:
  explicit Hook(HookName name) : name_(name) {}

 private:
  HookName name_;
};

// `pin_path` empty: not pinned yet.
std::unique_ptr<Hook> make_link_hook(HookName name, Fd link, std::string pin_path);
// Opens a link that is pinned at `path`.
Result<std::unique_ptr<Hook>> open_link_hook(HookName name, const std::string& path);
// The id of the cgroup or the index of the device on which it hangs; 0: it is gone.
uint64_t hook_target(const Hook& hook);

Result<std::unique_ptr<Hook>> attach_to_cgroup(Program program, int fd, int cgroup);

// tc
Result<std::unique_ptr<Hook>> attach_tcx(Program program, int fd, uint32_t device);
Result<std::unique_ptr<Hook>> attach_classifier(Program program, int fd, uint32_t device);
// Where no classifier of anybody is left. Costs packets that the device is sending.
void remove_empty_clsact(uint32_t device);
// Our classifiers on every device of this network namespace.
Result<std::vector<std::unique_ptr<Hook>>> find_classifiers();

// XDP
Result<std::unique_ptr<Hook>> attach_xdp(int fd, uint32_t device, XdpMode mode);

uint32_t program_id_of(int program);  // 0 when it is no program
Result<Fd> program_of_id(uint32_t id);

}  // namespace fairlead::bpf
