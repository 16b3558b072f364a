#include "net_test_support.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace fairlead::net {
namespace {

constexpr int kPatienceMilliseconds = 10000;

size_t collect(char* bytes, size_t, size_t size, void* target) {
  static_cast<std::string*>(target)->append(bytes, size);
  return size;
}

struct BodySink {
  CurlAnswer* answer;
  const CurlRequest* request;
};

size_t collect_body(char* bytes, size_t, size_t size, void* target) {
  auto* sink = static_cast<BodySink*>(target);
  sink->answer->body.append(bytes, size);
  if (sink->request->on_data && !sink->request->on_data({bytes, size})) return 0;
  return size;
}

void set_blob(CURL* curl, CURLoption option, const std::string& pem) {
  curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_COPY};
  curl_easy_setopt(curl, option, &blob);
}

}  // namespace

RawClient::RawClient(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void RawClient::finish_sending() {
  ::shutdown(fd_.get(), SHUT_WR);
}
void RawClient::reset() {
  fd_.reset();
}

bool RawClient::fill() {
  pollfd poller{fd_.get(), POLLIN, 0};
  if (::poll(&poller, 1, kPatienceMilliseconds) != 1) {
    ADD_FAILURE() << "nothing came for ten seconds; so far: " << buffer_;
    return false;
  }
  char bytes[65536];
  const ssize_t size = ::recv(fd_.get(), bytes, sizeof bytes, 0);
  if (size <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(size));
  return true;
}

std::string RawClient::read_until(std::string_view marker) {
  size_t found = buffer_.find(marker);
  while (found == std::string::npos && fill()) found = buffer_.find(marker);
  const size_t end = found == std::string::npos ? buffer_.size() : found + marker.size();
  std::string taken = buffer_.substr(0, end);
  buffer_.erase(0, end);
  return taken;
}

std::string RawClient::read_to_end() {
  while (fill()) {
  }
  return std::exchange(buffer_, {});
}

std::string RawClient::read_some() {
  if (buffer_.empty()) fill();
  return std::exchange(buffer_, {});
}

std::string RawClient::read_response() {
  const std::string head = read_until("\r\n\r\n");
  const std::string name = "content-length: ";
  const size_t at = head.find(name);
  if (at == std::string::npos) return head;
  const size_t length = std::stoul(head.substr(at + name.size()));
  while (buffer_.size() < length && fill()) {
  }
  const std::string body = buffer_.substr(0, length);
  buffer_.erase(0, length);
  return head + body;
}

CurlAnswer perform(const CurlRequest& request) {
  CurlAnswer answer;
  BodySink sink{&answer, &request};
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> owner(curl_easy_init(),
                                                                  &curl_easy_cleanup);
  CURL* curl = owner.get();
  curl_slist* list = nullptr;
  for (const std::string& header : request.headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list,
                                                                            &curl_slist_free_all);
  char error[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, collect);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer.head);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
  if (!request.body.empty()) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
  }
  if (request.method == "HEAD") {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  } else if (!request.method.empty()) {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  if (request.http1_only) curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  if (request.http2_prior_knowledge) {
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
  }
  if (!request.accept_encoding.empty()) {
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, request.accept_encoding.c_str());
  }
  if (!request.ca_pem.empty()) set_blob(curl, CURLOPT_CAINFO_BLOB, request.ca_pem);
  if (!request.client.key_pem.empty()) {
    set_blob(curl, CURLOPT_SSLCERT_BLOB, request.client.certificate_pem);
    set_blob(curl, CURLOPT_SSLKEY_BLOB, request.client.key_pem);
  }
  answer.result = curl_easy_perform(curl);
  answer.error = error;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  long version = 0;  // NOLINT: libcurl's type
  curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &version);
  answer.http2 = version == CURL_HTTP_VERSION_2_0;
  return answer;
}

EchoServer::EchoServer(ServerOptions options) {
  auto started = Server::start(
      std::move(options), [this](const HttpRequest& request, std::unique_ptr<Responder> responder) {
        handle(request, std::move(responder));
      });
  EXPECT_TRUE(started.ok()) << started.status().message();
  server = std::move(started).value();
}

std::string EchoServer::url(std::string_view path, std::string_view scheme) const {
  return fmt::format("{}://127.0.0.1:{}{}", scheme, port(), path);
}

void EchoServer::handle(const HttpRequest& request, std::unique_ptr<Responder> responder) {
  if (request.path == "/drop") return;
  certificate_end = request.client_certificate_not_after;
  HttpResponse response;
  if (request.path == "/stream") {
    const std::shared_ptr<Stream> stream = responder->start_stream(response, nullptr);
    for (const char* line : {"one\n", "two\n", "three\n"}) stream->write(std::string(line));
    return stream->finish();
  }
  if (request.path == "/hold") {
    held = responder->start_stream(response, [this] { closed.set(); });
    return holding.set();
  }
  if (request.path == "/large") {
    response.body.assign(size_t{1} << 20, 'x');
    return responder->respond(std::move(response));
  }
  response.body =
      fmt::format("{} {} [{}] body={} client={} groups={}\n", request.method, request.path,
                  request.query, request.body.size(), request.client_certificate_common_name,
                  fmt::join(request.client_certificate_organizations, "+"));
  responder->respond(std::move(response));
}

}  // namespace fairlead::net
