#include "control/api/decode.h"

#include <fmt/format.h>

#include <utility>

#include "control/api/decode_objects.h"
#include "control/api/json_walk.h"

namespace fairlead::api {

namespace {

using walk::Path;
using walk::Value;
using walk::Walk;

Status not_json(std::string_view operation, std::string_view object, simdjson::error_code error) {
  return Status::error(StatusCode::kInvalid, operation, object, simdjson::error_message(error));
}

std::string display_name(const ObjectMeta& meta) {
  if (meta.name.empty()) return "unnamed object";
  return meta.name_space.empty() ? meta.name : meta.name_space + "/" + meta.name;
}

// What a list item, a watched object, a bookmark and a Status may carry; which of them it is shows
// later.
struct Generic {
  RawObject raw;
  ApiStatus status;
  bool initial_events_end = false;
};

void read_generic_meta(Walk& walk, Value value, const Path& path, Generic* generic) {
  walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key == "name") {
      walk.string(field, at, &generic->raw.name);
    } else if (key == "namespace") {
      walk.string(field, at, &generic->raw.name_space);
    } else if (key == "resourceVersion") {
      walk.string(field, at, &generic->raw.resource_version);
    } else if (key == "annotations") {
      walk.object(field, at, [&](std::string_view name, Value text, const Path& name_at) {
        std::string_view flag;
        if (name == "k8s.io/initial-events-end" && walk.view(text, name_at, &flag)) {
          generic->initial_events_end = flag == "true";
        }
      });
    }
  });
}

void read_status_field(Walk& walk, std::string_view key, Value field, const Path& at,
                       ApiStatus* status) {
  constexpr int64_t kMaxCode = 999;
  constexpr int64_t kMaxRetryAfter = 1000000;
  int64_t number = 0;
  if (key == "code" && walk.integer(field, at, 0, kMaxCode, &number)) {
    status->code = static_cast<int>(number);
  } else if (key == "reason") {
    walk.string(field, at, &status->reason);
  } else if (key == "message") {
    walk.string(field, at, &status->message);
  } else if (key == "details") {
    walk.object(field, at, [&](std::string_view name, Value item, const Path& place) {
      if (name == "retryAfterSeconds" && walk.integer(item, place, 0, kMaxRetryAfter, &number)) {
        status->retry_after_seconds = static_cast<int>(number);
      }
    });
  }
}

// False when the value is not an object.
bool read_generic(Walk& walk, Value value, const Path& path, Generic* generic, bool with_status) {
  return walk.object(value, path, [&](std::string_view key, Value field, const Path& at) {
    if (key == "metadata") {
      read_generic_meta(walk, field, at, generic);
    } else if (with_status) {
      read_status_field(walk, key, field, at, &generic->status);
    }
  });
}

std::string_view trim_right(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' ||
                           text.back() == '\n')) {
    text.remove_suffix(1);
  }
  return text;
}

std::optional<WatchType> watch_type(std::string_view name) {
  if (name == "ADDED") return WatchType::kAdded;
  if (name == "MODIFIED") return WatchType::kModified;
  if (name == "DELETED") return WatchType::kDeleted;
  if (name == "BOOKMARK") return WatchType::kBookmark;
  if (name == "ERROR") return WatchType::kError;
  return std::nullopt;
}

}  // namespace

struct Decoder::Impl {
  // Two, so that an object may be decoded while the list that it came from is being walked.
  walk::Buffer object_buffer;
  walk::Buffer list_buffer;
  std::vector<Endpoint> scratch;

  template <typename T, typename Fill>
  Result<Decoded<T>> decode(std::string_view operation, std::string_view json, Fill&& fill) {
    Decoded<T> decoded;
    walk::ondemand::document document;
    if (const auto error = object_buffer.open(json, &document)) {
      return not_json(operation, "text", error);
    }
    Walk walk(&decoded.problems);
    fill(walk, document, &decoded.object);
    const ObjectMeta& meta = decoded.object.meta;
    if (walk.failed()) return not_json(operation, display_name(meta), walk.error());
    if (meta.name.empty()) {
      return Status::error(StatusCode::kInvalid, operation, "unnamed object",
                           "metadata.name is missing");
    }
    return decoded;
  }

  // From where `value` starts to where the walk now is, as a part of the caller's text.
  std::string_view slice_of(std::string_view json, const char* begin, const char* end) const {
    const auto offset = static_cast<size_t>(begin - list_buffer.data());
    return trim_right(json.substr(offset, static_cast<size_t>(end - begin)));
  }
};

Decoder::Decoder() : impl_(std::make_unique<Impl>()) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

Result<Decoded<Service>> Decoder::service(std::string_view json) {
  return impl_->decode<Service>("decode Service", json, walk_service);
}

Result<Decoded<EndpointSlice>> Decoder::endpoint_slice(std::string_view json) {
  return impl_->decode<EndpointSlice>(
      "decode EndpointSlice", json,
      [this](Walk& walk, walk::ondemand::document& document, EndpointSlice* slice) {
        walk_endpoint_slice(walk, document, slice, &impl_->scratch);
      });
}

Result<Decoded<Node>> Decoder::node(std::string_view json) {
  return impl_->decode<Node>("decode Node", json, walk_node);
}

Result<Decoded<ServiceCidr>> Decoder::service_cidr(std::string_view json) {
  return impl_->decode<ServiceCidr>("decode ServiceCIDR", json, walk_service_cidr);
}

Result<ListHeader> Decoder::list(std::string_view json,
                                 const std::function<void(const RawObject&)>& each,
                                 const std::function<void(size_t, const Status&)>& bad) {
  constexpr std::string_view kOperation = "decode list";
  walk::ondemand::document document;
  if (const auto error = impl_->list_buffer.open(json, &document)) {
    return not_json(kOperation, "text", error);
  }
  ListHeader header;
  bool has_items = false;
  Walk walk(nullptr);
  const auto read_item = [&](Value value, const Path& at) {
    const char* begin = value.raw_json_token().data();
    Generic generic;
    const bool is_object = read_generic(walk, value, at, &generic, false);
    if (walk.failed()) return;
    if (!is_object || generic.raw.name.empty()) {
      bad(at.index, Status::error(StatusCode::kInvalid, kOperation, at.to_string(),
                                  is_object ? "metadata.name is missing" : "is not an object"));
      return;
    }
    const char* end = nullptr;
    if (const auto error = document.current_location().get(end)) return walk.fail(error);
    generic.raw.json = impl_->slice_of(json, begin, end);
    each(generic.raw);
  };
  walk.root(document, [&](std::string_view key, Value field, const Path& at) {
    if (key == "metadata") {
      walk.object(field, at, [&](std::string_view name, Value item, const Path& place) {
        if (name == "resourceVersion") walk.string(item, place, &header.resource_version);
        if (name == "continue") walk.string(item, place, &header.continue_token);
      });
    } else if (key == "items") {
      has_items = walk.array(field, at, read_item);
      // Go writes an empty list as null.
      if (!has_items && !walk.failed()) has_items = field.is_null().value_unsafe();
    }
  });
  if (walk.failed()) return not_json(kOperation, "text", walk.error());
  if (!has_items) {
    return Status::error(StatusCode::kInvalid, kOperation, "text", "items is missing or no array");
  }
  if (header.continue_token.empty()) impl_->list_buffer.trim();
  return header;
}

Result<WatchLine> Decoder::watch_line(std::string_view json) {
  constexpr std::string_view kOperation = "decode watch event";
  walk::ondemand::document document;
  if (const auto error = impl_->list_buffer.open(json, &document)) {
    return not_json(kOperation, "text", error);
  }
  std::string type;
  Generic generic;
  bool has_object = false;
  Walk walk(nullptr);
  walk.root(document, [&](std::string_view key, Value field, const Path& at) {
    if (key == "type") {
      walk.string(field, at, &type);
    } else if (key == "object") {
      const char* begin = field.raw_json_token().data();
      generic = Generic();
      has_object = read_generic(walk, field, at, &generic, true);
      const char* end = nullptr;
      if (!has_object || walk.failed()) return;
      if (const auto error = document.current_location().get(end)) return walk.fail(error);
      generic.raw.json = impl_->slice_of(json, begin, end);
    }
  });
  impl_->list_buffer.trim();
  if (walk.failed()) return not_json(kOperation, "text", walk.error());
  const std::optional<WatchType> known = watch_type(type);
  if (!known) {
    return Status::error(StatusCode::kInvalid, kOperation, "type",
                         fmt::format("'{}' is no known type", type.substr(0, 40)));
  }
  if (!has_object) {
    return Status::error(StatusCode::kInvalid, kOperation, type, "object is missing");
  }
  WatchLine line;
  line.type = *known;
  line.initial_events_end = generic.initial_events_end && line.type == WatchType::kBookmark;
  if (line.type == WatchType::kError) {
    line.status = std::move(generic.status);
    return line;
  }
  if (line.type != WatchType::kBookmark && generic.raw.name.empty()) {
    return Status::error(StatusCode::kInvalid, kOperation, type, "metadata.name is missing");
  }
  line.object = std::move(generic.raw);
  return line;
}

ApiStatus Decoder::status(std::string_view json) {
  walk::ondemand::document document;
  if (impl_->object_buffer.open(json, &document)) return {};
  std::string kind;
  ApiStatus status;
  Walk walk(nullptr);
  walk.root(document, [&](std::string_view key, Value field, const Path& at) {
    if (key == "kind") walk.string(field, at, &kind);
    read_status_field(walk, key, field, at, &status);
  });
  if (walk.failed() || kind != "Status") return {};
  return status;
}

}  // namespace fairlead::api
