// Objects in Kubernetes' protobuf encoding, driven by the type tables.
//
// A body is the four bytes "k8s\0" and an envelope message (runtime.Unknown) around the object.
// Encoding writes what Go's encoder writes, in its order: values that cannot be absent even when
// they are zero, maps sorted by key.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

struct Envelope {
  std::string_view api_version;
  std::string_view kind;
  std::string_view raw;           // the object's message
  std::string_view content_type;  // empty: protobuf
};

bool is_protobuf(std::string_view body);  // starts with the four bytes
// The views are into `body`.
Result<Envelope> open_envelope(std::string_view body);
std::string seal_envelope(std::string_view api_version, std::string_view kind,
                          std::string_view raw);

// The message as a document, which conform() has yet to make canonical. Strings must be UTF-8;
// fields that the tables do not know are skipped, as by every reader of protobuf. Nested deeper
// than `depth`, malformed, or too large: an error.
Result<Document> decode_protobuf(std::string_view message, const Type& type, size_t depth = 256);

// Precondition: `value` conforms to the type.
std::string encode_protobuf(const Value& value, const Type& type);

// One frame of a watch stream: 4 bytes of length, then WatchEvent. `object` is a sealed envelope.
std::string watch_frame(std::string_view event_type, std::string_view object);

}  // namespace fairlead::schema
