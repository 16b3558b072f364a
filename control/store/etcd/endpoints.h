// The members of an etcd cluster, one of which is in use until it fails.
//
// Threads: all functions from any thread.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace grpc {
class Channel;
}

namespace fairlead::store {

struct EtcdTls {
  std::string ca_file;           // PEM; empty: no TLS
  std::string certificate_file;  // of the client; with key_file, or neither
  std::string key_file;
};

class Endpoints {
 public:
  // Connects to nobody yet. Errors: a file of `tls` cannot be read, or only one of a pair is given.
  static Result<std::unique_ptr<Endpoints>> create(const std::vector<std::string>& addresses,
                                                   const EtcdTls& tls);

  size_t count() const { return channels_.size(); }
  // The number of the one in use.
  size_t current() const { return current_.load() % count(); }
  const std::shared_ptr<grpc::Channel>& channel(size_t number) const { return channels_[number]; }
  // Uses the next one, unless another caller has moved on from `number` already.
  void move_on_from(size_t number);

 private:
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::atomic<size_t> current_ = 0;
};

}  // namespace fairlead::store
