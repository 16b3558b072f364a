// What the suites of this folder share: a temporary directory, and load() with a file written on
// the spot.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "proxy/config/load.h"

namespace fairlead::proxy {

class TempDir {
 public:
  TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "fairlead-config-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(*this / name) << text;
    return *this / name;
  }

 private:
  std::string path_;
};

inline constexpr char kHeader[] =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

// Messages with the directory of the file taken out: "FILE: clusterCIDR: ...".
inline std::string neutral(std::string text, const std::string& path) {
  for (size_t at = text.find(path); at != std::string::npos; at = text.find(path, at)) {
    text.replace(at, path.size(), "FILE");
  }
  return text;
}

struct Outcome {
  Loaded loaded;
  std::string error;
  std::vector<std::string> warnings;
};

// `file` without its first two lines; empty: no --config.
inline Outcome run(std::vector<std::string> arguments, const std::string& file = "",
                   const std::string& header = kHeader) {
  const TempDir directory;
  const std::string path = directory / "config.conf";
  if (!file.empty()) {
    directory.write("config.conf", header + file);
    arguments.push_back("--config=" + path);
  }
  Outcome outcome;
  Result<Loaded> loaded = load(arguments);
  if (!loaded) {
    outcome.error = neutral(loaded.status().detail(), path);
    return outcome;
  }
  outcome.loaded = std::move(*loaded);
  for (const std::string& warning : outcome.loaded.warnings) {
    outcome.warnings.push_back(neutral(warning, path));
  }
  return outcome;
}

}  // namespace fairlead::proxy
