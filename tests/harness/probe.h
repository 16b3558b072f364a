// Clients: ask an address from inside a namespace and learn who answered, or how it failed.
//
// Many questions are asked at once, so that waiting for silence costs one timeout however many
// targets must stay silent.
//
// Threads: functions from any thread; a Conversation has one owner, Traffic runs a thread of its
// own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "dataplane/address.h"
#include "tests/harness/netns.h"

namespace fairlead::harness {

using namespace std::chrono_literals;

struct Target {
  dataplane::Protocol protocol = dataplane::Protocol::kTcp;
  std::string address;
  uint16_t port = 0;

  std::string to_string() const;  // "TCP 10.0.0.1:80"
};

enum class Fate {
  kAnswered,
  kRefused,      // TCP RST or ICMP port unreachable
  kDropped,      // nothing came back in time
  kUnreachable,  // no route, or another ICMP error
  kFailed,       // the question could not even be asked
};
std::string_view to_string(Fate fate);
std::ostream& operator<<(std::ostream& out, Fate fate);  // for messages of failed expectations

struct Answer {
  Fate fate = Fate::kDropped;
  std::string endpoint;  // the answering server's name
  std::string source;    // the client's address as the server saw it
  uint16_t source_port = 0;
  std::string local_address;  // the server's own
  uint16_t local_port = 0;
  int error = 0;          // errno of a failure
  uint16_t own_port = 0;  // the client's, of a question without an answer

  std::string to_string() const;
};

struct Question {
  Namespace* from = nullptr;
  Target target;
  std::string source_address;  // empty: the kernel's choice
  uint16_t source_port = 0;    // 0: any
};

// How long a client waits where an answer (or a refusal) is expected, and where silence is.
inline constexpr std::chrono::milliseconds kPatience = 4000ms;
inline constexpr std::chrono::milliseconds kSilence = 300ms;

// UDP questions without a source port take theirs in turn from [first, 60999]; 32768 at first. The
// more there are, the longer until one is used again.
void use_client_ports_from(uint16_t first);

std::vector<Answer> ask(std::span<const Question> questions, std::chrono::milliseconds timeout);
Answer ask(const Question& question, std::chrono::milliseconds timeout = kPatience);

// A connection, or a UDP flow from one source port, that goes on.
class Conversation {
 public:
  explicit Conversation(Question question);

  // Sends one line and waits for the answer. The first call of a TCP or SCTP conversation connects.
  Answer exchange(std::chrono::milliseconds timeout = kPatience);
  // How often it had to begin again with a new socket, because the old one had been disconnected.
  int reconnections() const { return sockets_ - 1; }

 private:
  Question question_;
  Fd socket_;
  int sockets_ = 0;
};

// Asks the same questions again and again in the background, every time over new connections.
class Traffic {
 public:
  explicit Traffic(std::vector<Question> questions);
  ~Traffic();
  Traffic(const Traffic&) = delete;
  Traffic& operator=(const Traffic&) = delete;

  struct Report {
    uint64_t asked = 0;
    uint64_t failed = 0;   // but for those that were aborted
    uint64_t aborted = 0;  // by the kernel of the client, which took the socket away
    std::string first_failure;
    std::string failures;  // a line each of the first ones: when, from where, to what
  };
  // Ends the traffic.
  Report stop();

 private:
  void run(std::stop_token stop);

  std::vector<Question> questions_;
  Report report_;  // the thread's until it has been joined
  std::jthread thread_;
};

// Calls `condition` until it is true, with short pauses; false when it never was before the
// deadline.
bool eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds deadline = std::chrono::seconds(10));

struct HttpAnswer {
  int status = 0;
  std::string headers;  // as they came, one a line, lower-case names
  std::string body;
};
// GET http://address:port/path over a socket of `from`.
Result<HttpAnswer> http_get(Namespace& from, std::string_view address, uint16_t port,
                            std::string_view path, std::chrono::milliseconds timeout = kPatience);

}  // namespace fairlead::harness
