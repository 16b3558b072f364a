#include "control/schema/table.h"

#include <fmt/format.h>

#include "control/schema/json_text.h"
#include "control/schema/table_cells.h"

namespace fairlead::schema {

namespace {

void append_field(std::string* out, std::string_view name, std::string_view text) {
  append_json_string(name, out);
  out->push_back(':');
  append_json_string(text, out);
}

void append_columns(std::span<const ColumnRow> columns, std::string* out) {
  char before = '[';
  for (const ColumnRow& column : columns) {
    out->push_back(before);
    before = ',';
    out->push_back('{');
    append_field(out, "name", column.name);
    out->push_back(',');
    append_field(out, "type", column.type);
    out->push_back(',');
    append_field(out, "format", column.format);
    out->push_back(',');
    append_field(out, "description", column.name);
    out->append(fmt::format(",\"priority\":{}}}", column.priority));
  }
  out->push_back(']');
}

void append_cell(const ColumnRow& column, const Value& object, int64_t now, std::string* out) {
  const auto append = [out](const Cell& cell) {
    if (cell.is_number) {
      out->append(cell.text);
    } else {
      append_json_string(cell.text, out);
    }
  };
  if (column.cell) return append(column.cell(object, now));
  const Value& value = object.at(column.path);
  const bool number = column.type == "integer";
  switch (value.tag()) {
    case Value::Tag::kInt:
      return append(number ? Cell(value.as_int()) : Cell(std::to_string(value.as_int())));
    case Value::Tag::kString:
      return append(value.as_string().empty() ? Cell(kNone) : Cell(value.as_string()));
    case Value::Tag::kBool:
      return append(value.as_bool() ? "true" : "false");
    case Value::Tag::kArray:
    case Value::Tag::kObject:
      return append(number ? Cell(static_cast<int64_t>(value.size()))
                           : Cell(value.is_object() ? format_labels(value) : to_json(value)));
    default:
      return append(number ? Cell(int64_t{0}) : Cell(column.type == "boolean" ? "false" : kNone));
  }
}

void append_metadata(const Value& object, std::string_view api_version, std::string* out) {
  out->append("{\"kind\":\"PartialObjectMetadata\",");
  append_field(out, "apiVersion", api_version);
  out->append(",\"metadata\":");
  append_json(object.get("metadata"), out);
  out->push_back('}');
}

}  // namespace

Result<IncludeObject> parse_include_object(std::string_view text) {
  if (text.empty() || text == "Metadata") return IncludeObject::kMetadata;
  if (text == "None") return IncludeObject::kNone;
  if (text == "Object") return IncludeObject::kObject;
  return Status::error(StatusCode::kInvalid, "parse", "includeObject",
                       fmt::format("Invalid value: \"{}\": must be 'Metadata', 'Object', 'None', "
                                   "or empty",
                                   text.substr(0, 64)));
}

std::string table_json(const Resource& resource, std::span<const Value* const> objects,
                       const Value& metadata, const TableRequest& request) {
  const std::span<const ColumnRow> columns = columns_of(resource);
  std::string out = "{\"kind\":\"Table\",";
  append_field(&out, "apiVersion", request.api_version);
  out += ",\"metadata\":{";
  bool first = true;
  for (const std::string_view field : {"continue", "remainingItemCount", "resourceVersion"}) {
    const Value* found = metadata.find(field);
    if (!found) continue;
    if (!first) out.push_back(',');
    first = false;
    append_json_string(field, &out);
    out.push_back(':');
    append_json(*found, &out);
  }
  out += "},\"columnDefinitions\":";
  append_columns(request.with_columns ? columns : std::span<const ColumnRow>(), &out);
  if (!request.with_columns) out.insert(out.size() - 1, "[");
  out += ",\"rows\":[";
  for (size_t i = 0; i < objects.size(); ++i) {
    const Value& object = *objects[i];
    out += i == 0 ? "{\"cells\":[" : ",{\"cells\":[";
    for (size_t c = 0; c < columns.size(); ++c) {
      if (c > 0) out.push_back(',');
      append_cell(columns[c], object, request.now, &out);
    }
    out += "]";
    if (request.include != IncludeObject::kNone) out += ",\"object\":";
    if (request.include == IncludeObject::kMetadata) {
      append_metadata(object, request.api_version, &out);
    } else if (request.include == IncludeObject::kObject) {
      append_json(object, &out);
    }
    out.push_back('}');
  }
  return out + "]}";
}

std::string partial_metadata_json(const Value& object, std::string_view api_version) {
  std::string out;
  append_metadata(object, api_version, &out);
  return out;
}

}  // namespace fairlead::schema
