// What the checks of validate.cc, validate_blocks.cc and validate_ebpf.cc share: where mistakes go
// and how they are named.
//
// Threads: one owner.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <vector>

#include "proxy/config/validate.h"

namespace fairlead::proxy {

struct Checker {
  Layer& layer;
  Validated& result;

  Settings& settings() { return layer.settings; }
  ProxyConfig& config() { return result.config; }

  void fail(std::string_view option, std::string_view reason) {
    result.errors.push_back(fmt::format("{}: {}", layer.name(option), reason));
  }
  void warn(std::string_view option, std::string_view reason) {
    result.warnings.push_back(fmt::format("{}: {}", layer.name(option), reason));
  }
  // True when the mode is `mode` or may still become it.
  bool may_be(ProxyMode mode) { return config().mode == mode || config().mode == ProxyMode::kAuto; }
};

// Parses CIDRs; a bad one is an error of `option`.
std::vector<dataplane::Prefix> check_prefixes(Checker& check, std::string_view option,
                                              const std::vector<std::string>& texts);

// Masquerading, synchronisation, connection tracking and the options of single modes. After the
// mode.
void check_blocks(Checker& check);

// The options of the eBPF mode.
void check_ebpf(Checker& check);

}  // namespace fairlead::proxy
