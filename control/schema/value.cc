#include "control/schema/value.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <memory>

namespace fairlead::schema {

namespace {

constexpr size_t kBlock = size_t{8} << 10;
constexpr size_t kLeast = size_t{1} << 10;
constexpr size_t kMaxBlock = size_t{1} << 20;
constexpr size_t kSmall = 16;  // members that are searched one by one

const Value kNullValue{};

// In front of an array of elements: how many fit.
struct Header {
  uint64_t capacity;
};

}  // namespace

void* Arena::allocate(size_t bytes) {
  bytes = (bytes + 7) & ~size_t{7};
  if (bytes > left_) {
    // Blocks grow with the document, so that a large one is few allocations.
    size_t block = std::clamp(total_, kBlock, kMaxBlock);
    // Of what was to be enough little is missing.
    if (expected_ != 0) block = total_ == 0 ? expected_ : std::clamp(total_ / 4, kLeast, kMaxBlock);
    const size_t wanted = std::max(bytes, block);
    blocks_.emplace_back(new char[wanted]);
    total_ += wanted;
    if (bytes == wanted) return blocks_.back().get();
    next_ = blocks_.back().get();
    left_ = wanted;
  }
  void* found = next_;
  next_ += bytes;
  left_ -= bytes;
  return found;
}

std::string_view Arena::copy(std::string_view text) {
  if (text.empty()) return {"", 0};
  char* copied = static_cast<char*>(allocate(text.size()));
  std::memcpy(copied, text.data(), text.size());
  return {copied, text.size()};
}

Value Value::boolean(bool value) {
  Value made(Tag::kBool);
  made.int_ = value ? 1 : 0;
  return made;
}

Value Value::integer(int64_t value) {
  Value made(Tag::kInt);
  made.int_ = value;
  return made;
}

Value Value::number(std::string_view text) {
  Value made(Tag::kNumber);
  made.size_ = static_cast<uint32_t>(text.size());
  made.text_ = text.data();
  return made;
}

Value Value::string(std::string_view text) {
  Value made(Tag::kString);
  made.size_ = static_cast<uint32_t>(text.size());
  made.text_ = text.data();
  return made;
}

Value Value::array_of(Arena& arena, std::span<const Value> items) {
  Value made(Tag::kArray);
  if (items.empty()) return made;
  auto* header = static_cast<Header*>(arena.allocate(sizeof(Header) + items.size_bytes()));
  header->capacity = items.size();
  made.size_ = static_cast<uint32_t>(items.size());
  made.items_ = reinterpret_cast<Value*>(header + 1);
  std::uninitialized_copy(items.begin(), items.end(), made.items_);
  return made;
}

Value Value::object_of(Arena& arena, std::span<const Member> members) {
  Value made(Tag::kObject);
  if (members.empty()) return made;
  auto* header = static_cast<Header*>(arena.allocate(sizeof(Header) + members.size_bytes()));
  header->capacity = members.size();
  made.size_ = static_cast<uint32_t>(members.size());
  made.members_ = reinterpret_cast<Member*>(header + 1);
  std::uninitialized_copy(members.begin(), members.end(), made.members_);
  return made;
}

double Value::as_double() const {
  if (is_int()) return static_cast<double>(int_);
  double value = 0;
  const std::string_view text = number_text();
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string_view Value::as_string() const {
  return is_string() ? std::string_view(text_, size_) : std::string_view();
}

std::string_view Value::number_text() const {
  return tag_ == Tag::kNumber ? std::string_view(text_, size_) : std::string_view();
}

bool Value::is_zero() const {
  switch (tag_) {
    case Tag::kNull:
      return true;
    case Tag::kBool:
    case Tag::kInt:
      return int_ == 0;
    case Tag::kNumber:
      return as_double() == 0;
    case Tag::kString:
    case Tag::kArray:
    case Tag::kObject:
      return size_ == 0;
  }
  return false;
}

std::span<Member> Value::members() {
  return {is_object() ? members_ : nullptr, is_object() ? size_ : 0};
}

std::span<const Member> Value::members() const {
  return {is_object() ? members_ : nullptr, is_object() ? size_ : 0};
}

Value* Value::find(std::string_view key) {
  const std::span<Member> all = members();
  if (sorted_ && all.size() > kSmall) {
    const auto found = std::lower_bound(
        all.begin(), all.end(), key,
        [](const Member& member, std::string_view wanted) { return member.key < wanted; });
    return found != all.end() && found->key == key ? &found->value : nullptr;
  }
  for (Member& member : all) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

const Value& Value::get(std::string_view key) const {
  const Value* found = find(key);
  return found ? *found : kNullValue;
}

const Value& Value::at(std::string_view dotted) const {
  const Value* value = this;
  while (!dotted.empty()) {
    const size_t dot = std::min(dotted.find('.'), dotted.size());
    value = &value->get(dotted.substr(0, dot));
    dotted.remove_prefix(std::min(dot + 1, dotted.size()));
  }
  return *value;
}

void Value::reserve_one(Arena& arena, size_t element_size) {
  const uint64_t capacity =
      size_ == 0 ? 0
                 : reinterpret_cast<const Header*>(reinterpret_cast<char*>(items_))[-1].capacity;
  if (size_ < capacity) return;
  const uint64_t wanted = std::max<uint64_t>(4, std::bit_ceil(capacity + 1));
  auto* header = static_cast<Header*>(arena.allocate(sizeof(Header) + wanted * element_size));
  header->capacity = wanted;
  if (size_ > 0) std::memcpy(static_cast<void*>(header + 1), items_, size_ * element_size);
  items_ = reinterpret_cast<Value*>(header + 1);
}

Value& Value::append(Arena& arena, std::string_view key, Value value) {
  reserve_one(arena, sizeof(Member));
  sorted_ = false;
  return (new (members_ + size_++) Member{key, value})->value;
}

Value& Value::set(Arena& arena, std::string_view key, Value value) {
  if (Value* found = find(key)) return *found = value;
  return append(arena, key, value);
}

bool Value::erase(std::string_view key) {
  Value* found = find(key);
  if (!found) return false;
  const std::span<Member> all = members();
  const auto member =
      std::find_if(all.begin(), all.end(), [found](const Member& m) { return &m.value == found; });
  std::copy(member + 1, all.end(), member);
  truncate(size_ - 1);
  return true;
}

Value& Value::push(Arena& arena, Value value) {
  reserve_one(arena, sizeof(Value));
  return *new (items_ + size_++) Value(value);
}

void Value::insert(Arena& arena, size_t index, Value value) {
  push(arena, value);
  std::rotate(items_ + index, items_ + size_ - 1, items_ + size_);
}

void Value::erase_at(size_t index) {
  std::copy(items_ + index + 1, items_ + size_, items_ + index);
  truncate(size_ - 1);
}

void Value::truncate(size_t size) {
  size_ = static_cast<uint32_t>(size);
}

void Value::sort_members() {
  const std::span<Member> all = members();
  const auto before = [](const Member& a, const Member& b) { return a.key < b.key; };
  if (!std::is_sorted(all.begin(), all.end(), before)) {
    std::stable_sort(all.begin(), all.end(), before);
  }
  sorted_ = true;
}

Value& Value::ensure(Arena& arena, std::string_view dotted) {
  Value* value = this;
  while (!dotted.empty()) {
    const size_t dot = std::min(dotted.find('.'), dotted.size());
    const std::string_view key = dotted.substr(0, dot);
    Value* next = value->find(key);
    if (!next) {
      next = &value->append(arena, arena.copy(key), object());
    } else if (!next->is_object()) {
      *next = object();
    }
    value = next;
    dotted.remove_prefix(std::min(dot + 1, dotted.size()));
  }
  return *value;
}

Value Value::clone(Arena& arena) const {
  Value copied = *this;
  if (tag_ == Tag::kString || tag_ == Tag::kNumber) {
    copied.text_ = arena.copy({text_, size_}).data();
  } else if ((is_array() || is_object()) && size_ > 0) {
    const size_t element = is_array() ? sizeof(Value) : sizeof(Member);
    auto* header = static_cast<Header*>(arena.allocate(sizeof(Header) + size_ * element));
    header->capacity = size_;
    copied.items_ = reinterpret_cast<Value*>(header + 1);
    for (size_t i = 0; i < size_; ++i) {
      if (is_array()) {
        new (copied.items_ + i) Value(items_[i].clone(arena));
      } else {
        new (copied.members_ + i)
            Member{arena.copy(members_[i].key), members_[i].value.clone(arena)};
      }
    }
  }
  return copied;
}

bool operator==(const Value& a, const Value& b) {
  if (a.tag() != b.tag()) return false;
  switch (a.tag()) {
    case Value::Tag::kNull:
      return true;
    case Value::Tag::kBool:
      return a.as_bool() == b.as_bool();
    case Value::Tag::kInt:
      return a.as_int() == b.as_int();
    case Value::Tag::kNumber:
      return a.number_text() == b.number_text();
    case Value::Tag::kString:
      return a.as_string() == b.as_string();
    case Value::Tag::kArray:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end());
    case Value::Tag::kObject: {
      if (a.size() != b.size()) return false;
      const MemberIndex index(b);
      return std::all_of(a.members().begin(), a.members().end(), [&index](const Member& member) {
        const Member* other = index.find(member.key);
        return other && member.value == other->value;
      });
    }
  }
  return false;
}

MemberIndex::MemberIndex(const Value& object) : object_(object) {
  if (object.size() <= kSmall) return;
  index_.reserve(object.size());
  for (const Member& member : object.members()) index_.emplace(member.key, &member);
}

const Member* MemberIndex::find(std::string_view key) const {
  if (index_.empty()) {
    for (const Member& member : object_.members()) {
      if (member.key == key) return &member;
    }
    return nullptr;
  }
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : found->second;
}

Document Document::clone() const {
  Document copied;
  copied.root = root.clone(copied.arena);
  return copied;
}

}  // namespace fairlead::schema
