#include "tests/harness/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/fd.h"
#include "tests/harness/process.h"

namespace fairlead::harness {

// The thread inside the namespace and the work that waits for it.
struct Namespace::Worker {
  Fd handle;  // keeps the namespace alive
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> work;
  bool stopping = false;
  std::thread thread;

  ~Worker() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    if (thread.joinable()) thread.join();
  }

  // Makes the calling thread's network namespace a new one and opens it.
  Status unshare_and_open() {
    if (::unshare(CLONE_NEWNET) != 0)
      return Status::from_errno(errno, "create", "network namespace");
    handle.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!handle.valid()) return Status::from_errno(errno, "open", "network namespace");
    return {};
  }

  void serve() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return stopping || !work.empty(); });
      if (work.empty()) return;
      const std::function<void()> next = std::move(work.front());
      work.pop_front();
      lock.unlock();
      next();
      lock.lock();
    }
  }
};

Result<std::unique_ptr<Namespace>> Namespace::create(std::string name) {
  auto worker = std::make_unique<Worker>();
  std::promise<Status> created;
  worker->thread = std::thread([&created, worker = worker.get()] {
    const Status status = worker->unshare_and_open();
    created.set_value(status);
    if (status.ok()) worker->serve();
  });
  RETURN_IF_ERROR(created.get_future().get());
  std::unique_ptr<Namespace> made(new Namespace(std::move(name), std::move(worker)));
  RETURN_IF_ERROR(made->ip("link set lo up"));
  return made;
}

Namespace::Namespace(std::string name, std::unique_ptr<Worker> worker)
    : name_(std::move(name)),
      path_("/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(worker->handle.get())),
      worker_(std::move(worker)) {}

Namespace::~Namespace() = default;

bool Namespace::on_own_thread() const {
  return std::this_thread::get_id() == worker_->thread.get_id();
}

void Namespace::post(std::function<void()> work) {
  const std::lock_guard lock(worker_->mutex);
  worker_->work.push_back(std::move(work));
  worker_->changed.notify_one();
}

Status Namespace::enter() const {
  if (::setns(worker_->handle.get(), CLONE_NEWNET) == 0) return {};
  return Status::from_errno(errno, "enter", name_);
}

Status Namespace::ip(std::string_view commands) {
  return run([commands] { return run_checked({"ip", "-batch", "-"}, commands); });
}

Status Namespace::sysctl(std::string_view key, std::string_view value) {
  std::string path = "/proc/sys/" + std::string(key);
  for (char& c : path) {
    if (c == '.') c = '/';
  }
  return run([&path, value]() -> Status {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file.valid()) return Status::from_errno(errno, "open", path);
    if (::write(file.get(), value.data(), value.size()) < 0) {
      return Status::from_errno(errno, "write", path);
    }
    return {};
  });
}

Status Namespace::as_on_a_wire(const std::string& interface, bool wire) {
  const std::string offloads = wire ? "off" : "on";
  return run([&] {
    return run_checked({"ethtool", "-K", interface, "tx", offloads, "tso", offloads, "gso",
                        offloads, "gro", wire ? "on" : "off"});
  });
}

Status connect(Namespace& left, std::string_view left_interface, Namespace& right,
               std::string_view right_interface) {
  const std::string name(left_interface);
  const std::string peer(right_interface);
  RETURN_IF_ERROR(left.ip("link add " + name + " type veth peer name " + peer + " netns " +
                          right.path() + "\nlink set " + name + " up\n"));
  return right.ip("link set " + peer + " up\n");
}

}  // namespace fairlead::harness
