#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "control/schema/patch.h"

namespace fairlead::schema {

namespace {

constexpr size_t kMaxOperations = 10000;  // as kube-apiserver
constexpr size_t kMaxTokens = 256;        // as deep as a body may nest
constexpr std::string_view kJsonPatch = "apply JSON patch";
constexpr std::string_view kMergePatch = "apply merge patch";

Status patch_error(std::string_view object, std::string_view reason) {
  return Status::error(StatusCode::kInvalid, kJsonPatch, object, reason);
}

// RFC 6901: "/a~1b/0" to "a/b" and "0".
Result<std::vector<std::string>> parse_pointer(std::string_view text) {
  std::vector<std::string> tokens;
  if (text.empty()) return tokens;
  if (text.front() != '/') return patch_error(text, "the path does not start with '/'");
  for (const char c : text) {
    if (c == '/') {
      tokens.emplace_back();
    } else {
      tokens.back().push_back(c);
    }
  }
  if (tokens.size() > kMaxTokens) return patch_error(text.substr(0, 64), "the path is too deep");
  for (std::string& token : tokens) {
    std::string plain;
    for (size_t i = 0; i < token.size(); ++i) {
      const char next = i + 1 < token.size() ? token[i + 1] : '\0';
      if (token[i] != '~') {
        plain.push_back(token[i]);
      } else if (next == '0' || next == '1') {
        plain.push_back(next == '0' ? '~' : '/');
        ++i;
      } else {
        return patch_error(text, "'~' is followed by neither 0 nor 1");
      }
    }
    token = std::move(plain);
  }
  return tokens;
}

// An element's index; `size` itself where a new one may go.
std::optional<size_t> parse_index(std::string_view token, size_t limit) {
  size_t index = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), index);
  const bool padded = token.size() > 1 && token.front() == '0';
  if (error != std::errc() || end != token.data() + token.size() || padded) return std::nullopt;
  return index <= limit ? std::optional(index) : std::nullopt;
}

Value* step(Value* from, std::string_view token) {
  if (from->is_object()) return from->find(token);
  if (!from->is_array() || from->empty()) return nullptr;
  const auto index = parse_index(token, from->size() - 1);
  return index ? &from->items()[*index] : nullptr;
}

class JsonPatch {
 public:
  explicit JsonPatch(Document& document) : document_(document) {}

  Status run(const Value& operation) {
    const std::string_view op = operation.get("op").as_string();
    const std::string_view path = operation.get("path").as_string();
    if (!operation.get("path").is_string()) return patch_error(op, "an operation has no path");
    const Value* value = operation.find("value");
    if (!value && (op == "add" || op == "replace" || op == "test")) {
      return patch_error(path, fmt::format("the operation {} has no value", op));
    }
    if (op == "add") return add(path, value->clone(document_.arena));
    if (op == "remove") return remove(path);
    if (op == "replace") return replace(path, *value);
    if (op == "test") return test(path, *value);
    if (op == "move" || op == "copy") return move(op, operation.get("from"), path);
    return patch_error(path, fmt::format("unknown operation \"{}\"", op));
  }

 private:
  Result<Value*> find(std::string_view path) {
    std::vector<std::string> tokens;
    ASSIGN_OR_RETURN(tokens, parse_pointer(path));
    Value* value = &document_.root;
    for (const std::string& token : tokens) {
      value = step(value, token);
      if (!value) return patch_error(path, "the path does not exist");
    }
    return value;
  }

  // The container of what the path names, and its name there.
  Result<Value*> find_parent(std::string_view path, std::string* name) {
    std::vector<std::string> tokens;
    ASSIGN_OR_RETURN(tokens, parse_pointer(path));
    if (tokens.empty()) return patch_error(path, "the whole document cannot be named here");
    Value* value = &document_.root;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      value = step(value, tokens[i]);
      if (!value) return patch_error(path, "the path does not exist");
    }
    if (value->is_scalar()) return patch_error(path, "the path leads into a scalar");
    *name = std::move(tokens.back());
    return value;
  }

  Status add(std::string_view path, Value value) {
    if (path.empty()) {
      document_.root = value;
      return {};
    }
    std::string name;
    Value* parent = nullptr;
    ASSIGN_OR_RETURN(parent, find_parent(path, &name));
    if (parent->is_object()) {
      parent->set(document_.arena, document_.arena.copy(name), value);
      return {};
    }
    const auto index = name == "-" ? parent->size() : parse_index(name, parent->size());
    if (!index) return patch_error(path, "no such index");
    parent->insert(document_.arena, *index, value);
    return {};
  }

  Status remove(std::string_view path) {
    std::string name;
    Value* parent = nullptr;
    ASSIGN_OR_RETURN(parent, find_parent(path, &name));
    if (parent->is_object()) {
      return parent->erase(name) ? Status() : patch_error(path, "the path does not exist");
    }
    const auto index = parent->empty() ? std::nullopt : parse_index(name, parent->size() - 1);
    if (!index) return patch_error(path, "no such index");
    parent->erase_at(*index);
    return {};
  }

  Status replace(std::string_view path, const Value& value) {
    Value* found = nullptr;
    ASSIGN_OR_RETURN(found, find(path));
    *found = value.clone(document_.arena);
    return {};
  }

  Status test(std::string_view path, const Value& value) {
    const Result<Value*> found = find(path);
    // A missing member is what a null says.
    const bool equal = found.ok() ? *found.value() == value : value.is_null();
    if (equal) return {};
    return Status::error(StatusCode::kConflict, kJsonPatch, path, "testing the value failed");
  }

  Status move(std::string_view op, const Value& from, std::string_view path) {
    if (!from.is_string()) return patch_error(path, fmt::format("{} has no from", op));
    const std::string_view source = from.as_string();
    const bool inside =
        path.size() > source.size() && path.starts_with(source) && path[source.size()] == '/';
    if (op == "move" && inside) return patch_error(path, "cannot be moved into itself");
    Value* found = nullptr;
    ASSIGN_OR_RETURN(found, find(source));
    const Value value = op == "copy" ? found->clone(document_.arena) : *found;
    if (op == "move" && source == path) return {};
    if (op == "move") RETURN_IF_ERROR(remove(source));
    return add(path, value);
  }

  Document& document_;
};

void merge_value(Value& target, const Value& patch, Arena& arena) {
  if (!patch.is_object()) {
    target = patch.clone(arena);
    return;
  }
  if (!target.is_object()) target = Value::object();
  const MemberIndex index(target);
  const std::span<Member> members = target.members();
  std::vector<bool> erased(members.size());
  std::vector<const Member*> added;
  for (const Member& change : patch.members()) {
    const Member* found = index.find(change.key);
    const size_t at = found ? static_cast<size_t>(found - members.data()) : 0;
    if (change.value.is_null()) {
      if (found) erased[at] = true;
    } else if (found) {
      merge_value(members[at].value, change.value, arena);
    } else {
      added.push_back(&change);
    }
  }
  size_t kept = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    if (!erased[i]) members[kept++] = members[i];
  }
  target.truncate(kept);
  for (const Member* member : added) {
    Value made;
    merge_value(made, member->value, arena);
    target.append(arena, arena.copy(member->key), made);
  }
}

}  // namespace

Status apply_json_patch(Document& document, const Value& patch) {
  if (!patch.is_array()) return patch_error("body", "the patch is not an array of operations");
  if (patch.size() > kMaxOperations) {
    return patch_error("body",
                       fmt::format("{} operations are more than {}", patch.size(), kMaxOperations));
  }
  JsonPatch run(document);
  for (const Value& operation : patch.items()) {
    RETURN_IF_ERROR(run.run(operation));
    if (document.arena.full()) return patch_error("body", "the result is too large in memory");
  }
  return {};
}

Status apply_merge_patch(Document& document, const Value& patch) {
  if (!patch.is_object()) {
    return Status::error(StatusCode::kInvalid, kMergePatch, "body", "the patch is not an object");
  }
  merge_value(document.root, patch, document.arena);
  return {};
}

}  // namespace fairlead::schema
