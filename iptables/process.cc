#include "iptables/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.h"

namespace fairlead::iptables {
namespace {

using std::chrono::steady_clock;

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> open_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return Status::from_errno(errno, "open", "pipe");
  Pipe pipe;
  pipe.read.reset(fds[0]);
  pipe.write.reset(fds[1]);
  return pipe;
}

// As a pipe, but writing to one that nobody reads any more raises no signal.
Result<Pipe> open_socket_pipe() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return Status::from_errno(errno, "open", "socket pair");
  }
  Pipe pipe;
  pipe.read.reset(fds[0]);
  pipe.write.reset(fds[1]);
  return pipe;
}

// A started child; whatever happens, it does not outlive this object.
class Child {
 public:
  Child(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  const Fd& pidfd() const { return pidfd_; }
  int wait() {  // the status of waitpid(2)
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
  Fd pidfd_;
};

class SpawnFileActions {
 public:
  SpawnFileActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~SpawnFileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnFileActions(const SpawnFileActions&) = delete;
  SpawnFileActions& operator=(const SpawnFileActions&) = delete;
  // Also right when both are the same: the child's copy then stays open over exec.
  void put(int fd, int as) { ::posix_spawn_file_actions_adddup2(&actions_, fd, as); }
  void close_from(int fd) { ::posix_spawn_file_actions_addclosefrom_np(&actions_, fd); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

class SpawnAttributes {
 public:
  // The daemon blocks and ignores signals that a tool must see.
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    sigset_t restored;
    sigemptyset(&restored);
    sigaddset(&restored, SIGPIPE);
    sigaddset(&restored, SIGTERM);
    sigaddset(&restored, SIGINT);
    ::posix_spawnattr_setsigdefault(&attributes_, &restored);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

// Reads what is there; true at its end.
bool drain(const Fd& from, std::string& to) {
  std::array<char, 65536> buffer{};
  const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
  if (got > 0) to.append(buffer.data(), static_cast<size_t>(got));
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

class PosixRunner final : public ProcessRunner {
 public:
  Result<CommandResult> run(const Command& command) override;
};

Result<CommandResult> PosixRunner::run(const Command& command) {
  const std::string& program = command.arguments.front();
  Pipe input;
  Pipe output;
  Pipe errors;
  ASSIGN_OR_RETURN(input, open_socket_pipe());
  ASSIGN_OR_RETURN(output, open_pipe());
  ASSIGN_OR_RETURN(errors, open_pipe());
  SpawnFileActions actions;
  actions.put(input.read.get(), STDIN_FILENO);
  actions.put(output.write.get(), STDOUT_FILENO);
  actions.put(errors.write.get(), STDERR_FILENO);
  actions.close_from(STDERR_FILENO + 1);
  const SpawnAttributes attributes;

  std::vector<std::string> words = command.arguments;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view variable(*each);
    if (!variable.starts_with("LC_") && !variable.starts_with("LANG")) environment.push_back(*each);
  }
  std::string locale = "LC_ALL=C";
  environment.push_back(locale.data());
  environment.push_back(nullptr);

  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, program.c_str(), actions.get(), attributes.get(),
                                    arguments.data(), environment.data());
  if (failed != 0) return Status::from_errno(failed, "run", program);
  Child child(pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
  input.read.reset();
  output.write.reset();
  errors.write.reset();
  for (const Fd* each : {&input.write, &output.read, &errors.read}) {
    ::fcntl(each->get(), F_SETFL, O_NONBLOCK);
  }

  CommandResult result;
  std::string_view rest = command.input;
  const steady_clock::time_point deadline = steady_clock::now() + command.deadline;
  const auto out_of_time = [&] {
    return Status::error(
        StatusCode::kUnavailable, "run", program,
        "not finished after " + std::to_string(command.deadline.count()) + " ms; killed");
  };
  // A grandchild may hold the pipes open: the end of the child itself is what counts.
  bool ended = false;
  while (!ended || output.read.valid() || errors.read.valid()) {
    if (rest.empty()) input.write.reset();
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0 && !ended) return out_of_time();
    std::array<pollfd, 4> fds = {{{input.write.get(), POLLOUT, 0},
                                  {output.read.get(), POLLIN, 0},
                                  {errors.read.get(), POLLIN, 0},
                                  {ended ? -1 : child.pidfd().get(), POLLIN, 0}}};
    const int ready = ::poll(fds.data(), fds.size(), ended ? 0 : static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return Status::from_errno(errno, "wait for", program);
    if (ready == 0 && ended) break;
    if (fds[0].revents != 0) {
      const ssize_t sent = ::send(input.write.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        rest.remove_prefix(static_cast<size_t>(sent));
      } else if (errno != EAGAIN && errno != EINTR) {
        rest = {};  // it has stopped reading; its exit code says why
      }
    }
    if (fds[1].revents != 0 && drain(output.read, result.output)) output.read.reset();
    if (fds[2].revents != 0 && drain(errors.read, result.errors)) errors.read.reset();
    if (fds[3].revents != 0) ended = true;
    // A kernel or sandbox without pidfd_open: the closed pipes are the sign.
    if (!child.pidfd().valid() && !output.read.valid() && !errors.read.valid()) ended = true;
  }
  const int status = child.wait();
  if (WIFSIGNALED(status)) {
    return Status::error(StatusCode::kInternal, "run", program,
                         std::string("ended by signal ") + ::strsignal(WTERMSIG(status)));
  }
  result.exit_code = WEXITSTATUS(status);
  return result;
}

}  // namespace

std::unique_ptr<ProcessRunner> create_process_runner() {
  return std::make_unique<PosixRunner>();
}

}  // namespace fairlead::iptables
