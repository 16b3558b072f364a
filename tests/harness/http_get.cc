#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>

#include "tests/harness/probe.h"
#include "tests/harness/socket_address.h"

namespace fairlead::harness {
namespace {

size_t append(char* bytes, size_t size, size_t count, void* to) {
  static_cast<std::string*>(to)->append(bytes, size * count);
  return size * count;
}

curl_socket_t open_in_namespace(void* from, curlsocktype, curl_sockaddr* address) {
  return static_cast<Namespace*>(from)->run(
      [address] { return ::socket(address->family, address->socktype | SOCK_CLOEXEC, 0); });
}

struct EasyDelete {
  void operator()(CURL* handle) const { ::curl_easy_cleanup(handle); }
};

}  // namespace

Result<HttpAnswer> http_get(Namespace& from, std::string_view address, uint16_t port,
                            std::string_view path, std::chrono::milliseconds timeout) {
  [[maybe_unused]] static const CURLcode initialised = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::string url = "http://" + host_and_port(address, port) + std::string(path);
  const std::unique_ptr<CURL, EasyDelete> handle(::curl_easy_init());
  HttpAnswer answer;
  CURL* curl = handle.get();
  ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PROXY, "");
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  ::curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, &open_in_namespace);
  ::curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &from);
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &append);
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
  ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &append);
  ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer.headers);
  if (const CURLcode code = ::curl_easy_perform(curl); code != CURLE_OK) {
    return Status::error(StatusCode::kUnavailable, "get", url, ::curl_easy_strerror(code));
  }
  long status = 0;
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  std::transform(answer.headers.begin(), answer.headers.end(), answer.headers.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return answer;
}

}  // namespace fairlead::harness
