// Documents: the in-memory form of an API object, between its text and everything done to it.
//
// A Document owns an arena; a Value is 16 bytes and points into it. Objects keep their members in
// order. Numbers are int64 where their text says so and fits; every other number keeps its text, so
// nothing that a user wrote is rounded or respelled. What a change leaves behind is freed with the
// document: documents are short-lived, one request long.
//
// Threads: values without shared state; one owner while changing.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fairlead::schema {

// Memory that is freed all at once.
class Arena {
 public:
  Arena() = default;
  // `expected`: what will probably be allocated in all. Kept documents should waste little.
  explicit Arena(size_t expected) : expected_(expected) {}
  Arena(Arena&&) = default;
  Arena& operator=(Arena&&) = default;

  void* allocate(size_t bytes);  // aligned for every type of this folder
  std::string_view copy(std::string_view text);
  size_t bytes() const { return total_; }  // taken from the system
  // A document that grows beyond this is refused by whoever makes it grow.
  bool full() const { return total_ > kMost; }

 private:
  static constexpr size_t kMost = size_t{256} << 20;

  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
  size_t total_ = 0;
  size_t expected_ = 0;  // 0: nobody knows
};

struct Member;

class Value {
 public:
  enum class Tag : uint8_t { kNull, kBool, kInt, kNumber, kString, kArray, kObject };

  Value() = default;
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value number(std::string_view text);  // JSON that is no int64; must outlive the value
  static Value string(std::string_view text);  // must outlive the value: literals or arena text
  // Copies of what is given, in arrays without room to grow.
  static Value array_of(Arena& arena, std::span<const Value> items);
  static Value object_of(Arena& arena, std::span<const Member> members);
  static Value array() { return Value(Tag::kArray); }
  static Value object() { return Value(Tag::kObject); }

  Tag tag() const { return tag_; }
  bool is_null() const { return tag_ == Tag::kNull; }
  bool is_bool() const { return tag_ == Tag::kBool; }
  bool is_int() const { return tag_ == Tag::kInt; }
  bool is_number() const { return tag_ == Tag::kInt || tag_ == Tag::kNumber; }
  bool is_string() const { return tag_ == Tag::kString; }
  bool is_array() const { return tag_ == Tag::kArray; }
  bool is_object() const { return tag_ == Tag::kObject; }
  bool is_scalar() const { return tag_ < Tag::kArray; }

  // Of another type: false, 0, "".
  bool as_bool() const { return is_bool() && int_ != 0; }
  int64_t as_int() const { return is_int() ? int_ : 0; }
  double as_double() const;
  std::string_view as_string() const;    // of strings
  std::string_view number_text() const;  // of Tag::kNumber

  // Elements or members; 0 for everything else.
  size_t size() const { return is_array() || is_object() ? size_ : 0; }
  bool empty() const { return size() == 0; }
  // False, 0, "", null and what has no elements.
  bool is_zero() const;

  std::span<Value> items() { return {is_array() ? items_ : nullptr, is_array() ? size_ : 0}; }
  std::span<const Value> items() const { return const_cast<Value*>(this)->items(); }
  std::span<Member> members();
  std::span<const Member> members() const;

  // Null pointer when this is no object or has no such member.
  Value* find(std::string_view key);
  const Value* find(std::string_view key) const { return const_cast<Value*>(this)->find(key); }
  // A null value in that case.
  const Value& get(std::string_view key) const;
  // The same along "spec.template.metadata".
  const Value& at(std::string_view dotted) const;

  // Precondition of the changes: the right kind. Keys must outlive the value.
  Value& set(Arena& arena, std::string_view key, Value value);     // replaces or appends
  Value& append(Arena& arena, std::string_view key, Value value);  // the key is new
  bool erase(std::string_view key);
  Value& push(Arena& arena, Value value);
  void insert(Arena& arena, size_t index, Value value);
  void erase_at(size_t index);
  void truncate(size_t size);  // of arrays and objects
  // Sorts members by key, stably: later duplicates stay behind earlier ones.
  void sort_members();
  // Makes the objects along "spec.template" where they are missing.
  Value& ensure(Arena& arena, std::string_view dotted);

  // A copy that shares nothing with this one.
  Value clone(Arena& arena) const;

 private:
  explicit Value(Tag tag) : tag_(tag) {}
  void reserve_one(Arena& arena, size_t element_size);

  Tag tag_ = Tag::kNull;
  bool sorted_ = false;  // members are in order of their keys
  uint32_t size_ = 0;
  union {
    int64_t int_ = 0;
    const char* text_;
    Value* items_;
    Member* members_;
  };
};
static_assert(sizeof(Value) == 16);

struct Member {
  std::string_view key;
  Value value;
};

// Same value; the order of members does not matter, 1 and 1.0 differ.
bool operator==(const Value& a, const Value& b);

// Finds members of one object fast, however many there are. Invalid once the object changes size.
class MemberIndex {
 public:
  explicit MemberIndex(const Value& object);
  const Member* find(std::string_view key) const;

 private:
  const Value& object_;
  std::unordered_map<std::string_view, const Member*> index_;  // filled for large objects only
};

struct Document {
  Arena arena;
  Value root;

  Document() = default;
  explicit Document(size_t expected) : arena(expected) {}
  Document(Document&&) = default;
  Document& operator=(Document&&) = default;
  Document clone() const;
};

}  // namespace fairlead::schema
