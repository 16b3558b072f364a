#include "tests/e2e/bpf_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <numeric>

namespace fairlead::e2e {
namespace {

std::string directory(const std::string& kind) {
  return "/sys/fs/bpf/fairlead/v" + std::to_string(FL_LAYOUT_VERSION) + "/" + kind;
}

}  // namespace

std::vector<std::string> pins(const std::string& kind) {
  std::vector<std::string> paths;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory(kind), ignored)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

PinnedMap::PinnedMap(const std::string& name)
    : fd_(::bpf_obj_get((directory("maps") + "/" + name).c_str())) {
  EXPECT_TRUE(fd_.valid()) << name << ": " << std::strerror(errno);
}

bool PinnedMap::next_key(const void* previous, void* next) const {
  return ::bpf_map_get_next_key(fd_.get(), previous, next) == 0;
}

bool PinnedMap::look_up(const void* key, void* value) const {
  return ::bpf_map_lookup_elem(fd_.get(), key, value) == 0;
}

void PinnedMap::update(const void* key, const void* value) {
  EXPECT_EQ(::bpf_map_update_elem(fd_.get(), key, value, BPF_ANY), 0) << std::strerror(errno);
}

void PinnedMap::erase(const void* key) {
  EXPECT_EQ(::bpf_map_delete_elem(fd_.get(), key), 0) << std::strerror(errno);
}

uint64_t counted(fl_counter counter) {
  const Fd map(::bpf_obj_get((directory("maps") + "/fl_counters").c_str()));
  std::vector<uint64_t> of_cpus(static_cast<size_t>(std::max(::libbpf_num_possible_cpus(), 1)));
  const uint32_t index = counter;
  EXPECT_EQ(::bpf_map_lookup_elem(map.get(), &index, of_cpus.data()), 0) << std::strerror(errno);
  return std::accumulate(of_cpus.begin(), of_cpus.end(), uint64_t{0});
}

void detach_link(const std::string& path) {
  const Fd link(::bpf_obj_get(path.c_str()));
  ASSERT_TRUE(link.valid()) << path << ": " << std::strerror(errno);
  EXPECT_EQ(::bpf_link_detach(link.get()), 0) << path << ": " << std::strerror(errno);
}

fl_addr map_address(const std::string& address) {
  fl_addr result{};
  const std::string text = address.find(':') == std::string::npos ? "::ffff:" + address : address;
  EXPECT_EQ(::inet_pton(AF_INET6, text.c_str(), &result), 1) << address;
  return result;
}

}  // namespace fairlead::e2e
