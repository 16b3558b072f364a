// The process that the durability tests kill, and the one that fills a disk.
//   store_writer write DIRECTORY ROUND   writes from eight threads until killed; notes each
//   acknowledged
//                                        write on standard output: key, number, revision
//   store_writer fill DIRECTORY          fills a small file system of its own; 77: it cannot mount
//   one
#include <fmt/core.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "control/store/embedded/embedded_store.h"
#include "tests/unit/store/calls.h"

namespace fairlead::store {
namespace {

int write_until_killed(const std::string& directory, const std::string& round) {
  EmbeddedOptions options;
  options.directory = directory;
  options.history.events = 500;  // so that forgetting is met as well
  const auto store = EmbeddedStore::open(options).value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, key = fmt::format("/{}/{}", round, i)] {
      const Calls calls(*store);
      for (int number = 0;; ++number) {
        std::string value = fmt::format("{} ", number);
        value.resize(1500, '.');
        const WriteOutcome outcome = calls.put(key, value).value();
        const std::string note = fmt::format("{} {} {}\n", key, number, outcome.revision);
        if (::write(STDOUT_FILENO, note.data(), note.size()) < 0) ::_exit(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

int complain(const std::string& what) {
  fmt::print("{}\n", what);
  return 1;
}

int fill(const std::string& directory) {
  ::mkdir(directory.c_str(), 0700);
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=24m") != 0) {
    fmt::print("cannot mount a file system here\n");
    return 77;
  }
  // Without and with a reserve: met by the write itself, or before it.
  for (const uint64_t reserve : {uint64_t{0}, uint64_t{8} << 20}) {
    EmbeddedOptions options;
    options.directory = directory + "/" + std::to_string(reserve);
    options.reserve_bytes = reserve;
    auto store = EmbeddedStore::open(options).value();
    int written = 0;
    Status refused;
    while (refused.ok()) {
      const std::string key = "/" + std::to_string(written);
      refused = Calls(*store).put(key, std::string(100'000, 'x')).status();
      if (refused.ok()) ++written;
    }
    if (refused.code() != StatusCode::kExhausted) return complain(refused.message());
    RangeRequest all;
    all.end = kNoEnd;
    if (Calls(*store).range(all)->entries.size() != static_cast<size_t>(written)) {
      return complain("reads do not show what was acknowledged");
    }
    if (reserve == 0) {
      // Room comes back, and a restart brings everything that was acknowledged.
      if (::mount("tmpfs", directory.c_str(), "tmpfs", MS_REMOUNT, "size=96m") != 0) {
        return complain("cannot grow the file system");
      }
      store.reset();
      auto reopened = EmbeddedStore::open(options);
      if (!reopened) return complain(reopened.status().message());
      if (Calls(**reopened).range(all)->entries.size() < static_cast<size_t>(written)) {
        return complain("acknowledged writes are gone");
      }
      reopened.value().reset();
      ::umount(directory.c_str());
      if (::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=24m") != 0) return 77;
    }
  }
  return 0;
}

}  // namespace
}  // namespace fairlead::store

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  if (argc == 4 && arguments[1] == "write") {
    return fairlead::store::write_until_killed(arguments[2], arguments[3]);
  }
  if (argc == 3 && arguments[1] == "fill") return fairlead::store::fill(arguments[2]);
  return 2;
}
