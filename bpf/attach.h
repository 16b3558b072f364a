// Puts the programs in their places and keeps them there: sockets (a cgroup), tc and XDP (devices).
//
// What hangs somewhere outlives the process: links are pinned, tc filters stay by themselves. A new
// run puts its programs into the places that stand, each by one atomic exchange, so that no packet
// passes without a program: all places, or, when one refuses, none.
//
// tc: a tcx link where the kernel has it, otherwise a classifier on clsact.
//
// Threads: one owner. Devices are those of the calling thread's network namespace.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "bpf/devices.h"
#include "bpf/object.h"
#include "bpf/pins.h"

namespace fairlead::bpf {

class Hook;

// Descriptors by Program; -1: this kernel has not got it and its places stay empty.
using Programs = std::array<int, kProgramCount>;

class Attachments {
 public:
  struct Settings {
    std::string cgroup;     // absolute: where the socket programs attach
    bool allow_tcx = true;  // false: clsact on any kernel
  };
  // Precondition: `programs` stay open as long as this lives.
  Attachments(Pins pins, Settings settings, const Programs& programs);
  ~Attachments();  // leaves everything in place
  Attachments(const Attachments&) = delete;
  Attachments& operator=(const Attachments&) = delete;

  // Looks what stands; changes nothing. Call first. An error: the cgroup or the pins cannot be
  // read.
  Status find();
  // True when places of another layout's version stand: their programs have maps of their own, so
  // they should be taken over only when ours are filled.
  bool others_stand() const { return others_stand_; }

  // Takes over every place that stands, whatever layout it is of, and attaches the socket programs
  // that are missing. An error names the place that refused, and everything is as it was before.
  Status start();

  // Makes the devices' places those of `plan`. One that refuses is logged, does not hold up the
  // others and is tried again at the next call. The number of places that came or went.
  uint64_t follow(std::span<const DevicePlan> plan);

  // Whether every place still holds our program. Costs a system call a place.
  bool intact() const;
  // Puts back what somebody took away; `follow` restores the devices' places. The number of places
  // that had to be let go.
  Result<uint64_t> repair();

  size_t size() const;  // places
  std::optional<XdpMode> xdp_mode(uint32_t device) const;

 private:
  using Hooks = std::map<std::string, std::unique_ptr<Hook>>;  // by name, as they are pinned
  class Transaction;

  void sort_in(std::unique_ptr<Hook> hook, uint64_t cgroup);
  Status take_over(Transaction& transaction);
  Status attach_sockets(Transaction& transaction);
  uint64_t attach_missing(const DevicePlan& device);
  Status attach_tc(Program program, const DevicePlan& device);
  bool attach_xdp(const DevicePlan& device);
  bool holds(Program program, uint32_t device) const;
  void report(const DevicePlan& device) const;
  int fd(Program program) const { return programs_[static_cast<size_t>(program)]; }

  const Pins pins_;
  const Settings settings_;
  const Programs programs_;
  const bool tcx_;
  Hooks hooks_;
  std::vector<std::unique_ptr<Hook>> surplus_;  // dead, doubled, or on another cgroup
  std::vector<std::string> unknown_;            // pins of another version's hooks
  bool others_stand_ = false;
  std::map<uint32_t, std::string> xdp_refused_;  // device to reason: not tried again
};

// A clsact that the last classifier leaves empty. While the kernel adds or removes one, the device
// drops all that it should send (dev_deactivate(): milliseconds): to keep it costs no packet.
enum class EmptyClsact { kRemove, kKeep };

// Takes away whatever any version of this code ever put anywhere in this network namespace or below
// `pin_path`. No error when there is nothing.
Status detach_all(const std::string& pin_path, EmptyClsact clsact = EmptyClsact::kRemove);

}  // namespace fairlead::bpf
