// What stands on disk, byte by byte (docs/store.md).
//
//   key "r" + revision, 8 bytes big-endian:  one change, in the order in which they happened
//     value: format (1), kind (0 put, 1 removal), then as LEB128 varints create revision, version,
//     lease and the length of the key; the key; the rest is the value. A removal has no value.
//   key "l" + lease, 8 bytes big-endian:     format (1), varint time to live in seconds
//   key "m:compacted":                       format (1), varint: the newest forgotten revision
//
// Checksums are RocksDB's. A decoder takes any bytes and says kInvalid to those that it cannot have
// written.
//
// Threads: free functions without shared state.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/store/store.h"

namespace fairlead::store {

inline constexpr std::string_view kCompactedKey = "m:compacted";

std::string record_key(Revision revision);
std::string lease_key(LeaseId id);
// The number in one of the two; kInvalid for other keys.
Result<int64_t> number_in_key(std::string_view key, char kind);

// All of a record but the value, which is written behind it without being copied.
std::string encode_record_head(const Event& event);
// `revision` is the one in the record's key.
Result<Event> decode_record(Revision revision, std::string_view bytes);

std::string encode_number(int64_t number);
Result<int64_t> decode_number(std::string_view bytes);

}  // namespace fairlead::store
