// A store that counts and times what is asked of it, in the names under which users of
// kube-apiserver know its calls of etcd: by operation and by resource.
//
// Threads: as any store; append_metrics() from any thread.
#pragma once

#include <memory>
#include <string>

#include "control/store/store.h"

namespace fairlead::apiserver {

class MeasuredStore final : public store::Store {
 public:
  explicit MeasuredStore(std::unique_ptr<store::Store> store);
  ~MeasuredStore() override;

  void put(std::string key, std::string value, store::Expect expect, store::LeaseId lease,
           Done<store::WriteOutcome> done) override;
  void remove(std::string key, store::Expect expect, Done<store::WriteOutcome> done) override;
  void range(store::RangeRequest request, Done<store::RangeResult> done) override;
  Result<std::unique_ptr<store::Watch>> watch(store::WatchRequest request,
                                              std::function<void()> ready) override;
  void grant_lease(std::chrono::seconds ttl, Done<store::Lease> done) override;
  void keep_alive(store::LeaseId id, Done<store::Lease> done) override;
  void revoke_lease(store::LeaseId id, DoneStatus done) override;
  void compact(store::Revision revision, DoneStatus done) override;
  store::Revision revision() const override;
  store::Usage usage() const override;
  Status health() const override;

  // Prometheus' text format: etcd_requests_total, etcd_request_errors_total,
  // etcd_request_duration_seconds, apiserver_storage_objects, fairlead_store_revision,
  // fairlead_store_healthy; of a store that knows, apiserver_storage_size_bytes and
  // fairlead_store_quota_bytes. Counts the objects of each resource: not on the store's own
  // threads.
  void append_metrics(std::string& page);

 private:
  struct Counts;

  template <typename T>
  Done<T> measured(size_t operation, size_t resource, Done<T> done);
  void append_objects(std::string& page);

  const std::unique_ptr<Counts> counts_;
  const std::unique_ptr<store::Store> store_;  // goes first: it completes what is outstanding
};

}  // namespace fairlead::apiserver
