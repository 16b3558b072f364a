// A real etcd for tests: Debian's, on loopback, its data in a temporary directory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "control/store/etcd/etcd_store.h"
#include "tests/harness/process.h"
#include "tests/unit/store/scratch.h"

namespace fairlead::store {

bool etcd_is_installed();

class EtcdServer {
 public:
  // Returns when it answers. `extra` are more flags; with TLS the scheme is "https".
  static Result<std::unique_ptr<EtcdServer>> start(std::vector<std::string> extra = {},
                                                   const std::string& scheme = "http");

  // "127.0.0.1:port"
  const std::string& address() const { return address_; }
  // "etcd://127.0.0.1:port/" with a prefix that no other call has returned.
  std::string fresh_location() const;
  EtcdOptions options(const std::string& location) const;
  pid_t pid() const { return process_->pid(); }

  void kill();  // as kill -9 does
  // On the same port, with the same data.
  Status start_again();
  // The next start is on another port, where its old clients do not find it, and on the first
  // again.
  void move();
  void move_back() { address_ = home_; }

 private:
  EtcdServer() = default;
  Status run();

  Scratch scratch_;
  std::string scheme_;
  std::string address_;
  std::string home_;
  std::string peer_;
  std::vector<std::string> extra_;
  std::unique_ptr<harness::ChildProcess> process_;
};

// One for all tests of this binary; null when etcd is not installed.
EtcdServer* shared_etcd();

}  // namespace fairlead::store
