#include "control/server/program.h"

#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "base/fd.h"
#include "base/log.h"
#include "control/apiserver/front_end.h"
#include "control/apiserver/housekeeping.h"
#include "control/apiserver/measured_store.h"
#include "control/apiserver/registry_open.h"
#include "control/apiserver/system_objects.h"
#include "control/auth/material.h"
#include "control/controllers/manager.h"
#include "control/server/addresses.h"
#include "control/server/controller_metrics.h"
#include "control/server/hooks.h"
#include "control/server/registry_cluster.h"
#include "control/store/open.h"

namespace fairlead::server {
namespace {

using std::chrono::seconds;

constexpr std::string_view kGitVersion = "v1.30.0+fairlead";
constexpr seconds kDrain{10};

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// Every watch is a connection or shares one.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// sd_notify(3): tells systemd, when it started us.
void notify(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t size = std::min(std::strlen(path), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path, size);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  [[maybe_unused]] const ssize_t sent =
      ::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), length);
}

bool is_any(const std::string& address) {
  return address == "0.0.0.0" || address == "::";
}

class Program {
 public:
  explicit Program(const Options& options) : options_(options) {}

  Status start();
  void stop();

 private:
  Status open_data();
  Status find_addresses();
  Status prepare_keys();
  Status prepare_users();
  Status build_api();
  Status listen();
  void make_system_objects();
  void start_housekeeping();
  void make_controllers();
  net::Handler handler(apiserver::FrontEnd& front);

  const Options& options_;
  std::string advertised_;
  apiserver::ServiceRanges ranges_;
  std::string service_address_;
  auth::Material material_;
  net::TlsOptions tls_;

  // In the order in which they depend on each other: destruction goes backwards.
  std::unique_ptr<apiserver::MeasuredStore> store_;
  std::unique_ptr<apiserver::WorkerPool> pool_;
  std::unique_ptr<apiserver::Registry> registry_;
  std::unique_ptr<auth::Authentication> authentication_;
  std::unique_ptr<auth::Authorizer> authorizer_;
  std::unique_ptr<apiserver::FrontEnd> front_;
  std::unique_ptr<apiserver::FrontEnd> open_front_;  // of the insecure port
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<net::Server> insecure_server_;
  std::unique_ptr<apiserver::SystemObjects> objects_;
  std::unique_ptr<apiserver::Housekeeping> housekeeping_;
  std::unique_ptr<RegistryCluster> cluster_;
  std::unique_ptr<controllers::ControllerManager> controllers_;
};

Status Program::open_data() {
  if (::mkdir(options_.data_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return Status::from_errno(errno, "create", options_.data_dir);
  }
  const std::string where = options_.store.empty() || options_.store == "embedded"
                                ? options_.data_dir + "/store"
                                : options_.store;
  std::unique_ptr<store::Store> store;
  ASSIGN_OR_RETURN(store, store::open_store(where, options_.store_tls, options_.store_quota_bytes));
  store_ = std::make_unique<apiserver::MeasuredStore>(std::move(store));
  return {};
}

Status Program::find_addresses() {
  ASSIGN_OR_RETURN(ranges_,
                   apiserver::ServiceRanges::parse(options_.service_range, options_.node_ports));
  service_address_ = ranges_.addresses.front().address(0);
  advertised_ = options_.advertise_address;
  if (advertised_.empty() && !is_any(options_.listen_address))
    advertised_ = options_.listen_address;
  if (advertised_.empty()) {
    const std::vector<std::string> found = host_addresses();
    advertised_ = found.empty() ? "127.0.0.1" : found.front();
  }
  return {};
}

// The port must be known before the kubeconfig is written; so the server listens first.
Status Program::prepare_keys() {
  auth::MaterialRequest request;
  request.directory = options_.data_dir + "/pki";
  request.dns_names = {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                       "kubernetes.default.svc.cluster.local"};
  request.addresses = {"127.0.0.1", "::1", service_address_};
  const auto add = [](std::vector<std::string>& list, const std::string& name) {
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  };
  add(request.dns_names, host_name());
  for (const std::string& address : host_addresses()) add(request.addresses, address);
  add(request.addresses, advertised_);
  for (const std::string& name : options_.names) {
    const bool address =
        name.find_first_not_of("0123456789.") == std::string::npos || is_ipv6(name);
    add(address ? request.addresses : request.dns_names, name);
  }
  request.server_url = "https://" + host_port(advertised_, options_.secure_port);
  request.kubeconfig_path = options_.kubeconfig_out;
  ASSIGN_OR_RETURN(material_, auth::prepare_material(request));
  tls_.certificate_pem = material_.server_certificate_pem;
  tls_.key_pem = material_.server_key_pem;
  tls_.client_ca_pem = material_.ca_pem;
  if (!options_.certificate_file.empty()) {
    ASSIGN_OR_RETURN(tls_.certificate_pem, auth::read_file(options_.certificate_file));
    ASSIGN_OR_RETURN(tls_.key_pem, auth::read_file(options_.key_file));
  }
  if (!options_.client_ca_file.empty()) {
    ASSIGN_OR_RETURN(const std::string more, auth::read_authorities(options_.client_ca_file));
    tls_.client_ca_pem += more;
  }
  return {};
}

Status Program::prepare_users() {
  std::vector<std::unique_ptr<auth::Authenticator>> authenticators;
  authenticators.push_back(auth::make_certificate_authenticator());
  if (!options_.token_file.empty()) {
    ASSIGN_OR_RETURN(const std::string text, auth::read_file(options_.token_file));
    ASSIGN_OR_RETURN(auto tokens, auth::make_token_authenticator(text, options_.token_file));
    authenticators.push_back(std::move(tokens));
  }
  authentication_ = std::make_unique<auth::Authentication>(std::move(authenticators));
  std::vector<std::unique_ptr<auth::Authorizer>> authorizers;
  authorizers.push_back(auth::make_masters_authorizer());
  authorizers.push_back(auth::make_authenticated_authorizer());
  authorizer_ = auth::make_authorizer_chain(std::move(authorizers));
  return {};
}

Status Program::build_api() {
  pool_ = std::make_unique<apiserver::WorkerPool>();
  registry_ = open_hooked_registry(*store_, *pool_, ranges_);
  apiserver::FrontEndOptions front;
  front.address = host_port(advertised_, options_.secure_port);
  front.version = kGitVersion;
  front.max_reads = options_.max_reads;
  front.max_writes = options_.max_writes;
  front.checks.push_back({"store", [this] { return store_->health(); }, false});
  front.metrics.push_back([this](std::string& page) { store_->append_metrics(page); });
  front.metrics.push_back([this](std::string& page) {
    if (controllers_) append_metrics(controllers_->metrics(), page);
  });
  const apiserver::Post post = [this](std::function<void()> job) { pool_->post(std::move(job)); };
  front_ = std::make_unique<apiserver::FrontEnd>(front, *registry_, *authentication_, *authorizer_,
                                                 post);
  if (options_.insecure_port >= 0) {
    front.everybody = std::make_shared<const auth::User>(
        auth::User{"system:unsecured",
                   "",
                   {std::string(auth::kMasters), std::string(auth::kAuthenticated)},
                   {}});
    open_front_ = std::make_unique<apiserver::FrontEnd>(front, *registry_, *authentication_,
                                                        *authorizer_, post);
  }
  return {};
}

net::Handler Program::handler(apiserver::FrontEnd& front) {
  return [&front](const net::HttpRequest& request, std::unique_ptr<net::Responder> responder) {
    front.handle(request, std::move(responder));
  };
}

Status Program::listen() {
  net::ServerOptions secure;
  secure.address = options_.listen_address;
  secure.port = options_.secure_port;
  secure.tls_enabled = true;
  secure.tls = tls_;
  secure.refusal = apiserver::refuse_unread;
  ASSIGN_OR_RETURN(server_, net::Server::start(secure, handler(*front_)));
  if (open_front_) {
    net::ServerOptions plain;
    plain.port = static_cast<uint16_t>(options_.insecure_port);
    plain.refusal = apiserver::refuse_unread;
    ASSIGN_OR_RETURN(insecure_server_, net::Server::start(plain, handler(*open_front_)));
  }
  return {};
}

void Program::make_system_objects() {
  apiserver::SystemOptions options;
  // Nobody else could use a loopback address, and the API refuses it as an endpoint.
  const bool loopback = advertised_.starts_with("127.") || advertised_ == "::1";
  if (!loopback) options.address = advertised_;
  options.port = options_.secure_port;
  options.ranges = ranges_;
  options.client_ca = tls_.client_ca_pem;
  objects_ = std::make_unique<apiserver::SystemObjects>(*registry_, *store_, options);
  // What cannot be made now comes later: what the store holds is served all the same.
  const Status status = objects_->refresh();
  if (!status) LOG_WARNING("{}", status.message());
}

void Program::start_housekeeping() {
  auto chores = apiserver::common_chores(*store_, *pool_, apiserver::system_seconds);
  chores.push_back({seconds(apiserver::SystemObjects::kInterval), [this] {
                      const Status status = objects_->refresh();
                      if (!status) LOG_WARNING("{}", status.message());
                    }});
  housekeeping_ = std::make_unique<apiserver::Housekeeping>(std::move(chores));
}

void Program::make_controllers() {
  if (!options_.controllers) return;
  cluster_ = std::make_unique<RegistryCluster>(
      *registry_,
      auth::User{"system:kube-controller-manager", "", {std::string(auth::kMasters)}, {}});
  controllers::ManagerOptions manager;
  manager.elect = options_.store.starts_with("etcd");
  // Containers may share the host's name and all be process 1.
  std::random_device random;
  manager.election.identity =
      fmt::format("{}_{}_{:08x}{:08x}", host_name(), ::getpid(), random(), random());
  manager.root_ca = material_.ca_pem;
  controllers_ = std::make_unique<controllers::ControllerManager>(*cluster_, manager);
}

Status Program::start() {
  RETURN_IF_ERROR(find_addresses());
  RETURN_IF_ERROR(open_data());
  RETURN_IF_ERROR(prepare_keys());
  RETURN_IF_ERROR(prepare_users());
  RETURN_IF_ERROR(build_api());
  make_system_objects();
  make_controllers();
  RETURN_IF_ERROR(listen());
  start_housekeeping();
  if (controllers_) controllers_->start();
  LOG_INFO("serving on https://{}, kubeconfig in {}", host_port(advertised_, server_->port()),
           material_.kubeconfig_path);
  if (insecure_server_) {
    LOG_WARNING("serving without TLS and without asking who comes on http://127.0.0.1:{}",
                insecure_server_->port());
  }
  return {};
}

void Program::stop() {
  if (front_) front_->begin_shutdown();
  if (open_front_) open_front_->begin_shutdown();
  housekeeping_.reset();
  if (objects_) objects_->leave();
  if (controllers_) controllers_->stop();
  // One deadline for both, and each is asked whatever the other says.
  const auto deadline = std::chrono::steady_clock::now() + kDrain;
  bool quiet = true;
  for (apiserver::FrontEnd* front : {front_.get(), open_front_.get()}) {
    if (front == nullptr) continue;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    quiet = front->drain(std::max(left, std::chrono::milliseconds(0))) && quiet;
  }
  if (!quiet) LOG_WARNING("requests were still in flight after {} s", kDrain.count());
  if (server_) server_->stop();
  if (insecure_server_) insecure_server_->stop();
  front_.reset();
  open_front_.reset();
  controllers_.reset();
  cluster_.reset();
  objects_.reset();
  registry_.reset();
  pool_.reset();
}

}  // namespace

Status run_server(const Options& options) {
  const sigset_t signals = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts
  ::signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  Program program(options);
  Status status = program.start();
  if (status.ok()) {
    notify("READY=1");
    int received = 0;
    ::sigwait(&signals, &received);
    LOG_INFO("stopping: signal {}", received);
    notify("STOPPING=1");
  }
  program.stop();
  return status;
}

}  // namespace fairlead::server
