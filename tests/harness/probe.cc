#include "tests/harness/probe.h"

#include <fmt/chrono.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "tests/harness/socket_address.h"

namespace fairlead::harness {
namespace {

using dataplane::Protocol;
using Clock = std::chrono::steady_clock;

// As many sockets as are open at once; both ends of a connection may live in this process.
constexpr size_t kBatch = 200;

Answer failure(int error) {
  Answer answer;
  answer.error = error;
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
      answer.fate = Fate::kRefused;
      break;
    case ETIMEDOUT:
    case EPERM:  // dropped by an output rule
      answer.fate = Fate::kDropped;
      break;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENOPROTOOPT:
    case EPROTO:
    case EACCES:
      answer.fate = Fate::kUnreachable;
      break;
    default:
      answer.fate = Fate::kFailed;
  }
  return answer;
}

Answer parse_answer(const std::string& line) {
  Answer answer;
  std::istringstream words(line);
  words >> answer.endpoint >> answer.source >> answer.source_port >> answer.local_address >>
      answer.local_port;
  answer.fate = words ? Fate::kAnswered : Fate::kFailed;
  return answer;
}

std::atomic<uint16_t> first_client_port{32768};
constexpr uint32_t kLastClientPort = 60999;

// One question on its way. Sans waiting: the caller polls.
class Call {
 public:
  explicit Call(const Question& question) : question_(question) {
    const KernelAddress to = kernel_address(question.target.address, question.target.port);
    const bool datagram = question.target.protocol == Protocol::kUdp;
    question.from->run([&] {
      socket_.reset(::socket(to.family(),
                             (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC,
                             static_cast<int>(question.target.protocol)));
      if (!socket_.valid()) return finish(failure(errno));
      // Closing resets the connection: no port stays behind in TIME_WAIT.
      const linger reset{1, 0};
      ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      if (datagram || !question.source_address.empty() || question.source_port != 0) {
        bind_source(to.family(), datagram);
      }
      if (!done() && ::connect(socket_.get(), to.get(), to.length) != 0 && errno != EINPROGRESS) {
        finish(failure(errno));
      }
      if (!done() && datagram) send_line();
    });
  }

  // Takes up a conversation's socket, connected before.
  Call(const Question& question, Fd socket) : question_(question), socket_(std::move(socket)) {
    char stale[2048];
    while (::recv(socket_.get(), stale, sizeof stale, 0) > 0) {
    }
    send_line();
  }

  bool done() const { return done_; }
  // What has come so far. A question without an answer tells the port it came from: the packets of
  // a capture are found by it.
  Answer answer() const {
    Answer answer = answer_;
    if (answer.fate != Fate::kAnswered) answer.own_port = own_port();
    return answer;
  }
  pollfd wait_for() const { return {socket_.get(), POLLIN, 0}; }
  Fd take_socket() { return std::move(socket_); }

  void on_ready() {
    char buffer[2048];
    const ssize_t count = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (count < 0 && errno != EAGAIN) return finish(failure(errno));
    if (count == 0) return finish(failure(ECONNRESET));
    if (count < 0) return;
    text_.append(buffer, static_cast<size_t>(count));
    if (text_.ends_with('\n')) finish(parse_answer(text_));
  }

 private:
  // A datagram from a port that another one used half a minute ago belongs to the same flow in the
  // eyes of connection tracking, and goes where that one went. So every flow gets a port of its
  // own, in turn.
  static uint16_t next_port() {
    static std::atomic<uint32_t> turn{0};
    const uint32_t first = first_client_port;
    return static_cast<uint16_t>(first + turn++ % (kLastClientPort + 1 - first));
  }

  void bind_source(int family, bool own_port) {
    const std::string_view any = family == AF_INET ? "0.0.0.0" : "::";
    const std::string_view host =
        question_.source_address.empty() ? any : std::string_view(question_.source_address);
    for (int attempts = 1000; attempts > 0; --attempts) {  // neighbours may be held
      uint16_t port = question_.source_port;
      if (port == 0 && own_port) port = next_port();
      const KernelAddress from = kernel_address(host, port);
      if (::bind(socket_.get(), from.get(), from.length) == 0) return;
      if (errno != EADDRINUSE || port == question_.source_port) break;
    }
    finish(failure(errno));
  }

  uint16_t own_port() const {
    KernelAddress own;
    own.length = sizeof own.storage;
    return ::getsockname(socket_.get(), own.get(), &own.length) == 0 ? own.port() : uint16_t{0};
  }

  void send_line() {
    // What an output rule rejects fails with EPERM at once, and the refusal itself follows.
    if (::send(socket_.get(), "?\n", 2, MSG_NOSIGNAL) < 0 && errno != EPERM) finish(failure(errno));
  }

  void finish(Answer answer) {
    answer_ = std::move(answer);
    done_ = true;
  }

  const Question& question_;
  Fd socket_;
  std::string text_;
  Answer answer_;
  bool done_ = false;
};

void wait_for_all(std::span<const std::unique_ptr<Call>> calls, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  std::vector<pollfd> waits;
  std::vector<Call*> waiting;
  for (;;) {
    waits.clear();
    waiting.clear();
    for (const auto& call : calls) {
      if (call->done()) continue;
      waits.push_back(call->wait_for());
      waiting.push_back(call.get());
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (waits.empty() || left.count() <= 0) return;
    ::poll(waits.data(), waits.size(), static_cast<int>(left.count()));
    for (size_t i = 0; i < waits.size(); ++i) {
      if (waits[i].revents != 0) waiting[i]->on_ready();
    }
  }
}

// As the daemon's log writes it, so that a failure finds its place there.
std::string time_of_day() {
  const auto now = std::chrono::system_clock::now();
  const auto microseconds =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
  return fmt::format("{:%H:%M:%S}.{:06}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     microseconds % 1'000'000);
}

bool is_connected(int socket) {
  KernelAddress peer;
  peer.length = sizeof peer.storage;
  return ::getpeername(socket, peer.get(), &peer.length) == 0;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

std::string Target::to_string() const {
  return std::string(dataplane::to_string(protocol)) + " " + host_and_port(address, port);
}

std::string Answer::to_string() const {
  const std::string reason = error == 0 ? "" : std::string(" (") + std::strerror(error) + ")";
  if (fate != Fate::kAnswered) return std::string(harness::to_string(fate)) + reason;
  return "answered by " + endpoint + " at " + host_and_port(local_address, local_port) +
         ", which saw " + host_and_port(source, source_port);
}

std::string_view to_string(Fate fate) {
  switch (fate) {
    case Fate::kAnswered:
      return "answered";
    case Fate::kRefused:
      return "refused";
    case Fate::kDropped:
      return "dropped";
    case Fate::kUnreachable:
      return "unreachable";
    case Fate::kFailed:
      return "failed";
  }
  return "";
}

std::ostream& operator<<(std::ostream& out, Fate fate) {
  return out << to_string(fate);
}

std::vector<Answer> ask(std::span<const Question> questions, std::chrono::milliseconds timeout) {
  [[maybe_unused]] static const bool raised = (raise_descriptor_limit(), true);
  std::vector<Answer> answers;
  while (!questions.empty()) {
    std::vector<std::unique_ptr<Call>> calls;
    for (const Question& question : questions.first(std::min(kBatch, questions.size()))) {
      calls.push_back(std::make_unique<Call>(question));
    }
    wait_for_all(calls, timeout);
    for (const auto& call : calls) answers.push_back(call->answer());
    questions = questions.subspan(calls.size());
  }
  return answers;
}

void use_client_ports_from(uint16_t first) {
  first_client_port = first;
}

Answer ask(const Question& question, std::chrono::milliseconds timeout) {
  return ask(std::span(&question, 1), timeout).front();
}

Conversation::Conversation(Question question) : question_(std::move(question)) {}

Answer Conversation::exchange(std::chrono::milliseconds timeout) {
  if (!socket_.valid()) ++sockets_;
  std::unique_ptr<Call> calls[1] = {socket_.valid()
                                        ? std::make_unique<Call>(question_, std::move(socket_))
                                        : std::make_unique<Call>(question_)};
  wait_for_all(calls, timeout);
  Call& call = *calls[0];
  // A UDP flow goes on after a refusal; a connection is over, and so is a flow whose socket was
  // never connected or is no longer.
  Fd socket = call.take_socket();
  const bool goes_on = call.answer().fate == Fate::kAnswered ||
                       (question_.target.protocol == Protocol::kUdp && is_connected(socket.get()));
  if (goes_on) socket_ = std::move(socket);
  return call.answer();
}

Traffic::Traffic(std::vector<Question> questions)
    : questions_(std::move(questions)),
      thread_([this](std::stop_token stop) { run(std::move(stop)); }) {}

Traffic::~Traffic() {
  stop();
}

void Traffic::run(std::stop_token stop) {
  constexpr uint64_t kTold = 20;
  // Where a machine is emulated, less traffic says as much in a bearable time.
  const char* const asked_pause = std::getenv("FAIRLEAD_TRAFFIC_PAUSE_MS");
  const std::chrono::milliseconds pause(asked_pause == nullptr ? 2 : std::atoi(asked_pause));
  while (!stop.stop_requested()) {
    const std::string asked_at = time_of_day();
    const std::vector<Answer> answers = ask(questions_, kPatience);
    for (size_t i = 0; i < answers.size(); ++i) {
      ++report_.asked;
      if (answers[i].fate == Fate::kAnswered) continue;
      if (answers[i].error == ECONNABORTED) {
        ++report_.aborted;
        continue;
      }
      const std::string what = questions_[i].target.to_string() + ": " + answers[i].to_string();
      if (++report_.failed == 1) report_.first_failure = what;
      if (report_.failed > kTold) continue;
      std::ostringstream line;
      line << "asked " << asked_at << ", " << questions_[i].from->name() << " port "
           << answers[i].own_port << " to " << what << "\n";
      report_.failures += line.str();
    }
    std::this_thread::sleep_for(pause);
  }
}

Traffic::Report Traffic::stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
  return report_;
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds deadline) {
  const auto end = Clock::now() + deadline;
  auto pause = 2ms;
  for (;;) {
    if (condition()) return true;
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, 50ms);
  }
}

}  // namespace fairlead::harness
