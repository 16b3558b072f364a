#include "control/client/transfer.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/socket.h>

#include <utility>

namespace fairlead::client {

namespace {

constexpr size_t kMaxHeadBytes = size_t{256} << 10;
constexpr long kConnectTimeoutMs = 10000;
constexpr long kKeepAliveIdleSeconds = 30;
constexpr long kKeepAliveIntervalSeconds = 10;
// A peer that does not acknowledge what we sent for this long is gone.
constexpr unsigned kUserTimeoutMs = 30000;

curl_blob blob_of(const std::string& text) {
  // Not copied: the configuration lives as long as the client.
  return {const_cast<char*>(text.data()), text.size(), CURL_BLOB_NOCOPY};
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

}  // namespace

Target::Target(const ClientConfig& config) {
  const std::string_view server = config.server;
  tls = server.starts_with("https://");
  const std::string_view rest = server.substr(server.find("://") + 3);
  const size_t slash = rest.find('/');
  const std::string_view prefix =
      slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  host = rest.substr(0, slash);
  const size_t bracket = host.rfind(']');
  const size_t colon = host.rfind(':');
  const bool has_port =
      colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  const std::string name = has_port ? host.substr(0, colon) : host;
  const std::string port = has_port ? host.substr(colon + 1) : tls ? "443" : "80";
  loopback = is_loopback(name);
  base_url = config.server;
  if (!tls || config.tls_server_name.empty() || config.tls_server_name == name) return;
  base_url = fmt::format("https://{}:{}{}", config.tls_server_name, port, prefix);
  connect_to = fmt::format("{}:{}:{}:{}", config.tls_server_name, port, name, port);
}

Transfer::Transfer(uint64_t request_id, Request request, ResponseCallback done)
    : id_(request_id), request_(std::move(request)), streaming_(false), done_(std::move(done)) {}

Transfer::Transfer(uint64_t request_id, Request request, StreamCallbacks callbacks)
    : id_(request_id),
      request_(std::move(request)),
      streaming_(true),
      callbacks_(std::move(callbacks)) {}

void Transfer::add_header(const std::string& line) {
  curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
  if (!longer) return;
  (void)headers_.release();
  headers_.reset(longer);
}

void Transfer::set_body() {
  CURL* easy = easy_.get();
  if (request_.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    return;
  }
  if (!request_.body.empty() || request_.method == "POST" || request_.method == "PUT" ||
      request_.method == "PATCH") {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_.body.data());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request_.body.size()));
    add_header("Content-Type: " + (request_.content_type.empty() ? std::string("application/json")
                                                                 : request_.content_type));
    add_header("Expect:");
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
}

void Transfer::set_tls(const ClientConfig& config) {
  CURL* easy = easy_.get();
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (config.insecure_skip_tls_verify) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!config.ca_pem.empty()) {
    curl_blob ca = blob_of(config.ca_pem);
    curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
    // Otherwise the system's authorities would be trusted beside the one that was asked for.
    curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);
  }
  if (!config.client_certificate_pem.empty()) {
    curl_blob certificate = blob_of(config.client_certificate_pem);
    curl_blob key = blob_of(config.client_key_pem);
    curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM");
    curl_easy_setopt(easy, CURLOPT_SSLCERT_BLOB, &certificate);
    curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM");
    curl_easy_setopt(easy, CURLOPT_SSLKEY_BLOB, &key);
  }
}

Status Transfer::prepare(const ClientConfig& config, const Target& target,
                         const std::string& token) {
  easy_.reset(curl_easy_init());
  if (!easy_)
    return Status::error(StatusCode::kExhausted, "start request", object(), "out of memory");
  CURL* easy = easy_.get();
  url_ = target.base_url + request_.path;
  curl_easy_setopt(easy, CURLOPT_URL, url_.c_str());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text_);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  // Rather wait for the first connection to say whether it takes more streams than open a second.
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, target.tls ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
  curl_easy_setopt(easy, CURLOPT_USERAGENT, config.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request_.timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, &Transfer::on_socket);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  if (!config.proxy_url.empty()) {
    curl_easy_setopt(easy, CURLOPT_PROXY, config.proxy_url.c_str());
  } else if (target.loopback) {
    // A proxy from the environment is for the world outside.
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
  }
  set_tls(config);
  add_header("Accept: application/json");
  if (!target.connect_to.empty()) {
    connect_to_.reset(curl_slist_append(nullptr, target.connect_to.c_str()));
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, connect_to_.get());
    add_header("Host: " + target.host);
  }
  if (!token.empty()) {
    add_header("Authorization: Bearer " + token);
  } else if (!config.username.empty()) {
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    curl_easy_setopt(easy, CURLOPT_USERNAME, config.username.c_str());
    curl_easy_setopt(easy, CURLOPT_PASSWORD, config.password.c_str());
  }
  set_body();
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_.get());
  started_at_ = last_byte_at_ = Clock::now();
  return {};
}

int Transfer::on_socket(void*, curl_socket_t fd, curlsocktype) {
  // Best effort: without it a dead peer is noticed later, by keep-alive.
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof kUserTimeoutMs);
  return CURL_SOCKOPT_OK;
}

size_t Transfer::on_header(char* bytes, size_t size, size_t count, void* self) {
  const size_t length = size * count;
  return static_cast<Transfer*>(self)->take_header({bytes, length}) ? length : 0;
}

size_t Transfer::on_body(char* bytes, size_t size, size_t count, void* self) {
  const size_t length = size * count;
  return static_cast<Transfer*>(self)->take_body({bytes, length}) ? length : 0;
}

bool Transfer::take_header(std::string_view line) {
  last_byte_at_ = Clock::now();
  head_bytes_ += line.size();
  if (cancelled_ || head_bytes_ > kMaxHeadBytes) return false;
  if (head_done_) return true;  // a trailer
  constexpr std::string_view kRetryAfter = "retry-after:";
  if (line.size() > kRetryAfter.size() &&
      ::strncasecmp(line.data(), kRetryAfter.data(), kRetryAfter.size()) == 0) {
    response_.retry_after = trim(line.substr(kRetryAfter.size()));
  }
  if (line != "\r\n" && line != "\n") return true;
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status < 200) return true;  // 100 Continue: the real head is still to come
  response_.status = static_cast<int>(status);
  head_done_ = true;
  if (!streaming_) return true;
  if (head_observer_) head_observer_();
  if (callbacks_.on_headers) callbacks_.on_headers(response_.status);
  return !cancelled_;
}

bool Transfer::take_body(std::string_view bytes) {
  last_byte_at_ = Clock::now();
  if (cancelled_) return false;
  if (streaming_ && response_.status / 100 == 2) {
    if (callbacks_.on_data && !callbacks_.on_data(bytes)) cancelled_ = true;
    return !cancelled_;
  }
  if (bytes.size() > request_.max_body - response_.body.size()) {
    body_too_large_ = true;
    return false;
  }
  response_.body.append(bytes);
  return true;
}

std::string Transfer::object() const {
  return fmt::format("{} {}", request_.method, std::string_view(url_).substr(0, url_.find('?')));
}

Status Transfer::failure_of(CURLcode code) const {
  if (body_too_large_) {
    return Status::error(StatusCode::kExhausted, "request", object(),
                         fmt::format("the answer is larger than {} bytes", request_.max_body));
  }
  StatusCode kind = StatusCode::kUnavailable;
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
      kind = StatusCode::kPermission;
      break;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      kind = StatusCode::kInvalid;
      break;
    case CURLE_OUT_OF_MEMORY:
      kind = StatusCode::kExhausted;
      break;
    default:
      break;
  }
  const char* detail = error_text_[0] ? error_text_ : curl_easy_strerror(code);
  return Status::error(kind, "request", object(), detail);
}

void Transfer::finish(CURLcode code, const Status& failure) {
  Result<Response> result = Response();
  if (!failure.ok()) {
    result = failure;
  } else if (code != CURLE_OK) {
    result = failure_of(code);
  } else {
    long version = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_VERSION, &version);
    response_.http2 = version == CURL_HTTP_VERSION_2_0;
    result = std::move(response_);
  }
  if (streaming_) {
    if (callbacks_.on_end) callbacks_.on_end(std::move(result));
  } else if (done_) {
    done_(std::move(result));
  }
}

}  // namespace fairlead::client
