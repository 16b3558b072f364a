#include "control/schema/wire.h"

#include <algorithm>
#include <array>

namespace fairlead::schema {

bool WireReader::varint(uint64_t* value) {
  *value = 0;
  for (size_t i = 0; i < rest_.size() && i < 10; ++i) {
    const auto byte = static_cast<unsigned char>(rest_[i]);
    *value |= uint64_t{byte & 0x7Fu} << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool WireReader::next(WireField* field) {
  uint64_t tag = 0;
  if (!varint(&tag) || tag >> 3 == 0 || tag >> 32 != 0) return false;
  field->number = static_cast<uint32_t>(tag >> 3);
  field->type = static_cast<WireType>(tag & 7);
  field->integer = 0;
  field->bytes = {};
  size_t length = 0;
  switch (field->type) {
    case WireType::kVarint:
      return varint(&field->integer);
    case WireType::kFixed64:
      length = 8;
      break;
    case WireType::kFixed32:
      length = 4;
      break;
    case WireType::kBytes: {
      uint64_t size = 0;
      if (!varint(&size) || size > rest_.size()) return false;
      field->bytes = rest_.substr(0, size);
      rest_.remove_prefix(size);
      return true;
    }
    default:
      return false;
  }
  if (rest_.size() < length) return false;
  // Little-endian, like every machine that this runs on.
  std::memcpy(&field->integer, rest_.data(), length);
  rest_.remove_prefix(length);
  return true;
}

char* WireWriter::make_room(size_t bytes) {
  if (start_ < bytes) {
    std::string larger(std::max<size_t>(256, (buffer_.size() + bytes) * 2), '\0');
    const size_t used = size();
    const size_t start = larger.size() - used;
    if (used > 0) std::memcpy(larger.data() + start, buffer_.data() + start_, used);
    buffer_ = std::move(larger);
    start_ = start;
  }
  start_ -= bytes;
  return buffer_.data() + start_;
}

void WireWriter::varint(uint64_t value) {
  std::array<char, 10> digits;
  size_t count = 0;
  do {
    const auto low = static_cast<unsigned char>(value & 0x7F);
    value >>= 7;
    digits[count++] = static_cast<char>(value ? low | 0x80 : low);
  } while (value != 0);
  std::memcpy(make_room(count), digits.data(), count);
}

void WireWriter::fixed64(uint64_t value) {
  std::memcpy(make_room(sizeof value), &value, sizeof value);
}

void WireWriter::bytes(std::string_view text) {
  if (!text.empty()) std::memcpy(make_room(text.size()), text.data(), text.size());
}

std::string WireWriter::take() {
  std::string taken = buffer_.substr(start_);
  buffer_.clear();
  start_ = 0;
  return taken;
}

}  // namespace fairlead::schema
