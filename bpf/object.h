// The programs and maps in the kernel: opening the embedded object, sizing its maps, taking over
// those that an earlier run pinned, loading, and calling the programs that answer the loader.
//
// Nothing is attached here (attach.h) and nothing is pinned unless Placement says where. libbpf's
// types stay inside object.cc.
//
// Threads: one owner; descriptors may be used from anywhere.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "bpf/options.h"

namespace fairlead::bpf {

// By their names in programs/maps.bpf.h.
enum class Map : uint8_t {
  kFrontends,
  kEntries,
  kRings,
  kEndpoints,
  kPrefixes,
  kNodeAddresses,
  kDevices,
  kConfig,
  kFlows,
  kNewFlows,
  kReturns,
  kAffinity,
  kFragments,
  kCounters,
  kConnected,
  kTcpPeers,
  kDatagrams,
};
inline constexpr size_t kMapCount = 17;

// By their function names.
enum class Program : uint8_t {
  kIngress,
  kEgress,
  kXdp,
  kConnect4,
  kConnect6,
  kSendmsg4,
  kSendmsg6,
  kRecvmsg4,
  kRecvmsg6,
  kGetpeername4,
  kGetpeername6,
  kSweep,
  kAdopt,
  kUdpSockets,
};
inline constexpr size_t kProgramCount = 14;
std::string_view to_string(Map map);          // "fl_frontends"
std::string_view to_string(Program program);  // "fl_ingress"

// What the kernel says of a loaded program.
struct ProgramFacts {
  Program program;
  uint32_t verified_instructions;  // that the verifier walked; it gives up at a million
  uint32_t machine_code;           // bytes; 0 when it is interpreted
};

enum class Load : uint8_t {
  kEverything,
  kMapsOnly,  // no program: every fd(Program) is -1
};

class Object {
 public:
  // Loads everything with maps of `sizes`. `map_directory` empty: maps of its own, gone with the
  // object; otherwise the maps pinned there are taken over and missing ones are made and pinned.
  // Entries of a pinned map that has another size are carried over; one of another kind is
  // replaced. Flows are given up, with a warning, when they would lead astray: see pinned_maps.cc.
  // kUnsupported or kPermission: one line that says what is missing and how to get it.
  static Result<std::unique_ptr<Object>> load(const Sizes& sizes, const std::string& map_directory,
                                              Load what = Load::kEverything);
  ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  int fd(Map map) const;
  // -1 for a program that this kernel cannot load and the mode can do without.
  int fd(Program program) const;

  // Of every program that is loaded.
  std::vector<ProgramFacts> facts() const;

 private:
  struct State;
  explicit Object(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fairlead::bpf
