// The wire format of protobuf: reading forwards, writing backwards so that no length has to be
// known before what it measures has been written.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace fairlead::schema {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t integer = 0;    // varints and fixed ones
  std::string_view bytes;  // kBytes
};

class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}

  bool done() const { return rest_.empty(); }
  // False when the message is malformed; groups are.
  bool next(WireField* field);
  bool varint(uint64_t* value);

 private:
  std::string_view rest_;
};

class WireWriter {
 public:
  size_t size() const { return buffer_.size() - start_; }

  // The value goes in front of what has been written; its tag in front of that.
  void varint(uint64_t value);
  void fixed64(uint64_t value);
  void bytes(std::string_view text);
  void tag(uint32_t number, WireType type) {
    varint(uint64_t{number} << 3 | static_cast<uint64_t>(type));
  }

  void integer_field(uint32_t number, uint64_t value) {
    varint(value);
    tag(number, WireType::kVarint);
  }
  void bytes_field(uint32_t number, std::string_view text) {
    bytes(text);
    varint(text.size());
    tag(number, WireType::kBytes);
  }
  // Closes a message of which everything since size() was `before` is the content.
  void close(uint32_t number, size_t before) {
    varint(size() - before);
    tag(number, WireType::kBytes);
  }

  std::string take();

 private:
  char* make_room(size_t bytes);

  std::string buffer_;  // used from start_ to its end
  size_t start_ = 0;
};

}  // namespace fairlead::schema
