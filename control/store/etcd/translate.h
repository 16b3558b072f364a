// Between etcd's messages and the store's types.
//
// Everything that comes from the network is looked at once, here: what etcd cannot have said
// becomes an error, never an assumption.
//
// Threads: free functions without shared state.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "control/store/store.h"

namespace etcdserverpb {
class TxnRequest;
class TxnResponse;
class WatchResponse;
}  // namespace etcdserverpb
namespace google::protobuf {
template <typename Element>
class RepeatedPtrField;
}
namespace grpc {
class Status;
}
namespace mvccpb {
class KeyValue;
}

namespace fairlead::store {

// Keys as the store's users see them, below a prefix in etcd. The prefix ends with a slash of its
// own, so that "/a" and "/ab" are apart.
class KeySpace {
 public:
  explicit KeySpace(std::string prefix) : prefix_(std::move(prefix)) {
    if (!prefix_.empty()) prefix_ += '/';
  }

  std::string outer(std::string_view key) const { return prefix_ + std::string(key); }
  // The begin of a range: etcd has no empty key.
  std::string outer_begin(std::string_view key) const {
    std::string begin = outer(key);
    if (begin.empty()) begin.push_back('\0');
    return begin;
  }
  // The end of a range, with the meanings of RangeRequest::end.
  std::string outer_end(std::string_view end) const;
  bool holds(std::string_view outer) const {
    return outer.size() > prefix_.size() && outer.starts_with(prefix_);
  }
  // Precondition: holds(outer).
  std::string inner(std::string_view outer) const {
    return std::string(outer.substr(prefix_.size()));
  }

 private:
  std::string prefix_;
};

// kInternal: revisions that cannot be. Moves key and value out of the message.
Result<EntryPtr> take_entry(mvccpb::KeyValue& from, const KeySpace& keys);

// What a watch delivered: the events inside the key space, and the revision that they lead to (0
// when there are no events at all). Moves out of the message.
struct Delivered {
  std::vector<Event> events;
  Revision revision = 0;
};
Result<Delivered> take_events(etcdserverpb::WatchResponse& from, const KeySpace& keys);

// A write that happens when the key is as expected; tells what the key holds when it is not.
etcdserverpb::TxnRequest put_transaction(const Entry& entry, Expect expect, const KeySpace& keys);
etcdserverpb::TxnRequest removal_transaction(std::string_view key, Expect expect,
                                             const KeySpace& keys);
// `put` has what was to be written, and is completed with its revisions; null for a removal.
Result<WriteOutcome> take_outcome(etcdserverpb::TxnResponse& from, std::shared_ptr<Entry> put,
                                  const KeySpace& keys);

// The code that etcd's answer means to a user of the store.
Status from_grpc(const grpc::Status& status, std::string_view operation);
// The call has certainly not reached a server: it may be made again elsewhere, whatever it does.
bool was_never_sent(const grpc::Status& status);

}  // namespace fairlead::store
