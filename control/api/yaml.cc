#include "control/api/yaml.h"

#include <fmt/format.h>
#include <simdjson.h>
#include <yaml.h>

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "control/api/json_writer.h"
#include "control/api/yaml_scalar.h"

namespace fairlead::api {

namespace {

constexpr std::string_view kOperation = "parse YAML";
constexpr size_t kMaxInput = size_t{16} << 20;
// Aliases can make a small text large: this is where following them ends. What a text says without
// them is less than so many times as long in JSON.
constexpr size_t kMaxOutput = size_t{32} << 20;
constexpr size_t kMaxGrowth = 16;
constexpr size_t kMaxGrown = size_t{64} << 10;  // of short texts
constexpr size_t kMaxMerged = 100000;
constexpr size_t kMaxDepth = 200;

struct Node;
using NodePtr = std::shared_ptr<Node>;

struct Node {
  enum class Kind { kScalar, kSequence, kMapping };

  Kind kind = Kind::kScalar;
  bool complete = false;  // false while its end has not been seen: an alias to it would be a loop
  size_t depth = 1;       // of the tree below and including this node
  std::string json;       // kScalar
  std::vector<NodePtr> items;
  std::vector<std::pair<std::string, NodePtr>> fields;
  std::unordered_set<std::string> keys;  // explicit ones
};

struct Event {
  yaml_event_t event{};
  bool valid = false;

  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() {
    if (valid) yaml_event_delete(&event);
  }
};

std::string_view text_of(const yaml_char_t* text, size_t length) {
  return {reinterpret_cast<const char*>(text), length};
}

std::string_view text_of(const yaml_char_t* text) {
  return text ? std::string_view(reinterpret_cast<const char*>(text)) : std::string_view();
}

class Converter {
 public:
  Converter(std::string_view text, std::string_view source, DuplicateKeys duplicates)
      : source_(source),
        duplicates_(duplicates),
        max_output_(std::min(kMaxOutput, kMaxGrown + kMaxGrowth * text.size())) {
    ready_ = yaml_parser_initialize(&parser_) == 1;
    if (ready_) {
      yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                   text.size());
    }
  }
  ~Converter() {
    if (ready_) yaml_parser_delete(&parser_);
  }
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;

  // True when run() failed because the text is no YAML, not because of a rule of ours.
  bool malformed() const { return ready_ && parser_.error != YAML_NO_ERROR; }

  Result<std::string> run() {
    if (!ready_) return Status::error(StatusCode::kExhausted, kOperation, source_, "out of memory");
    for (bool ended = false; !ended;) {
      Event event;
      if (yaml_parser_parse(&parser_, &event.event) == 0) return parser_error();
      event.valid = true;
      RETURN_IF_ERROR(take(event.event));
      ended = event.event.type == YAML_STREAM_END_EVENT;
    }
    if (!root_) return std::string("null");
    JsonWriter json;
    RETURN_IF_ERROR(write(*root_, json));
    return json.take();
  }

 private:
  // A collection that is being read, and the key that waits for its value.
  struct Frame {
    NodePtr node;
    bool has_key = false;
    bool merge = false;  // that key is "<<"
    std::string key;
    std::vector<NodePtr> merges;
  };

  Status error_at(const yaml_mark_t& mark, std::string_view reason) const {
    return Status::error(
        StatusCode::kInvalid, kOperation, source_,
        fmt::format("line {}, column {}: {}", mark.line + 1, mark.column + 1, reason));
  }

  Status parser_error() const {
    const std::string_view problem = parser_.problem ? parser_.problem : "malformed";
    if (parser_.error == YAML_READER_ERROR) {
      return Status::error(StatusCode::kInvalid, kOperation, source_,
                           fmt::format("byte {}: {}", parser_.problem_offset, problem));
    }
    return error_at(parser_.problem_mark, problem);
  }

  Status take(const yaml_event_t& event) {
    switch (event.type) {
      case YAML_DOCUMENT_START_EVENT:
        if (++documents_ > 1) return error_at(event.start_mark, "more than one document");
        return {};
      case YAML_ALIAS_EVENT:
        return take_alias(event);
      case YAML_SCALAR_EVENT:
        return take_scalar(event);
      case YAML_SEQUENCE_START_EVENT:
        return open(event, Node::Kind::kSequence, text_of(event.data.sequence_start.tag),
                    text_of(event.data.sequence_start.anchor));
      case YAML_MAPPING_START_EVENT:
        return open(event, Node::Kind::kMapping, text_of(event.data.mapping_start.tag),
                    text_of(event.data.mapping_start.anchor));
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        return close(event);
      default:
        return {};
    }
  }

  bool key_is_next() const {
    return !frames_.empty() && frames_.back().node->kind == Node::Kind::kMapping &&
           !frames_.back().has_key;
  }

  Status open(const yaml_event_t& event, Node::Kind kind, std::string_view tag,
              std::string_view anchor) {
    if (!tag.empty())
      return error_at(event.start_mark, fmt::format("tag {} is not supported", tag));
    if (key_is_next()) return error_at(event.start_mark, "a key must be a scalar");
    if (frames_.size() >= kMaxDepth) return error_at(event.start_mark, "nested too deeply");
    auto node = std::make_shared<Node>();
    node->kind = kind;
    remember(anchor, node);
    frames_.emplace_back();
    frames_.back().node = std::move(node);
    return {};
  }

  Status close(const yaml_event_t& event) {
    NodePtr node = std::move(frames_.back().node);
    const std::vector<NodePtr> merges = std::move(frames_.back().merges);
    frames_.pop_back();
    // Only now, when every key of its own is known.
    for (const NodePtr& from : merges) RETURN_IF_ERROR(merge(*node, *from, event.start_mark));
    node->complete = true;
    return place(std::move(node), event.start_mark);
  }

  Status take_alias(const yaml_event_t& event) {
    const auto found = anchors_.find(std::string(text_of(event.data.alias.anchor)));
    if (found == anchors_.end()) return error_at(event.start_mark, "alias of an unknown anchor");
    if (!found->second->complete) return error_at(event.start_mark, "anchor contains itself");
    if (key_is_next()) return error_at(event.start_mark, "a key must be a scalar");
    return place(found->second, event.start_mark);
  }

  Status take_scalar(const yaml_event_t& event) {
    const auto& scalar = event.data.scalar;
    const std::string_view text = text_of(scalar.value, scalar.length);
    if (scalar.tag) {
      return error_at(event.start_mark,
                      fmt::format("tag {} is not supported", text_of(scalar.tag)));
    }
    PlainScalar plain;
    if (scalar.style == YAML_PLAIN_SCALAR_STYLE) plain = resolve_plain_scalar(text);
    if (plain.kind == ScalarKind::kNotInJson) {
      return error_at(event.start_mark, fmt::format("{} cannot be written as JSON", text));
    }
    if (key_is_next()) return take_key(event.start_mark, text, plain);
    auto node = std::make_shared<Node>();
    node->complete = true;
    if (plain.kind == ScalarKind::kString || plain.kind == ScalarKind::kMerge) {
      JsonWriter json;
      json.string(text);
      node->json = json.take();
    } else {
      node->json = std::move(plain.json);
    }
    remember(text_of(scalar.anchor), node);
    return place(std::move(node), event.start_mark);
  }

  Status take_key(const yaml_mark_t& mark, std::string_view text, const PlainScalar& plain) {
    Frame& frame = frames_.back();
    frame.merge = plain.kind == ScalarKind::kMerge;
    frame.has_key = true;
    if (frame.merge) return {};
    if (plain.kind == ScalarKind::kNull) return error_at(mark, "a key must not be null");
    frame.key = plain.kind == ScalarKind::kString ? std::string(text) : plain.json;
    if (!frame.node->keys.insert(frame.key).second && duplicates_ == DuplicateKeys::kRefuse) {
      return error_at(mark, fmt::format("duplicate key \"{}\"", frame.key));
    }
    return {};
  }

  void remember(std::string_view anchor, const NodePtr& node) {
    if (!anchor.empty()) anchors_[std::string(anchor)] = node;
  }

  // A finished node goes into the collection around it.
  Status place(NodePtr node, const yaml_mark_t& mark) {
    if (frames_.empty()) {
      root_ = std::move(node);
      return {};
    }
    Frame& frame = frames_.back();
    frame.node->depth = std::max(frame.node->depth, node->depth + 1);
    if (frame.node->depth > kMaxDepth) return error_at(mark, "nested too deeply");
    if (frame.node->kind == Node::Kind::kSequence) {
      frame.node->items.push_back(std::move(node));
      return {};
    }
    frame.has_key = false;
    if (frame.merge) {
      frame.merges.push_back(std::move(node));
      return {};
    }
    frame.node->fields.emplace_back(std::move(frame.key), std::move(node));
    return {};
  }

  // "<<": the fields of other mappings, where the mapping itself does not have them. The first of
  // several merged mappings wins.
  Status merge(Node& into, const Node& from, const yaml_mark_t& mark) {
    if (from.kind == Node::Kind::kSequence) {
      for (const NodePtr& item : from.items) {
        if (item->kind != Node::Kind::kMapping)
          return error_at(mark, "a merge key needs a mapping");
        RETURN_IF_ERROR(merge(into, *item, mark));
      }
      return {};
    }
    if (from.kind != Node::Kind::kMapping) return error_at(mark, "a merge key needs a mapping");
    merged_ += from.fields.size();
    if (merged_ > kMaxMerged) return error_at(mark, "merge keys make the text too large");
    for (const auto& [key, value] : from.fields) {
      if (!into.keys.insert(key).second) continue;
      into.depth = std::max(into.depth, value->depth + 1);
      if (into.depth > kMaxDepth) return error_at(mark, "nested too deeply");
      into.fields.emplace_back(key, value);
    }
    return {};
  }

  Status write(const Node& node, JsonWriter& json) {
    if (json.text().size() > max_output_) {
      return Status::error(StatusCode::kExhausted, kOperation, source_,
                           "aliases make the text too large");
    }
    switch (node.kind) {
      case Node::Kind::kScalar:
        json.raw(node.json);
        break;
      case Node::Kind::kSequence:
        json.begin_array();
        for (const NodePtr& item : node.items) RETURN_IF_ERROR(write(*item, json));
        json.end_array();
        break;
      case Node::Kind::kMapping:
        json.begin_object();
        for (const auto& [key, value] : node.fields) {
          json.key(key);
          RETURN_IF_ERROR(write(*value, json));
        }
        json.end_object();
        break;
    }
    return {};
  }

  std::string_view source_;
  DuplicateKeys duplicates_;
  const size_t max_output_;
  yaml_parser_t parser_{};
  bool ready_ = false;
  int documents_ = 0;
  size_t merged_ = 0;  // fields that merge keys have copied
  NodePtr root_;
  std::vector<Frame> frames_;
  std::unordered_map<std::string, NodePtr> anchors_;
};

// JSON has a few forms that libyaml does not read (tabs, escaped surrogate pairs).
bool is_json(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{') return false;
  simdjson::dom::parser parser;
  return parser.parse(text.data(), text.size()).error() == simdjson::SUCCESS;
}

}  // namespace

Result<std::string> yaml_to_json(std::string_view text, std::string_view source,
                                 DuplicateKeys duplicates) {
  if (text.size() > kMaxInput) {
    return Status::error(StatusCode::kExhausted, kOperation, source,
                         fmt::format("{} bytes are more than {}", text.size(), kMaxInput));
  }
  Converter converter(text, source, duplicates);
  Result<std::string> json = converter.run();
  if (!json.ok() && converter.malformed() && is_json(text)) return std::string(text);
  return json;
}

}  // namespace fairlead::api
