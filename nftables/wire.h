// Writing and reading nf_tables netlink messages: headers, attributes, nests, element lists.
//
// The kernel's side of this format is include/uapi/linux/netfilter/nf_tables.h. All integers in
// attributes are big-endian; register contents (keys, data) are bytes whose fields are padded to
// four each.
//
// Threads: values, one owner.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::nftables {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

// Appends messages to a buffer. A batch is: batch_begin, any number of messages, batch_end.
class MessageWriter {
 public:
  void batch_begin();
  // Asks for an acknowledgement of the last message, so that the outcome of the whole is always
  // known.
  void batch_end();

  // One nf_tables message: NFT_MSG_* with NLM_F_* flags, for the family's (NFPROTO_*) tables.
  void begin(uint16_t message, uint16_t flags, uint8_t family);
  void end();

  void attribute(uint16_t type, ByteView value);
  void string(uint16_t type, std::string_view value);
  void u32(uint16_t type, uint32_t value);
  void u64(uint16_t type, uint64_t value);
  void nest(uint16_t type);
  void unnest();
  // Bytes in the innermost open nest, its header included. A nest holds at most 65,535.
  size_t nest_size() const { return bytes_.size() - nests_.back(); }

  // NFTA_DATA_VALUE inside `type`; NFTA_DATA_VERDICT inside `type`.
  void data_value(uint16_t type, ByteView value);
  void data_verdict(uint16_t type, int32_t code, std::string_view chain);

  ByteView bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }
  size_t size() const { return bytes_.size(); }

 private:
  void control(uint16_t type);
  void header(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource);

  Bytes bytes_;
  std::vector<size_t> nests_;
  size_t message_ = 0;       // offset of the open or last message
  size_t last_request_ = 0;  // offset of the last message that is not a batch control message
  uint32_t sequence_ = 1;
};

// Walks the attributes of a message body or nest; malformed tails end the walk.
void for_each_attribute(ByteView attributes,
                        const std::function<void(uint16_t type, ByteView value)>& each);
// The first attribute of `type`, or an empty view.
ByteView find_attribute(ByteView attributes, uint16_t type);
// An attribute's value; 0 or empty when it is too short or absent.
uint32_t read_u32(ByteView value);
std::string_view read_string(ByteView value);

}  // namespace fairlead::nftables
