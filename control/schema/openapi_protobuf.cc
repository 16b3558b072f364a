#include <algorithm>
#include <array>
#include <functional>
#include <string>

#include "control/schema/discovery.h"
#include "control/schema/json_text.h"
#include "control/schema/wire.h"

namespace fairlead::schema {

namespace {

// Field numbers of the messages of openapi.v2, as far as the documents of discovery.h use them.
enum DocumentNumbers : uint32_t { kSwagger = 1, kDocumentInfo = 2, kPaths = 8, kDefinitions = 9 };
enum OperationNumbers : uint32_t { kConsumes = 7, kParameters = 8, kResponses = 9, kVendor = 13 };
enum SchemaNumbers : uint32_t {
  kRef = 1,
  kFormat = 2,
  kDefault = 5,
  kRequiredFields = 19,
  kAdditionalProperties = 21,
  kTypeItem = 22,
  kItems = 23,
  kProperties = 25,
  kSchemaVendor = 31
};

struct Method {
  std::string_view name;
  uint32_t number;
};
constexpr std::array<Method, 5> kMethods = {
    {{"get", 2}, {"put", 3}, {"post", 4}, {"delete", 5}, {"patch", 8}}};

// Everything is written from its end; lists from their last element.
class GnosticWriter {
 public:
  void document(const Value& root) {
    message(kDefinitions, [&] { named(root.get("definitions"), 1, &GnosticWriter::schema); });
    message(kPaths, [&] { named(root.get("paths"), 2, &GnosticWriter::path_item); });
    message(kDocumentInfo, [&] {
      out_.bytes_field(2, root.at("info.version").as_string());
      out_.bytes_field(1, root.at("info.title").as_string());
    });
    out_.bytes_field(kSwagger, root.get("swagger").as_string());
  }
  std::string take() { return out_.take(); }

 private:
  template <typename Content>
  void message(uint32_t number, const Content& content) {
    const size_t before = out_.size();
    content();
    out_.close(number, before);
  }

  template <typename Each>
  static void backwards(const Value& list, const Each& each) {
    const auto items = list.items();
    std::for_each(items.rbegin(), items.rend(), each);
  }

  // Repeated {1 name, 2 value}.
  void named(const Value& members, uint32_t number, void (GnosticWriter::*value)(const Value&)) {
    const auto all = members.members();
    std::for_each(all.rbegin(), all.rend(), [&](const Member& member) {
      message(number, [&] {
        message(2, [&] { (this->*value)(member.value); });
        out_.bytes_field(1, member.key);
      });
    });
  }

  // Extensions are kept as YAML, of which JSON is a part.
  void extensions(const Value& owner, uint32_t number) {
    const auto all = owner.members();
    std::for_each(all.rbegin(), all.rend(), [&](const Member& member) {
      if (!member.key.starts_with("x-")) return;
      message(number, [&] {
        message(2, [&] { out_.bytes_field(2, to_json(member.value)); });
        out_.bytes_field(1, member.key);
      });
    });
  }

  void path_item(const Value& item) {
    for (auto method = kMethods.rbegin(); method != kMethods.rend(); ++method) {
      const Value* found = item.find(method->name);
      if (found) message(method->number, [&] { operation(*found); });
    }
  }

  void operation(const Value& value) {
    extensions(value, kVendor);
    message(kResponses, [&] { named(value.get("responses"), 1, &GnosticWriter::response); });
    backwards(value.get("parameters"), [&](const Value& parameter) {
      // ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema.
      message(kParameters, [&] {
        message(1, [&] { message(2, [&] { message(3, [&] { query(parameter); }); }); });
      });
    });
    backwards(value.get("consumes"),
              [&](const Value& type) { out_.bytes_field(kConsumes, type.as_string()); });
  }

  void query(const Value& parameter) {
    out_.bytes_field(6, parameter.get("type").as_string());
    out_.bytes_field(4, parameter.get("name").as_string());
    out_.bytes_field(2, parameter.get("in").as_string());
  }

  void response(const Value& value) {
    message(1, [&] { out_.bytes_field(1, value.get("description").as_string()); });
  }

  void schema(const Value& value) {
    extensions(value, kSchemaVendor);
    if (const Value* properties = value.find("properties")) {
      message(kProperties, [&] { named(*properties, 1, &GnosticWriter::schema); });
    }
    if (const Value* items = value.find("items")) {
      message(kItems, [&] { message(1, [&] { schema(*items); }); });
    }
    if (const Value* type = value.find("type")) {
      message(kTypeItem, [&] { out_.bytes_field(1, type->as_string()); });
    }
    if (const Value* more = value.find("additionalProperties")) {
      message(kAdditionalProperties, [&] { message(1, [&] { schema(*more); }); });
    }
    backwards(value.get("required"),
              [&](const Value& name) { out_.bytes_field(kRequiredFields, name.as_string()); });
    if (const Value* preset = value.find("default")) {
      message(kDefault, [&] { out_.bytes_field(2, to_json(*preset)); });
    }
    for (const auto& [name, number] :
         {std::pair<std::string_view, uint32_t>{"format", kFormat}, {"$ref", kRef}}) {
      if (const Value* text = value.find(name)) out_.bytes_field(number, text->as_string());
    }
  }

  WireWriter out_;
};

}  // namespace

std::string openapi_v2_protobuf(std::string_view json) {
  const Result<Document> document = parse_json(json, {json.size(), 64});
  if (!document.ok()) return {};
  GnosticWriter writer;
  writer.document(document->root);
  return writer.take();
}

}  // namespace fairlead::schema
