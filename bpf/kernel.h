// What the eBPF mode needs of the kernel and of this process, what it can do without, and what is
// lost then: one row each, tried out when asked.
//
// probe() of bpf/backend.h reads the required rows; the loader asks for the optional ones.
//
// Threads: all functions from any thread. Nothing stays behind in the kernel.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace fairlead::bpf {

enum class Feature : uint8_t {
  // Required.
  kSystemCall,
  kCapabilities,
  kBtf,
  kMappedArrays,
  kSocketStorage,
  kNetnsCookie,
  kForEachElement,
  kSyscallPrograms,
  kRedirectNeighbour,
  kBpffs,
  kCgroup2,
  // Optional.
  kTcx,
  kSockDestroy,
  kSetRetval,
  kXdp,
};

struct FeatureRow {
  Feature feature;
  bool required;
  std::string_view name;
  std::string_view since;   // the kernel that first had it; empty: not a matter of its version
  std::string_view answer;  // required: what to do about it; optional: what is lost without
  bool (*test)();           // really tries, within a millisecond or two
};

// In the order of Feature. A row's test may fail where an earlier required one has.
std::span<const FeatureRow> feature_rows();

// The row's test, done once in the life of the process.
bool has(Feature feature);

// Whether programs of this type (BPF_PROG_TYPE_*, BPF_*) may call BPF_FUNC_`helper`.
bool has_helper(uint32_t program_type, uint32_t attach_type, int32_t helper);

// Capabilities that are missing, as container manifests name them ("BPF, NET_ADMIN"); empty when
// none is. `effective` as in /proc/self/status.
std::string missing_capabilities(uint64_t effective);

}  // namespace fairlead::bpf
