#include "tests/server/many_watches.h"

#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "tests/server/http_client.h"

namespace fairlead::server_test {
namespace {

struct SessionEnd {
  void operator()(nghttp2_session* session) const { ::nghttp2_session_del(session); }
};

nghttp2_nv field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

struct ManyWatches::Link {
  Link(ManyWatches& all, uint16_t port) : owner(all), client(port) {}

  ManyWatches& owner;
  HttpClient client;
  std::unique_ptr<nghttp2_session, SessionEnd> session;
};

ManyWatches::ManyWatches(uint16_t port, int connections, int streams_each, std::string path)
    : path_(std::move(path)) {
  nghttp2_session_callbacks* callbacks = nullptr;
  ::nghttp2_session_callbacks_new(&callbacks);
  ::nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size,
                    const uint8_t* value, size_t value_size, uint8_t, void* user) {
        const std::string_view key(reinterpret_cast<const char*>(name), name_size);
        const std::string_view text(reinterpret_cast<const char*>(value), value_size);
        ManyWatches& all = static_cast<Link*>(user)->owner;
        if (key == ":status") ++(text == "200" ? all.begun_ : all.refused_);
        return 0;
      });
  ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks,
      [](nghttp2_session*, uint8_t, int32_t, const uint8_t* bytes, size_t size, void* user) {
        static_cast<Link*>(user)->owner.lines_ += std::count(bytes, bytes + size, '\n');
        return 0;
      });
  ::nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, int32_t, uint32_t, void* user) {
        ++static_cast<Link*>(user)->owner.ended_;
        return 0;
      });
  for (int i = 0; i < connections; ++i) {
    links_.push_back(std::make_unique<Link>(*this, port));
    nghttp2_session* session = nullptr;
    ::nghttp2_session_client_new(&session, callbacks, links_.back().get());
    links_.back()->session.reset(session);
    ::nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, nullptr, 0);
    for (int k = 0; k < streams_each; ++k) {
      const std::array<nghttp2_nv, 4> head = {field(":method", "GET"), field(":scheme", "http"),
                                              field(":authority", "localhost"),
                                              field(":path", path_)};
      ::nghttp2_submit_request(session, nullptr, head.data(), head.size(), nullptr, nullptr);
    }
  }
  ::nghttp2_session_callbacks_del(callbacks);
}

ManyWatches::~ManyWatches() = default;

bool ManyWatches::send_on(Link& link) {
  const uint8_t* bytes = nullptr;
  ssize_t size = 0;
  while ((size = ::nghttp2_session_mem_send(link.session.get(), &bytes)) > 0) {
    if (!link.client.send_bytes(
            {reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)})) {
      return false;
    }
  }
  return size == 0;
}

bool ManyWatches::read_from(Link& link) {
  const auto bytes = link.client.read_some(std::chrono::milliseconds(0));
  return bytes && ::nghttp2_session_mem_recv(link.session.get(),
                                             reinterpret_cast<const uint8_t*>(bytes->data()),
                                             bytes->size()) >= 0;
}

bool ManyWatches::work_until(const std::function<bool()>& enough,
                             std::chrono::milliseconds at_most) {
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  std::vector<pollfd> waits(links_.size());
  while (!enough()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    for (size_t i = 0; i < links_.size(); ++i) {
      if (!send_on(*links_[i])) return false;
      waits[i] = {links_[i]->client.fd(), POLLIN, 0};
    }
    if (::poll(waits.data(), waits.size(), 100) < 0) return false;
    for (size_t i = 0; i < links_.size(); ++i) {
      if (waits[i].revents != 0 && !read_from(*links_[i])) return false;
    }
  }
  return true;
}

}  // namespace fairlead::server_test
