// A temporary directory that goes with its owner.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace fairlead::store {

class Scratch {
 public:
  Scratch() : Scratch(std::filesystem::temp_directory_path()) {}
  // In memory where the machine has such a file system: for tests that sync a lot and lose nothing.
  static Scratch in_memory() {
    return Scratch(std::filesystem::is_directory("/dev/shm")
                       ? "/dev/shm"
                       : std::filesystem::temp_directory_path());
  }
  explicit Scratch(const std::filesystem::path& parent) {
    std::string name = (parent / "fairlead-store-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace fairlead::store
