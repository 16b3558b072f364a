#include "control/store/embedded/record.h"

#include <fmt/core.h>

#include <optional>

namespace fairlead::store {
namespace {

constexpr char kFormat = 1;

void append_varint(std::string& out, int64_t number) {
  auto rest = static_cast<uint64_t>(number);
  while (rest >= 0x80) {
    out.push_back(static_cast<char>(rest | 0x80));
    rest >>= 7;
  }
  out.push_back(static_cast<char>(rest));
}

// Takes it off the front; empty when there is none, or none that fits into a positive int64_t.
std::optional<int64_t> take_varint(std::string_view& bytes) {
  uint64_t number = 0;
  for (int shift = 0; shift < 63; shift += 7) {
    if (bytes.empty()) return std::nullopt;
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    number |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return static_cast<int64_t>(number);
  }
  return std::nullopt;
}

std::string numbered_key(char kind, int64_t number) {
  std::string key(1, kind);
  for (int shift = 56; shift >= 0; shift -= 8) {
    key.push_back(static_cast<char>(static_cast<uint64_t>(number) >> shift));
  }
  return key;
}

Status damaged(std::string_view what, std::string_view detail) {
  return Status::error(StatusCode::kInvalid, "decode", what, detail);
}

}  // namespace

std::string record_key(Revision revision) {
  return numbered_key('r', revision);
}
std::string lease_key(LeaseId id) {
  return numbered_key('l', id);
}

Result<int64_t> number_in_key(std::string_view key, char kind) {
  if (key.size() != 9 || key.front() != kind) return damaged("store key", "is of an unknown kind");
  uint64_t number = 0;
  for (const char byte : key.substr(1)) number = number << 8 | static_cast<unsigned char>(byte);
  if (number == 0 || number >> 63 != 0) return damaged("store key", "has a number out of range");
  return static_cast<int64_t>(number);
}

std::string encode_record_head(const Event& event) {
  std::string head;
  head.reserve(32 + event.entry->key.size());
  head.push_back(kFormat);
  head.push_back(event.type == Event::Type::kPut ? 0 : 1);
  append_varint(head, event.entry->create_revision);
  append_varint(head, event.entry->version);
  append_varint(head, event.entry->lease);
  append_varint(head, static_cast<int64_t>(event.entry->key.size()));
  head += event.entry->key;
  return head;
}

Result<Event> decode_record(Revision revision, std::string_view bytes) {
  const std::string name = fmt::format("record of revision {}", revision);
  if (bytes.size() < 2 || bytes[0] != kFormat) return damaged(name, "has an unknown format");
  if (bytes[1] != 0 && bytes[1] != 1) return damaged(name, "has an unknown kind");
  const bool is_put = bytes[1] == 0;
  bytes.remove_prefix(2);

  auto entry = std::make_shared<Entry>();
  for (int64_t* field : {&entry->create_revision, &entry->version, &entry->lease}) {
    const std::optional<int64_t> number = take_varint(bytes);
    if (!number) return damaged(name, "has a torn head");
    *field = *number;
  }
  const std::optional<int64_t> key_size = take_varint(bytes);
  if (!key_size || *key_size == 0 || static_cast<uint64_t>(*key_size) > kMaxKeyBytes ||
      static_cast<uint64_t>(*key_size) > bytes.size()) {
    return damaged(name, "has a torn key");
  }
  entry->key = bytes.substr(0, static_cast<size_t>(*key_size));
  entry->value = bytes.substr(static_cast<size_t>(*key_size));
  entry->mod_revision = revision;
  if (is_put) {
    const bool possible = entry->create_revision >= 1 && entry->create_revision <= revision &&
                          entry->version >= 1 &&
                          (entry->version == 1) == (entry->create_revision == revision);
    if (!possible) return damaged(name, "has revisions that cannot be");
  } else if (entry->create_revision != 0 || entry->version != 0 || entry->lease != 0 ||
             !entry->value.empty()) {
    return damaged(name, "is a removal with content");
  }
  return Event{is_put ? Event::Type::kPut : Event::Type::kDelete, std::move(entry), nullptr};
}

std::string encode_number(int64_t number) {
  std::string bytes(1, kFormat);
  append_varint(bytes, number);
  return bytes;
}

Result<int64_t> decode_number(std::string_view bytes) {
  if (bytes.empty() || bytes[0] != kFormat) return damaged("number", "has an unknown format");
  bytes.remove_prefix(1);
  const std::optional<int64_t> number = take_varint(bytes);
  if (!number || !bytes.empty()) return damaged("number", "is torn");
  return *number;
}

}  // namespace fairlead::store
