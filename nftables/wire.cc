#include "nftables/wire.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>

namespace fairlead::nftables {
namespace {

constexpr size_t kAlign = 4;

template <typename T>
void append(Bytes& bytes, const T& value) {
  const auto* raw = reinterpret_cast<const uint8_t*>(&value);
  bytes.insert(bytes.end(), raw, raw + sizeof value);
}

void pad(Bytes& bytes) {
  while (bytes.size() % kAlign != 0) bytes.push_back(0);
}

}  // namespace

void MessageWriter::header(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource) {
  message_ = bytes_.size();
  append(bytes_, nlmsghdr{0, type, static_cast<uint16_t>(NLM_F_REQUEST | flags), sequence_++, 0});
  append(bytes_, nfgenmsg{family, NFNETLINK_V0, htons(resource)});
}

void MessageWriter::control(uint16_t type) {
  header(type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  end();
}

void MessageWriter::batch_begin() {
  control(NFNL_MSG_BATCH_BEGIN);
}

void MessageWriter::batch_end() {
  uint16_t flags = 0;
  uint8_t* const field = bytes_.data() + last_request_ + offsetof(nlmsghdr, nlmsg_flags);
  std::memcpy(&flags, field, sizeof flags);
  flags |= NLM_F_ACK;
  std::memcpy(field, &flags, sizeof flags);
  control(NFNL_MSG_BATCH_END);
}

void MessageWriter::begin(uint16_t message, uint16_t flags, uint8_t family) {
  header(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message), flags, family, 0);
  last_request_ = message_;
}

void MessageWriter::end() {
  const auto length = static_cast<uint32_t>(bytes_.size() - message_);
  std::memcpy(bytes_.data() + message_, &length, sizeof length);
}

void MessageWriter::attribute(uint16_t type, ByteView value) {
  append(bytes_, nlattr{static_cast<uint16_t>(sizeof(nlattr) + value.size()), type});
  bytes_.insert(bytes_.end(), value.begin(), value.end());
  pad(bytes_);
}

void MessageWriter::string(uint16_t type, std::string_view value) {
  append(bytes_, nlattr{static_cast<uint16_t>(sizeof(nlattr) + value.size() + 1), type});
  bytes_.insert(bytes_.end(), value.begin(), value.end());
  bytes_.push_back(0);
  pad(bytes_);
}

void MessageWriter::u32(uint16_t type, uint32_t value) {
  const uint32_t big = htonl(value);
  attribute(type, {reinterpret_cast<const uint8_t*>(&big), sizeof big});
}

void MessageWriter::u64(uint16_t type, uint64_t value) {
  const uint64_t big = htobe64(value);
  attribute(type, {reinterpret_cast<const uint8_t*>(&big), sizeof big});
}

void MessageWriter::nest(uint16_t type) {
  nests_.push_back(bytes_.size());
  append(bytes_, nlattr{0, static_cast<uint16_t>(type | NLA_F_NESTED)});
}

void MessageWriter::unnest() {
  const auto length = static_cast<uint16_t>(nest_size());
  std::memcpy(bytes_.data() + nests_.back(), &length, sizeof length);
  nests_.pop_back();
}

void MessageWriter::data_value(uint16_t type, ByteView value) {
  nest(type);
  attribute(NFTA_DATA_VALUE, value);
  unnest();
}

void MessageWriter::data_verdict(uint16_t type, int32_t code, std::string_view chain) {
  nest(type);
  nest(NFTA_DATA_VERDICT);
  u32(NFTA_VERDICT_CODE, static_cast<uint32_t>(code));
  if (!chain.empty()) string(NFTA_VERDICT_CHAIN, chain);
  unnest();
  unnest();
}

void for_each_attribute(ByteView attributes,
                        const std::function<void(uint16_t type, ByteView value)>& each) {
  while (attributes.size() >= sizeof(nlattr)) {
    nlattr head;
    std::memcpy(&head, attributes.data(), sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > attributes.size()) return;
    each(head.nla_type & NLA_TYPE_MASK,
         attributes.subspan(sizeof head, head.nla_len - sizeof head));
    const size_t step = (head.nla_len + kAlign - 1) / kAlign * kAlign;
    if (step >= attributes.size()) return;
    attributes = attributes.subspan(step);
  }
}

ByteView find_attribute(ByteView attributes, uint16_t type) {
  ByteView found;
  for_each_attribute(attributes, [&](uint16_t candidate, ByteView value) {
    if (candidate == type && found.data() == nullptr) found = value;
  });
  return found;
}

uint32_t read_u32(ByteView value) {
  uint32_t big = 0;
  if (value.size() >= sizeof big) std::memcpy(&big, value.data(), sizeof big);
  return ntohl(big);
}

std::string_view read_string(ByteView value) {
  const auto* text = reinterpret_cast<const char*>(value.data());
  return text == nullptr ? std::string_view() : std::string_view(text, strnlen(text, value.size()));
}

}  // namespace fairlead::nftables
