// What etcd answers: whatever a watch delivers, the view stays whole, its revisions only grow, and
// its watches see each change once.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "control/store/etcd/address.h"
#include "control/store/etcd/rpc.pb.h"
#include "control/store/etcd/translate.h"
#include "control/store/view.h"

using namespace fairlead::store;  // NOLINT: a fuzzer is one function

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const KeySpace keys("/p");
  if (const auto address = parse_etcd_address("etcd://" + bytes)) {
    if (address->endpoints.empty()) std::abort();
  }

  etcdserverpb::TxnResponse transaction;
  if (transaction.ParseFromString(bytes)) {
    etcdserverpb::TxnResponse copy = transaction;
    auto entry = std::make_shared<Entry>();
    entry->key = "/p/a";
    if (const auto outcome = take_outcome(transaction, entry, keys)) {
      if (outcome->applied && outcome->entry == nullptr) std::abort();
    }
    if (const auto outcome = take_outcome(copy, nullptr, keys)) {
      if (outcome->applied && outcome->previous == nullptr) std::abort();
    }
  }

  // The input is a list of responses: each a length byte and that many bytes.
  const auto view = std::make_shared<View>(HistoryLimits{8, 4096});
  WatchRequest all;
  auto watch = view->watch(all, [] {}).value();
  Revision seen = 0;
  for (size_t at = 0; at < size;) {
    const size_t length = data[at++];
    etcdserverpb::WatchResponse response;
    const bool parsed = response.ParseFromString(bytes.substr(at, length));
    at += length;
    if (!parsed) continue;
    auto delivered = take_events(response, keys);
    if (!delivered) continue;
    const Revision before = view->revision();
    view->publish(std::move(delivered->events), delivered->revision);
    if (view->revision() < before) std::abort();
    const auto batch = watch->take();
    if (!batch) {
      watch = view->watch(all, [] {}).value();
      continue;
    }
    for (const Event& event : batch->events) {
      if (event.revision() < seen) std::abort();
      seen = event.revision();
    }
  }
  RangeRequest past;
  past.end = kNoEnd;
  past.revision = view->compacted();
  if (!view->range(past)) std::abort();
  return 0;
}
