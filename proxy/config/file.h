// KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) from YAML or JSON.
//
// Fields that nobody knows and fields given twice are reported and passed over, as by kube-proxy; a
// value of the wrong type, a bad duration and another kind of object are errors. The top-level
// block `fairlead` holds our own options.
//
// Threads: pure functions, but for the two that read and write files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "proxy/config/options.h"

namespace fairlead::proxy {

inline constexpr std::string_view kConfigApiVersion = "kubeproxy.config.k8s.io/v1alpha1";
inline constexpr std::string_view kConfigKind = "KubeProxyConfiguration";
inline constexpr size_t kMaxConfigFileBytes = size_t{1} << 20;

struct DecodedFile {
  Layer layer;  // named "path: field"
  std::vector<std::string> warnings;
  std::vector<std::string> errors;
};

// `path` names the text in messages.
DecodedFile decode_config(std::string_view text, const std::string& path);

// The content of a file of at most kMaxConfigFileBytes.
Result<std::string> read_config_file(const std::string& path);

// For --write-config-to: creates or replaces the content of `path`.
Status write_config_file(const std::string& path, std::string_view text);

}  // namespace fairlead::proxy
