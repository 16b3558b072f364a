#include "bpf/stale_sockets.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_set>

#include "base/log.h"

namespace fairlead::bpf {
namespace {

using std::chrono::steady_clock;

// A connect() that was under way during a walk is not in the kernel's tables yet: another walk
// after this time sees it.
constexpr auto kSecondLook = std::chrono::seconds(1);
// Between two walks, however many endpoints come and go.
constexpr auto kPause = std::chrono::milliseconds(50);
constexpr uint32_t kConnected = 1;  // TCP_ESTABLISHED, which UDP borrows

// ---- Network namespaces ----

using ProcDirectory = std::unique_ptr<DIR, int (*)(DIR*)>;

// Calls `visit` with each entry of `path` whose name is a number.
template <typename Visit>
void each_number(const std::string& path, const Visit& visit) {
  const ProcDirectory directory(::opendir(path.c_str()), ::closedir);
  if (!directory) return;  // it has ended
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') visit(path + "/" + entry->d_name);
  }
}

// One descriptor for each network namespace that some thread of the machine is in.
std::vector<Fd> network_namespaces() {
  std::vector<Fd> found;
  std::unordered_set<std::string> known;
  each_number("/proc", [&](const std::string& process) {
    each_number(process + "/task", [&](const std::string& thread) {
      const std::string path = thread + "/ns/net";
      std::array<char, 64> name;  // "net:[4026531840]"
      const ssize_t length = ::readlink(path.c_str(), name.data(), name.size());
      if (length <= 0 || known.contains(std::string(name.data(), length))) return;
      Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd.valid()) return;
      known.insert(std::string(name.data(), length));
      found.push_back(std::move(fd));
    });
  });
  return found;
}

// ---- The iterator ----

// How many sockets it ended in the namespace of this thread: a byte for each.
Result<uint64_t> run_iterator(int link) {
  const Fd iteration(::bpf_iter_create(link));
  if (!iteration.valid()) return Status::from_errno(errno, "walk", "UDP sockets");
  uint64_t ended = 0;
  std::array<char, 4096> marks;
  while (true) {
    const ssize_t size = ::read(iteration.get(), marks.data(), marks.size());
    if (size == 0) return ended;
    if (size > 0) {
      ended += size;
    } else if (errno != EINTR && errno != EAGAIN) {
      return Status::from_errno(errno, "walk", "UDP sockets");
    }
  }
}

// ---- Socket diagnosis ----

struct DiagRequest {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

Status ask_diagnosis(const Fd& netlink, uint16_t type, uint16_t flags, uint8_t family,
                     const inet_diag_sockid& id) {
  DiagRequest request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | flags;
  request.body.sdiag_family = family;
  request.body.sdiag_protocol = IPPROTO_UDP;
  request.body.idiag_states = 1U << kConnected;
  request.body.id = id;
  if (::send(netlink.get(), &request, sizeof request, 0) < 0) {
    return Status::from_errno(errno, "ask for", "UDP sockets");
  }
  return {};
}

// Hands the messages of one answer to `visit`, up to its end; the errno that ends it, or 0.
template <typename Visit>
int read_answer(const Fd& netlink, const Visit& visit) {
  alignas(nlmsghdr) std::array<char, 32768> buffer;
  while (true) {
    const ssize_t size = ::recv(netlink.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return size < 0 ? errno : EPROTO;
    auto left = static_cast<uint32_t>(size);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return 0;
      if (header->nlmsg_type == NLMSG_ERROR) {
        return -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
      }
      visit(*static_cast<const inet_diag_msg*>(NLMSG_DATA(header)));
    }
  }
}

bool leads_to(const inet_diag_msg& socket, const std::vector<Tables::Gone>& gone) {
  fl_addr remote = {};
  if (socket.idiag_family == AF_INET) {
    remote.word[2] = htonl(0xffff);
    remote.word[3] = socket.id.idiag_dst[0];
  } else {
    std::copy(std::begin(socket.id.idiag_dst), std::end(socket.id.idiag_dst), remote.word);
  }
  return std::any_of(gone.begin(), gone.end(), [&](const Tables::Gone& endpoint) {
    return endpoint.port == socket.id.idiag_dport &&
           std::memcmp(&endpoint.address, &remote, sizeof remote) == 0;
  });
}

// The same as run_iterator(), by remote address.
Result<uint64_t> end_by_address(const std::vector<Tables::Gone>& gone) {
  const Fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink.valid()) return Status::from_errno(errno, "open", "socket diagnosis");
  std::vector<inet_diag_msg> found;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    RETURN_IF_ERROR(ask_diagnosis(netlink, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, {}));
    const int error = read_answer(netlink, [&](const inet_diag_msg& socket) {
      if (leads_to(socket, gone)) found.push_back(socket);
    });
    // Without the module for UDP the kernel knows no such request.
    if (error != 0) {
      return Status::from_errno(error == ENOENT ? EOPNOTSUPP : error, "list", "UDP sockets");
    }
  }
  uint64_t ended = 0;
  for (const inet_diag_msg& socket : found) {
    RETURN_IF_ERROR(
        ask_diagnosis(netlink, SOCK_DESTROY, NLM_F_ACK, socket.idiag_family, socket.id));
    const int error = read_answer(netlink, [](const inet_diag_msg&) {});
    if (error == 0) {
      ++ended;
    } else if (error != ENOENT) {  // closed meanwhile
      return Status::from_errno(error, "end", "UDP socket");
    }
  }
  return ended;
}

}  // namespace

StaleSockets::StaleSockets(int iterator) {
  if (iterator >= 0) link_.reset(::bpf_link_create(iterator, 0, BPF_TRACE_ITER, nullptr));
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

StaleSockets::~StaleSockets() = default;

void StaleSockets::request(std::vector<Tables::Gone> gone) {
  std::erase_if(gone, [](const Tables::Gone& one) { return one.protocol != IPPROTO_UDP; });
  if (gone.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    pending_.insert(pending_.end(), gone.begin(), gone.end());
  }
  wake_.notify_one();
}

void StaleSockets::run(const std::stop_token& stop) {
  Gone gone;
  while (wait(stop, &gone)) {
    walk(gone, stop);
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, kPause, [] { return false; });
  }
}

// False: time to stop. `gone` is empty for a second look.
bool StaleSockets::wait(const std::stop_token& stop, Gone* gone) {
  gone->clear();
  std::unique_lock lock(mutex_);
  const auto asked = [this] { return !pending_.empty(); };
  if (second_look_ == steady_clock::time_point{}) {
    wake_.wait(lock, stop, asked);
  } else {
    wake_.wait_until(lock, stop, second_look_, asked);
  }
  gone->swap(pending_);
  second_look_ = {};
  // By address a second look would find sockets of whoever has the address by then.
  if (!gone->empty() && link_.valid()) second_look_ = steady_clock::now() + kSecondLook;
  return !stop.stop_requested();
}

void StaleSockets::walk(const Gone& gone, const std::stop_token& stop) {
  const Fd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home.valid()) return complain(Status::from_errno(errno, "open", "network namespace"));
  uint64_t entered = 0;
  for (const Fd& there : network_namespaces()) {
    if (stop.stop_requested()) break;
    if (::setns(there.get(), CLONE_NEWNET) != 0) {
      complain(Status::from_errno(errno, "enter", "network namespace"));
      continue;
    }
    ++entered;
    ended_ += end_here(gone);
  }
  // Not to keep the last one alive.
  if (::setns(home.get(), CLONE_NEWNET) != 0) {
    complain(Status::from_errno(errno, "return to", "network namespace"));
  }
  namespaces_ = entered;
  ++walks_;
}

uint64_t StaleSockets::end_here(const Gone& gone) {
  const Result<uint64_t> ended = link_.valid() ? run_iterator(link_.get()) : end_by_address(gone);
  if (ended) return *ended;
  complain(ended.status());
  return 0;
}

void StaleSockets::complain(const Status& status) {
  if (complained_) return;
  complained_ = true;
  if (status.system_errno() == EOPNOTSUPP) {
    LOG_WARNING(
        "this kernel cannot end sockets of others (before Linux 6.5 that takes"
        " CONFIG_INET_UDP_DIAG and CONFIG_INET_DIAG_DESTROY): an application with a connected UDP"
        " socket whose endpoint leaves must notice by itself");
    return;
  }
  LOG_WARNING("UDP sockets may stay connected to endpoints that have left: {}", status.message());
}

}  // namespace fairlead::bpf
