// The little of rtnetlink that the loader needs: one socket, requests of a fixed header with at
// most one attribute, and a walk over answers that trusts no length.
//
// Threads: one owner each. A socket looks at the network namespace of the thread that opened it.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace fairlead::bpf::route {

using Bytes = std::span<const uint8_t>;

struct Message {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  Bytes payload;
};

// A value at the front of `bytes`, which are then shortened by it; nullopt when they are too few.
template <typename T>
std::optional<T> take(Bytes& bytes) {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(std::min<size_t>(NLMSG_ALIGN(sizeof value), bytes.size()));
  return value;
}
template <typename T>
std::optional<T> value_of(Bytes bytes) {  // nullopt when the size is another
  return bytes.size() == sizeof(T) ? take<T>(bytes) : std::nullopt;
}
std::string text_of(Bytes bytes);  // up to the first NUL

// Calls `visit(type, payload)` for each whole attribute.
void for_each_attribute(Bytes bytes, const std::function<void(uint16_t, Bytes)>& visit);

class Socket {
 public:
  // `groups`: a bit mask of RTMGRP_... to listen to; `receive_buffer`: bytes wanted for a burst.
  static Result<Socket> open(uint32_t groups = 0, int receive_buffer = 1 << 20);

  int fd() const { return fd_.get(); }

  // Visits what waits, without blocking. kUnavailable (EAGAIN) when there is nothing, kExhausted
  // (ENOBUFS) when the kernel had to drop some.
  Status receive(const std::function<void(const Message&)>& visit);

  // Sends one request and visits its answers: all of a dump's (NLM_F_DUMP), else the one there is.
  // kUnavailable (EAGAIN) when what was listed changed meanwhile.
  template <typename Header>
  Status request(uint16_t type, uint16_t flags, const Header& header,
                 const std::function<void(const Message&)>& visit, uint16_t attribute = 0,
                 Bytes value = {}) {
    Bytes head(reinterpret_cast<const uint8_t*>(&header), sizeof header);
    return exchange(type, flags, head, attribute, value, visit);
  }

 private:
  explicit Socket(Fd fd) : fd_(std::move(fd)), buffer_(64 << 10) {}
  Status exchange(uint16_t type, uint16_t flags, Bytes header, uint16_t attribute, Bytes value,
                  const std::function<void(const Message&)>& visit);
  Status read(int flags, const std::function<void(const Message&)>& visit);

  Fd fd_;
  uint32_t sequence_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace fairlead::bpf::route
