#include "proxy/runtime/debug_pages.h"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "proxy/runtime/process_stats.h"

namespace fairlead::proxy {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string threads() {
  std::string page = "tid name cpu_seconds\n";
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/task", error), end;
       !error && entry != end; entry.increment(error)) {
    // A thread may end while we look.
    const auto stat = parse_proc_stat(first_line(entry->path() / "stat"));
    if (!stat) continue;
    fmt::format_to(std::back_inserter(page), "{} {} {:.2f}\n", entry->path().filename().string(),
                   first_line(entry->path() / "comm"),
                   static_cast<double>(stat->cpu_ticks) / ticks);
  }
  return page;
}

std::string allocations() {
  const struct mallinfo2 info = ::mallinfo2();
  return fmt::format(
      "bytes from the kernel (heap) {}\nbytes from the kernel (mmap) {}\nbytes in use {}\n"
      "bytes free {}\nbytes that could be returned {}\nmmapped blocks {}\n",
      info.arena, info.hblkhd, info.uordblks, info.fordblks, info.keepcost, info.hblks);
}

std::string arenas() {
  char* text = nullptr;
  size_t size = 0;
  FILE* stream = ::open_memstream(&text, &size);
  if (stream == nullptr) return "out of memory\n";
  ::malloc_info(0, stream);
  std::fclose(stream);
  const std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
  return std::string(text, size);
}

}  // namespace

std::optional<std::string> debug_page(std::string_view path) {
  if (path == "/debug/" || path == "/debug") {
    return "/debug/threads      threads, their names and CPU time\n"
           "/debug/allocations  the allocator's totals\n"
           "/debug/arenas       the allocator's arenas, XML\n";
  }
  if (path == "/debug/threads") return threads();
  if (path == "/debug/allocations") return allocations();
  if (path == "/debug/arenas") return arenas();
  return std::nullopt;
}

}  // namespace fairlead::proxy
