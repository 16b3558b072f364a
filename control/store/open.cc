#include "control/store/open.h"

#include <utility>

#include "control/store/embedded/embedded_store.h"
#include "control/store/etcd/etcd_store.h"

namespace fairlead::store {

Result<std::unique_ptr<Store>> open_store(std::string_view where, const StoreTls& tls,
                                          uint64_t quota_bytes) {
  if (where.starts_with("etcd://")) {
    EtcdOptions options;
    ASSIGN_OR_RETURN(options.address, parse_etcd_address(where));
    options.tls = {tls.ca_file, tls.certificate_file, tls.key_file};
    ASSIGN_OR_RETURN(std::unique_ptr<Store> store, EtcdStore::open(options));
    return store;
  }
  if (where.empty() || where.find("://") != std::string_view::npos) {
    return Status::error(StatusCode::kInvalid, "open store", where,
                         "is neither a directory nor etcd://host:port,...");
  }
  if (!tls.ca_file.empty() || !tls.certificate_file.empty() || !tls.key_file.empty()) {
    return Status::error(StatusCode::kInvalid, "open store", where,
                         "certificates are for etcd; this is a directory");
  }
  EmbeddedOptions options;
  options.directory = where;
  options.quota_bytes = quota_bytes;
  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, EmbeddedStore::open(options));
  return store;
}

}  // namespace fairlead::store
