// Opens the store that --store names.
//
// Threads: any; blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/store/store.h"

namespace fairlead::store {

struct StoreTls {  // files in PEM, for etcd
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
};

// `where` is "etcd://host:port,host:port/prefix" (the prefix is optional) or the embedded store's
// directory, which refuses what goes beyond the quota (etcd has one of its own).
Result<std::unique_ptr<Store>> open_store(std::string_view where, const StoreTls& tls,
                                          uint64_t quota_bytes = kDefaultQuota);

}  // namespace fairlead::store
