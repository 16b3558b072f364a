#include "control/store/etcd/endpoints.h"

#include <grpc/support/log.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <fstream>
#include <iterator>

#include "base/log.h"

namespace fairlead::store {
namespace {

// gRPC's words in our log, for those who look closely: what matters comes back as a call's error.
void log_as_we_do() {
  static const bool done = [] {
    gpr_set_log_function([](gpr_log_func_args* line) {
      LOG_V(2, "store: grpc: {}:{}: {}", line->file, line->line, line->message);
    });
    return true;
  }();
  static_cast<void>(done);
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.good() || text.empty()) {
    return Status::error(StatusCode::kInvalid, "read", path, "cannot be read, or is empty");
  }
  return text;
}

Result<std::shared_ptr<grpc::ChannelCredentials>> credentials_of(const EtcdTls& tls) {
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return Status::error(StatusCode::kInvalid, "connect", "etcd",
                         "a client certificate needs a key file, and a key a certificate");
  }
  if (tls.ca_file.empty()) {
    if (!tls.key_file.empty()) {
      return Status::error(StatusCode::kInvalid, "connect", "etcd",
                           "a client certificate needs a CA file to trust the server by");
    }
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions options;
  ASSIGN_OR_RETURN(options.pem_root_certs, read_file(tls.ca_file));
  if (!tls.key_file.empty()) {
    ASSIGN_OR_RETURN(options.pem_cert_chain, read_file(tls.certificate_file));
    ASSIGN_OR_RETURN(options.pem_private_key, read_file(tls.key_file));
  }
  return grpc::SslCredentials(options);
}

}  // namespace

Result<std::unique_ptr<Endpoints>> Endpoints::create(const std::vector<std::string>& addresses,
                                                     const EtcdTls& tls) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   credentials_of(tls));
  log_as_we_do();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // a list or a burst of events is as large as it is
  arguments.SetMaxSendMessageSize(-1);     // etcd's limit is etcd's to tell
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A peer that vanished without a word; etcd allows a ping every five seconds.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  // Not shared with another store of this process: several over one etcd fail apart.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto endpoints = std::make_unique<Endpoints>();
  for (const std::string& address : addresses) {
    endpoints->channels_.push_back(
        grpc::CreateCustomChannel("dns:///" + address, credentials, arguments));
  }
  return endpoints;
}

void Endpoints::move_on_from(size_t number) {
  size_t expected = current_.load();
  if (expected % count() == number) current_.compare_exchange_strong(expected, expected + 1);
}

}  // namespace fairlead::store
