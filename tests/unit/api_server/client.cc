#include "client.h"

#include <curl/curl.h>

#include <memory>

namespace fairlead::api_server {
namespace {

constexpr std::chrono::seconds kPatience{10};

using Handle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

size_t collect(char* bytes, size_t, size_t size, void* target) {
  static_cast<std::string*>(target)->append(bytes, size);
  return size;
}

Handle open(const std::string& url) {
  Handle handle(curl_easy_init(), &curl_easy_cleanup);
  curl_easy_setopt(handle.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle.get(), CURLOPT_NOPROXY, "*");
  curl_easy_setopt(handle.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle.get(), CURLOPT_TIMEOUT, 30L);
  return handle;
}

void set_blob(CURL* curl, CURLoption option, const std::string& pem) {
  if (pem.empty()) return;
  curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_COPY};
  curl_easy_setopt(curl, option, &blob);
}

}  // namespace

Answer ask(const Ask& ask) {
  Answer answer;
  const Handle handle = open(ask.url);
  CURL* curl = handle.get();
  curl_slist* list = nullptr;
  for (const std::string& header : ask.headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owner(list,
                                                                          &curl_slist_free_all);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, collect);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer.head);
  if (!ask.body.empty()) {
    curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, ask.body.c_str());
  }
  if (!ask.method.empty()) curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask.method.c_str());
  set_blob(curl, CURLOPT_CAINFO_BLOB, ask.ca_pem);
  set_blob(curl, CURLOPT_SSLCERT_BLOB, ask.certificate_pem);
  set_blob(curl, CURLOPT_SSLKEY_BLOB, ask.key_pem);
  answer.result = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

Watcher::Watcher(std::string url) : url_(std::move(url)), thread_([this] { run(); }) {}

Watcher::~Watcher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  thread_.join();
}

size_t Watcher::on_data(char* bytes, size_t, size_t size, void* self) {
  auto* watcher = static_cast<Watcher*>(self);
  const std::lock_guard lock(watcher->mutex_);
  watcher->received_.append(bytes, size);
  watcher->changed_.notify_all();
  return size;
}

// A multi handle, because its poll can be short: libcurl's easy interface looks at its progress
// call-back only once a second, and every test would end by waiting for that.
void Watcher::run() {
  const Handle handle = open(url_);
  CURL* curl = handle.get();
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Watcher::on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi(curl_multi_init(),
                                                                    &curl_multi_cleanup);
  curl_multi_add_handle(multi.get(), curl);
  int running = 1;
  while (running > 0) {
    curl_multi_perform(multi.get(), &running);
    if (running > 0) curl_multi_poll(multi.get(), nullptr, 0, 10, nullptr);
    const std::lock_guard lock(mutex_);
    if (stopping_) break;
  }
  int left = 0;
  if (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
    result_ = message->data.result;
  }
  curl_multi_remove_handle(multi.get(), curl);
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

std::string Watcher::line() {
  std::unique_lock lock(mutex_);
  size_t end = std::string::npos;
  changed_.wait_for(lock, kPatience, [&] {
    end = received_.find('\n');
    return end != std::string::npos || ended_;
  });
  if (end == std::string::npos) return {};
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

bool Watcher::ended() {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [this] { return ended_; });
}

std::string Watcher::rest() {
  const std::lock_guard lock(mutex_);
  return received_;
}

}  // namespace fairlead::api_server
