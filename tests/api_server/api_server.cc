#include "tests/api_server/api_server.h"

#include <fmt/format.h>

#include <mutex>

#include "tests/api_server/core.h"

namespace fairlead::api_server {
namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (j < group.size() ? static_cast<unsigned char>(group[j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) {
      text += j <= group.size() ? kAlphabet[bits >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

class ApiServerImpl final : public ApiServer {
 public:
  explicit ApiServerImpl(ApiServerOptions options)
      : options_(std::move(options)), core_(options_) {}

  Status prepare_tls();
  Status start_listening() override;
  void stop_listening() override {
    const std::lock_guard lock(server_mutex_);
    server_.reset();
  }
  void close_connections() override {
    const std::lock_guard lock(server_mutex_);
    if (server_) server_->close_connections();
  }

  uint16_t port() const override { return server_options_.port; }
  std::string url() const override {
    const bool ipv6 = options_.address.find(':') != std::string::npos;
    return fmt::format("{}://{}{}{}:{}", options_.tls ? "https" : "http", ipv6 ? "[" : "",
                       options_.address, ipv6 ? "]" : "", port());
  }
  std::string ca_pem() const override { return authority_ ? authority_->certificate_pem() : ""; }
  Result<net::CertifiedKey> issue_client(const std::string& user,
                                         const std::vector<std::string>& groups) const override;
  Result<std::string> kubeconfig(const std::string& user) const override;

  void add_type(ResourceType type) override { core_.add_type(std::move(type)); }
  void set_served(const std::string& path, bool served) override { core_.set_served(path, served); }
  Status put(std::string_view json) override { return core_.put(json); }
  Status remove(const std::string& path, const std::string& name_space,
                const std::string& name) override {
    return core_.remove(path, name_space, name);
  }
  Result<std::string> get(const std::string& path, const std::string& name_space,
                          const std::string& name) const override {
    return core_.get(path, name_space, name);
  }
  size_t size(const std::string& path) const override { return core_.size(path); }
  uint64_t version() const override { return core_.version(); }
  void compact() override { core_.compact(); }
  void inject(Fault fault) override { core_.inject(std::move(fault)); }
  void clear_faults() override { core_.clear_faults(); }
  size_t cut_watches(const std::string& path, bool mid_line) override {
    return core_.cut_watches(path, mid_line);
  }
  size_t send_to_watches(const std::string& path, const std::string& bytes) override {
    return core_.send_to_watches(path, bytes);
  }
  size_t send_bookmarks(const std::string& path) override { return core_.send_bookmarks(path); }
  void set_watches_paused(bool paused) override { core_.set_watches_paused(paused); }
  Counters counters() const override { return core_.counters(); }
  std::vector<RecordedRequest> recorded(const std::string& path) const override {
    return core_.recorded(path);
  }
  bool wait_until(const std::function<bool()>& predicate,
                  std::chrono::milliseconds patience) override {
    return core_.notifier().wait_until(predicate, patience);
  }

 private:
  const ApiServerOptions options_;
  mutable Core core_;
  std::unique_ptr<net::CertificateAuthority> authority_;
  net::ServerOptions server_options_;
  std::mutex server_mutex_;
  std::unique_ptr<net::Server> server_;  // after the core, which its handlers use
};

Status ApiServerImpl::prepare_tls() {
  server_options_.address = options_.address;
  server_options_.port = options_.port;
  server_options_.http2 = options_.http2;
  server_options_.compress = options_.compress;
  if (!options_.tls) return {};
  auto authority = net::CertificateAuthority::create("test-api-server");
  if (!authority) return authority.status();
  authority_ = std::make_unique<net::CertificateAuthority>(std::move(authority).value());
  net::LeafRequest request;
  request.common_name = "kube-apiserver";
  request.dns_names = options_.certificate_dns_names;
  request.ip_addresses = options_.certificate_ip_addresses;
  request.server = true;
  net::CertifiedKey leaf;
  ASSIGN_OR_RETURN(leaf, authority_->issue(request));
  server_options_.tls_enabled = true;
  server_options_.tls.certificate_pem = leaf.certificate_pem;
  server_options_.tls.key_pem = leaf.key_pem;
  server_options_.tls.client_ca_pem = authority_->certificate_pem();
  return {};
}

Status ApiServerImpl::start_listening() {
  const std::lock_guard lock(server_mutex_);
  if (server_) return {};
  auto server = net::Server::start(
      server_options_,
      [this](const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
        core_.handle(request, std::move(responder));
      });
  if (!server) return server.status();
  server_ = std::move(server).value();
  server_options_.port = server_->port();  // the same again after a stop
  return {};
}

Result<net::CertifiedKey> ApiServerImpl::issue_client(
    const std::string& user, const std::vector<std::string>& groups) const {
  if (!authority_) {
    return Status::error(StatusCode::kUnsupported, "issue certificate", user, "TLS is off");
  }
  net::LeafRequest request;
  request.common_name = user;
  request.organizations = groups;
  request.client = true;
  return authority_->issue(request);
}

Result<std::string> ApiServerImpl::kubeconfig(const std::string& user) const {
  std::string text = fmt::format(
      "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
      "contexts:\n- name: test\n  context: {{cluster: test, user: test}}\n"
      "clusters:\n- name: test\n  cluster:\n    server: {}\n",
      url());
  if (authority_) text += "    certificate-authority-data: " + base64(ca_pem()) + "\n";
  text += "users:\n- name: test\n  user:\n";
  std::string credentials;
  if (!options_.bearer_token.empty()) {
    credentials += fmt::format("    token: \"{}\"\n", options_.bearer_token);
  }
  if (authority_ && !user.empty()) {
    net::CertifiedKey key;
    ASSIGN_OR_RETURN(key, issue_client(user, {}));
    credentials += "    client-certificate-data: " + base64(key.certificate_pem) + "\n";
    credentials += "    client-key-data: " + base64(key.key_pem) + "\n";
  }
  return text + (credentials.empty() ? "    {}\n" : credentials);
}

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::start(ApiServerOptions options) {
  auto server = std::make_unique<ApiServerImpl>(std::move(options));
  RETURN_IF_ERROR(server->prepare_tls());
  RETURN_IF_ERROR(server->start_listening());
  return std::unique_ptr<ApiServer>(std::move(server));
}

}  // namespace fairlead::api_server
