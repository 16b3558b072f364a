#include "control/apiserver/encoder.h"

#include <fmt/core.h>

#include <functional>
#include <utility>
#include <vector>

#include "control/apiserver/yaml_writer.h"
#include "control/schema/conform.h"
#include "control/schema/json_text.h"
#include "control/schema/protobuf.h"
#include "control/schema/wire.h"

namespace fairlead::apiserver {
namespace {

using schema::Value;

std::string as_json(const Object& object) {
  std::string text;
  object.append_json(&text);
  return text;
}

// Field 2, the items, of every list; field 1 is its metadata.
std::string list_protobuf(const schema::Resource& resource, const ListAnswer& list,
                          const Value& metadata) {
  const schema::Type* meta = schema::find_type("meta.v1.ListMeta");
  schema::WireWriter writer;
  for (size_t i = list.objects.size(); i-- > 0;) {
    const Object& object = *list.objects[i];
    if (object.type() == nullptr) continue;
    writer.bytes_field(2, schema::encode_protobuf(object.value(), *object.type()));
  }
  writer.bytes_field(1, schema::encode_protobuf(metadata, *meta));
  return schema::seal_envelope(resource.api_version(), resource.list_kind(), writer.take());
}

Value list_metadata(const ListAnswer& list, schema::Arena& arena) {
  Value metadata = Value::object();
  if (!list.continuation.empty()) {
    metadata.set(arena, "continue", Value::string(arena.copy(list.continuation)));
  }
  if (list.remaining) metadata.set(arena, "remainingItemCount", Value::integer(*list.remaining));
  metadata.set(arena, "resourceVersion", Value::string(arena.copy(std::to_string(list.revision))));
  return metadata;
}

std::string meta_version(const Form& form) {
  return "meta.k8s.io/" + form.meta_version;
}

schema::TableRequest table_request(const Rendering& rendering, const std::string& version) {
  schema::TableRequest request;
  request.api_version = version;
  request.include = rendering.include;
  request.now = rendering.now;
  return request;
}

std::string object_table(const Object& object, const Rendering& rendering, bool with_columns) {
  const Value* const objects[] = {&object.value()};
  schema::Arena arena;
  Value metadata = Value::object();
  const Value& version = object.value().at("metadata.resourceVersion");
  if (!version.is_null()) metadata.set(arena, "resourceVersion", version);
  const std::string meta = meta_version(rendering.form);
  schema::TableRequest request = table_request(rendering, meta);
  request.with_columns = with_columns;
  return schema::table_json(*object.resource(), objects, metadata, request);
}

std::string object_json(const Object& object, const Rendering& rendering, bool first) {
  if (object.resource() != nullptr) {
    if (rendering.form.shape == Shape::kTable) return object_table(object, rendering, first);
    if (rendering.form.shape != Shape::kObject) {
      return schema::partial_metadata_json(object.value(), meta_version(rendering.form));
    }
  }
  return as_json(object);
}

std::string object_protobuf(const Object& object) {
  return schema::seal_envelope(object.value().get("apiVersion").as_string(),
                               object.value().get("kind").as_string(),
                               schema::encode_protobuf(object.value(), *object.type()));
}

std::string error_protobuf(const ApiError& error) {
  const schema::Type* type = schema::find_type("meta.v1.Status");
  auto document = schema::parse_json(error.to_json());
  if (!document || type == nullptr) return "";
  const Status conforms =
      schema::conform(document.value(), *type->shape, schema::Conform::kObject, nullptr);
  if (!conforms) return "";
  return schema::seal_envelope("v1", "Status", schema::encode_protobuf(document->root, *type));
}

// What a long list's text is made in: large enough to cost few system calls, small enough for the
// allocator to have it at hand, where larger ones would be mapped and touched anew each time.
constexpr size_t kPiece = size_t{96} << 10;
constexpr size_t kPieceRoom = kPiece + (size_t{8} << 10);  // the last object of a piece

size_t json_size(const ListAnswer& list) {
  size_t size = 256;  // of the list itself
  for (const ObjectPtr& object : list.objects) size += object->json_size() + 1;
  return size;
}

// Gives away `text` whenever it has grown to a piece; the rest is returned. Null: all is returned.
std::string list_json(const schema::Resource& resource, const ListAnswer& list,
                      const Rendering& rendering, const Value& metadata,
                      const std::function<bool(std::string)>& take) {
  const bool partial = rendering.form.shape != Shape::kObject;
  std::string text =
      fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":)",
                  partial ? std::string("PartialObjectMetadataList") : resource.list_kind(),
                  partial ? meta_version(rendering.form) : resource.api_version());
  schema::append_json(metadata, &text);
  text += ",\"items\":[";
  if (!partial) text.reserve(text.size() + (take ? kPieceRoom : json_size(list)));
  for (const ObjectPtr& object : list.objects) {
    if (take && text.size() >= kPiece) {
      if (!take(std::exchange(text, {}))) return {};
      text.reserve(kPieceRoom);
    }
    if (&object != &list.objects.front()) text += ',';
    if (partial) {
      text += schema::partial_metadata_json(object->value(), meta_version(rendering.form));
    } else {
      object->append_json(&text);
    }
  }
  return text += "]}\n";
}

}  // namespace

bool has_protobuf(const Object& object) {
  return object.type() != nullptr;
}

std::string encode_object(const Object& object, const Rendering& rendering) {
  if (rendering.form.encoding == Encoding::kProtobuf && has_protobuf(object)) {
    return object_protobuf(object);
  }
  if (rendering.form.encoding == Encoding::kYaml) return to_yaml(object.value());
  return object_json(object, rendering, true) + "\n";
}

std::string encode_list(const schema::Resource& resource, const ListAnswer& list,
                        const Rendering& rendering) {
  schema::Arena arena;
  const Value metadata = list_metadata(list, arena);
  if (rendering.form.encoding == Encoding::kProtobuf) {
    return list_protobuf(resource, list, metadata);
  }
  if (rendering.form.shape == Shape::kTable) {
    std::vector<const Value*> objects;
    objects.reserve(list.objects.size());
    for (const ObjectPtr& object : list.objects) objects.push_back(&object->value());
    const std::string meta = meta_version(rendering.form);
    return schema::table_json(resource, objects, metadata, table_request(rendering, meta)) + "\n";
  }
  std::string text = list_json(resource, list, rendering, metadata, nullptr);
  if (rendering.form.encoding != Encoding::kYaml) return text;
  auto document = schema::parse_json(text, {.bytes = text.size(), .depth = 300});
  return document ? to_yaml(document->root) : text;
}

bool comes_in_pieces(const ListAnswer& list, const Rendering& rendering) {
  constexpr size_t kLeast = size_t{1} << 20;
  constexpr size_t kMost = size_t{64} << 20;  // the transport bounds what a stream may have waiting
  if (rendering.form.encoding != Encoding::kJson || rendering.form.shape != Shape::kObject) {
    return false;
  }
  const size_t size = json_size(list);
  return size > kLeast && size < kMost;
}

void encode_list_in_pieces(const schema::Resource& resource, const ListAnswer& list,
                           const Rendering& rendering,
                           const std::function<bool(std::string piece)>& take) {
  schema::Arena arena;
  take(list_json(resource, list, rendering, list_metadata(list, arena), take));
}

net::HttpResponse error_response(const ApiError& error, Encoding encoding) {
  net::HttpResponse response;
  response.status = error.code;
  response.content_type = Form{encoding, Shape::kObject, ""}.content_type(false);
  response.body = encoding == Encoding::kProtobuf ? error_protobuf(error) : error.to_json() + "\n";
  if (error.retry_after_seconds > 0) {
    response.headers.emplace_back("retry-after", std::to_string(error.retry_after_seconds));
  }
  return response;
}

std::string encode_event(std::string_view type, const Object& object, const Rendering& rendering,
                         bool first) {
  if (rendering.form.encoding == Encoding::kProtobuf && has_protobuf(object)) {
    return schema::watch_frame(type, object_protobuf(object));
  }
  return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type,
                     object_json(object, rendering, first));
}

std::string encode_error_event(const ApiError& error, Encoding encoding) {
  if (encoding == Encoding::kProtobuf) return schema::watch_frame("ERROR", error_protobuf(error));
  return fmt::format("{{\"type\":\"ERROR\",\"object\":{}}}\n", error.to_json());
}

ObjectPtr make_bookmark(const schema::Resource& resource, store::Revision revision,
                        bool initial_events_end) {
  schema::Document document;
  schema::Arena& arena = document.arena;
  document.root = Value::object();
  document.root.set(arena, "kind", Value::string(resource.kind));
  document.root.set(arena, "apiVersion", Value::string(arena.copy(resource.api_version())));
  Value metadata = Value::object();
  metadata.set(arena, "resourceVersion", Value::string(arena.copy(std::to_string(revision))));
  if (initial_events_end) {
    Value annotations = Value::object();
    annotations.set(arena, "k8s.io/initial-events-end", Value::string("true"));
    metadata.set(arena, "annotations", annotations);
  }
  document.root.set(arena, "metadata", metadata);
  const schema::Type* type = resource.type();
  const bool conforms =
      type != nullptr &&
      schema::conform(document, *type->shape, schema::Conform::kObject, nullptr).ok();
  return object_of(std::move(document), &resource, conforms ? type : nullptr, revision);
}

std::shared_ptr<const std::string> EventCache::encode(WatchEvent::Type type,
                                                      const ObjectPtr& object,
                                                      const Rendering& rendering, bool first) {
  const Form& form = rendering.form;
  // Ages are cells of tables: their text is of its second.
  const int64_t second = form.shape == Shape::kTable ? rendering.now : 0;
  const auto key =
      static_cast<uint64_t>(second) << 20 | static_cast<uint32_t>(type) |
      static_cast<uint32_t>(form.encoding) << 4 | static_cast<uint32_t>(form.shape) << 8 |
      static_cast<uint32_t>(rendering.include) << 12 | static_cast<uint32_t>(first) << 16 |
      static_cast<uint32_t>(form.meta_version == "v1") << 17;
  const size_t place =
      std::hash<const void*>()(object.get()) / alignof(std::max_align_t) * 31 + (key & 0xfffff);
  {
    MutexLock lock(mutex_);
    const Slot& slot = slots_.at(place);
    if (slot.object == object && slot.form == key) return slot.text;
  }
  auto text = std::make_shared<const std::string>(
      encode_event(event_name(type), *object, rendering, first));
  std::vector<Slot> gone;  // destroyed without the lock
  {
    MutexLock lock(mutex_);
    gone = slots_.put(place, {object, key, text});
  }
  return text;
}

std::string_view event_name(WatchEvent::Type type) {
  switch (type) {
    case WatchEvent::Type::kAdded:
      return "ADDED";
    case WatchEvent::Type::kModified:
      return "MODIFIED";
    case WatchEvent::Type::kDeleted:
      return "DELETED";
    case WatchEvent::Type::kBookmark:
      return "BOOKMARK";
  }
  return "";
}

}  // namespace fairlead::apiserver
