#include "control/store/etcd/translate.h"

#include <fmt/core.h>
#include <grpcpp/support/status.h>

#include <cerrno>

#include "control/store/etcd/kv.pb.h"
#include "control/store/etcd/rpc.pb.h"

namespace fairlead::store {
namespace {

Status impossible(std::string_view detail) {
  return Status::error(StatusCode::kInternal, "read the answer of", "etcd", detail);
}

}  // namespace

std::string KeySpace::outer_end(std::string_view end) const {
  if (end.empty()) return {};
  return end == kNoEnd ? prefix_end(prefix_) : outer(end);
}

Result<EntryPtr> take_entry(mvccpb::KeyValue& from, const KeySpace& keys) {
  if (!keys.holds(from.key())) return impossible("a key is outside of what was asked for");
  const bool possible = from.create_revision() >= 1 &&
                        from.mod_revision() >= from.create_revision() && from.version() >= 1;
  if (!possible) {
    return impossible(fmt::format("key {} has create revision {}, mod revision {}, version {}",
                                  from.key(), from.create_revision(), from.mod_revision(),
                                  from.version()));
  }
  auto entry = std::make_shared<Entry>();
  entry->key = keys.inner(from.key());
  entry->value = std::move(*from.mutable_value());
  entry->create_revision = from.create_revision();
  entry->mod_revision = from.mod_revision();
  entry->version = from.version();
  entry->lease = from.lease();
  return EntryPtr(std::move(entry));
}

Result<Delivered> take_events(etcdserverpb::WatchResponse& from, const KeySpace& keys) {
  Delivered delivered;
  for (mvccpb::Event& event : *from.mutable_events()) {
    const Revision revision = event.kv().mod_revision();
    if (revision < 1 || revision < delivered.revision) {
      return impossible(
          fmt::format("an event of revision {} after {}", revision, delivered.revision));
    }
    delivered.revision = revision;
    if (!keys.holds(event.kv().key())) continue;
    if (event.type() == mvccpb::Event::PUT) {
      ASSIGN_OR_RETURN(EntryPtr entry, take_entry(*event.mutable_kv(), keys));
      delivered.events.push_back(Event{Event::Type::kPut, std::move(entry), nullptr});
    } else {
      auto removal = std::make_shared<Entry>();
      removal->key = keys.inner(event.kv().key());
      removal->mod_revision = revision;
      delivered.events.push_back(Event{Event::Type::kDelete, std::move(removal), nullptr});
    }
  }
  return delivered;
}

namespace {

etcdserverpb::TxnRequest transaction(std::string_view key, Expect expect, const KeySpace& keys) {
  etcdserverpb::TxnRequest request;
  if (const auto mod_revision = expect.mod_revision()) {
    etcdserverpb::Compare* compare = request.add_compare();
    compare->set_result(etcdserverpb::Compare::EQUAL);
    compare->set_target(etcdserverpb::Compare::MOD);
    compare->set_key(keys.outer(key));
    compare->set_mod_revision(*mod_revision);
    request.add_failure()->mutable_request_range()->set_key(keys.outer(key));
  }
  return request;
}

// The only key of a list; null when it is empty.
Result<EntryPtr> take_only(google::protobuf::RepeatedPtrField<mvccpb::KeyValue>& from,
                           const KeySpace& keys) {
  if (from.empty()) return EntryPtr();
  if (from.size() > 1) return impossible("several keys where one was asked for");
  return take_entry(from[0], keys);
}

}  // namespace

etcdserverpb::TxnRequest put_transaction(const Entry& entry, Expect expect, const KeySpace& keys) {
  etcdserverpb::TxnRequest request = transaction(entry.key, expect, keys);
  etcdserverpb::PutRequest* put = request.add_success()->mutable_request_put();
  put->set_key(keys.outer(entry.key));
  put->set_value(entry.value);
  put->set_lease(entry.lease);
  put->set_prev_kv(true);
  return request;
}

etcdserverpb::TxnRequest removal_transaction(std::string_view key, Expect expect,
                                             const KeySpace& keys) {
  etcdserverpb::TxnRequest request = transaction(key, expect, keys);
  etcdserverpb::DeleteRangeRequest* removal = request.add_success()->mutable_request_delete_range();
  removal->set_key(keys.outer(key));
  removal->set_prev_kv(true);
  return request;
}

Result<WriteOutcome> take_outcome(etcdserverpb::TxnResponse& from, std::shared_ptr<Entry> put,
                                  const KeySpace& keys) {
  if (from.responses_size() != 1) return impossible("a transaction of one step has another number");
  WriteOutcome outcome;
  outcome.revision = from.header().revision();
  etcdserverpb::ResponseOp& answer = *from.mutable_responses(0);
  if (!from.succeeded()) {
    ASSIGN_OR_RETURN(outcome.previous,
                     take_only(*answer.mutable_response_range()->mutable_kvs(), keys));
    return outcome;
  }
  if (put == nullptr) {
    ASSIGN_OR_RETURN(outcome.previous,
                     take_only(*answer.mutable_response_delete_range()->mutable_prev_kvs(), keys));
    outcome.applied = outcome.previous != nullptr;
    return outcome;
  }
  if (answer.response_put().has_prev_kv()) {
    ASSIGN_OR_RETURN(outcome.previous,
                     take_entry(*answer.mutable_response_put()->mutable_prev_kv(), keys));
  }
  put->mod_revision = outcome.revision;
  put->create_revision = outcome.previous ? outcome.previous->create_revision : outcome.revision;
  put->version = outcome.previous ? outcome.previous->version + 1 : 1;
  outcome.applied = true;
  outcome.entry = std::move(put);
  return outcome;
}

Status from_grpc(const grpc::Status& status, std::string_view operation) {
  if (status.ok()) return {};
  StatusCode code = StatusCode::kInternal;
  const std::string& text = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::OUT_OF_RANGE:
      code = text.find("compacted") != std::string::npos ? StatusCode::kExpired
                                                         : StatusCode::kUnavailable;
      break;
    case grpc::StatusCode::NOT_FOUND:
      code = StatusCode::kNotFound;
      break;
    case grpc::StatusCode::INVALID_ARGUMENT:
      code = StatusCode::kInvalid;
      break;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      if (text.find("space exceeded") != std::string::npos) {
        return Status::from_errno(ENOSPC, operation, fmt::format("etcd: {}", text));
      }
      // gRPC's own limit on a message, which will not be met another time either.
      code = text.find("message larger than max") != std::string::npos ? StatusCode::kInvalid
                                                                       : StatusCode::kExhausted;
      break;
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::FAILED_PRECONDITION:
      code = StatusCode::kConflict;
      break;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      code = StatusCode::kPermission;
      break;
    case grpc::StatusCode::UNIMPLEMENTED:
      code = StatusCode::kUnsupported;
      break;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
      code = StatusCode::kUnavailable;
      break;
    default:
      break;
  }
  return Status::error(code, operation, "etcd", text.empty() ? "no reason was given" : text);
}

bool was_never_sent(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         (status.error_message().starts_with("failed to connect to all addresses") ||
          status.error_message().starts_with("connections to all backends failing") ||
          status.error_message().starts_with("DNS resolution failed"));
}

}  // namespace fairlead::store
