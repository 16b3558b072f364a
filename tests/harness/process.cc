#include "tests/harness/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "base/fd.h"

namespace fairlead::harness {
namespace {

std::vector<char*> as_pointers(std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  return pointers;
}

int exit_code_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Status::from_errno(errno, "create", "pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// Feeds `input` and collects the output at the same time, so that neither side can fill a pipe and
// wait.
std::string converse(Pipe input_pipe, std::string_view input, Pipe output_pipe) {
  input_pipe.read.reset();
  output_pipe.write.reset();
  ::fcntl(input_pipe.write.get(), F_SETFL, O_NONBLOCK);
  std::string output;
  for (;;) {
    if (input.empty()) input_pipe.write.reset();
    pollfd waits[2] = {{output_pipe.read.get(), POLLIN, 0}, {input_pipe.write.get(), POLLOUT, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) return output;
    if (waits[1].revents != 0 && input_pipe.write.valid()) {
      const ssize_t written = ::write(input_pipe.write.get(), input.data(), input.size());
      if (written > 0) input.remove_prefix(static_cast<size_t>(written));
      if (written < 0 && errno != EAGAIN) input = {};
    }
    if (waits[0].revents != 0) {
      char buffer[16384];
      const ssize_t count = ::read(output_pipe.read.get(), buffer, sizeof buffer);
      if (count <= 0) return output;
      output.append(buffer, static_cast<size_t>(count));
    }
  }
}

}  // namespace

Result<CommandResult> run_command(std::vector<std::string> argv, std::string_view input) {
  ASSIGN_OR_RETURN(Pipe input_pipe, make_pipe());
  ASSIGN_OR_RETURN(Pipe output_pipe, make_pipe());
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input_pipe.read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output_pipe.write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output_pipe.write.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  // A program that exits without reading its input must not take us along, nor inherit our
  // deafness.
  [[maybe_unused]] static const auto previous = std::signal(SIGPIPE, SIG_IGN);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  std::vector<char*> arguments = as_pointers(argv);
  const int error =
      ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Status::from_errno(error, "run", argv[0]);

  CommandResult result;
  result.output = converse(std::move(input_pipe), input, std::move(output_pipe));
  int wait_status = 0;
  while (::waitpid(pid, &wait_status, 0) < 0) {
    if (errno != EINTR) return Status::from_errno(errno, "wait for", argv[0]);
  }
  result.exit_code = exit_code_of(wait_status);
  return result;
}

Status run_checked(std::vector<std::string> argv, std::string_view input) {
  std::string command;
  for (const std::string& argument : argv) command += (command.empty() ? "" : " ") + argument;
  ASSIGN_OR_RETURN(const CommandResult result, run_command(std::move(argv), input));
  if (result.exit_code == 0) return {};
  return Status::error(
      StatusCode::kInternal, "run", command,
      "exit code " + std::to_string(result.exit_code) + ", output: " + result.output);
}

Result<std::unique_ptr<ChildProcess>> ChildProcess::start(std::vector<std::string> argv,
                                                          const std::string& log_path) {
  const Fd log(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log.valid()) return Status::from_errno(errno, "open", log_path);
  if (::access(argv[0].c_str(), X_OK) != 0) return Status::from_errno(errno, "run", argv[0]);
  std::vector<char*> arguments = as_pointers(argv);

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Status::from_errno(errno, "fork for", argv[0]);
  if (pid == 0) {  // only async-signal-safe calls from here on
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(126);  // the parent died before the line above
    ::dup2(log.get(), STDOUT_FILENO);
    ::dup2(log.get(), STDERR_FILENO);
    ::close_range(STDERR_FILENO + 1, ~0U,
                  0);  // libraries' sockets, where they forgot close-on-exec
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid));
}

ChildProcess::~ChildProcess() {
  signal(SIGKILL);
  wait(std::chrono::seconds(10));
}

std::optional<int> ChildProcess::wait(std::chrono::milliseconds at_most) {
  if (exit_code_) return exit_code_;
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (pidfd.valid()) {
    pollfd ended = {pidfd.get(), POLLIN, 0};
    ::poll(&ended, 1, static_cast<int>(at_most.count()));
  }
  int wait_status = 0;
  if (::waitpid(pid_, &wait_status, WNOHANG) == pid_) exit_code_ = exit_code_of(wait_status);
  return exit_code_;
}

void ChildProcess::signal(int number) {
  if (!exit_code_) ::kill(pid_, number);
}

}  // namespace fairlead::harness
