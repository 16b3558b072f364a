// The little of netlink that conversations of a few messages need: a socket, a message builder, a
// walk over attributes that trusts no length.
//
// Threads: one owner each.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace fairlead::netlink {

using Bytes = std::span<const uint8_t>;

struct Attribute {
  uint16_t type = 0;  // without the nested and byte-order flags
  Bytes payload;

  template <typename T>
  std::optional<T> as() const {  // nullopt when the size is another
    if (payload.size() != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, payload.data(), sizeof value);
    return value;
  }
  std::string text() const;  // up to the first NUL
};

// Calls `visit` for each attribute; false when the bytes are not a sequence of attributes (those
// before the fault have been visited).
template <typename Visit>
bool for_each_attribute(Bytes bytes, Visit visit) {
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr head;
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > bytes.size()) return false;
    visit(Attribute{static_cast<uint16_t>(head.nla_type & NLA_TYPE_MASK),
                    bytes.subspan(sizeof head, head.nla_len - sizeof head)});
    bytes = bytes.subspan(std::min<size_t>(NLA_ALIGN(head.nla_len), bytes.size()));
  }
  return bytes.empty();
}

// Reads a fixed header at the front of `bytes` and takes it off; nullopt when they are too short.
template <typename T>
std::optional<T> take_header(Bytes& bytes) {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T header;
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes = bytes.subspan(std::min<size_t>(NLMSG_ALIGN(sizeof header), bytes.size()));
  return header;
}

class MessageBuilder {
 public:
  MessageBuilder(uint16_t type, uint16_t flags);

  template <typename T>
  MessageBuilder& header(const T& value) {  // the family's fixed header
    append(&value, sizeof value);
    return *this;
  }
  template <typename T>
  MessageBuilder& attribute(uint16_t type, const T& value) {
    return attribute(type, Bytes(reinterpret_cast<const uint8_t*>(&value), sizeof value));
  }
  MessageBuilder& attribute(uint16_t type, Bytes payload);
  MessageBuilder& nested(uint16_t type, const std::function<void()>& fill);

  // The finished message; valid until the builder changes.
  Bytes finish(uint32_t sequence);

 private:
  void append(const void* data, size_t size);

  std::vector<uint8_t> bytes_;
};

// One message of a received batch.
struct Message {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  Bytes payload;
};

class Socket {
 public:
  // `groups`: the bit mask of multicast groups (RTMGRP_...); `receive_buffer`: bytes wanted for a
  // burst of their notifications.
  static Result<Socket> open(int protocol, uint32_t groups = 0, int receive_buffer = 1 << 20);

  int fd() const { return fd_.get(); }
  Status send(MessageBuilder& message);  // gives it the next sequence number

  // Calls `visit` for each message of the next datagram. kUnavailable with EAGAIN when nothing is
  // there and `block` is false, kExhausted (ENOBUFS) when messages were dropped or cut off.
  Status receive(bool block, const std::function<void(const Message&)>& visit);

  // Sends a dump request and calls `visit` for each answer until it returns false (the rest stays
  // unread: drop the socket then) or the dump ends. What the kernel changes meanwhile may be missed
  // or met twice.
  Status dump(MessageBuilder& request, const std::function<bool(const Message&)>& visit);

  // A dump from end to end. kUnavailable with EAGAIN when what it listed changed meanwhile.
  Status list(MessageBuilder& request, const std::function<void(const Message&)>& visit);

  // Sends a request that is no dump and visits its one answer.
  Status ask(MessageBuilder& request, const std::function<void(const Message&)>& visit);

  // Sends `requests` in one system call and visits the place and the errno of each that is refused.
  // The last one must have NLM_F_ACK, without which silence means that the kernel took a request.
  Status transact(std::span<MessageBuilder> requests,
                  const std::function<void(size_t place, int error)>& refused);

  // Sends a request with NLM_F_ACK and waits for the kernel's word. `operation` names it in errors.
  Status acknowledged(MessageBuilder& request, std::string_view operation);

 private:
  explicit Socket(Fd fd) : fd_(std::move(fd)), buffer_(64 << 10) {}
  Status exchange(MessageBuilder& request, const std::function<bool(const Message&)>& visit,
                  bool& interrupted);

  Fd fd_;
  uint32_t sequence_ = 0;
  std::vector<uint8_t> buffer_;
};

// The errno of an NLMSG_ERROR payload (0: an acknowledgement); nullopt when it is too short.
std::optional<int> error_of(const Message& message);

}  // namespace fairlead::netlink
