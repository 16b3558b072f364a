#include "control/client/known_objects.h"

#include <boost/unordered/unordered_flat_set.hpp>

#include <charconv>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

namespace fairlead::client {

namespace {

// No version hashes to it, and none is it: "not known".
constexpr uint64_t kNoVersion = ~uint64_t{0};

uint64_t compact_version(std::string_view version) {
  uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(version.data(), version.data() + version.size(), number);
  constexpr uint64_t kHashed = uint64_t{1} << 63;
  const bool canonical = !version.empty() && (version.size() == 1 || version.front() != '0');
  if (error == std::errc() && end == version.data() + version.size() && canonical &&
      number < kHashed) {
    return number;
  }
  const uint64_t hash = std::hash<std::string_view>()(version) | kHashed;
  return hash == kNoVersion ? hash - 1 : hash;
}

// The two names follow the record in the same allocation.
struct Record {
  uint64_t version;
  uint32_t round;
  uint32_t space_length;
  uint32_t name_length;

  const char* text() const { return reinterpret_cast<const char*>(this + 1); }
  std::string_view name_space() const { return {text(), space_length}; }
  std::string_view name() const { return {text() + space_length, name_length}; }
};

struct RecordDeleter {
  void operator()(Record* record) const { ::operator delete(record); }
};
using RecordPtr = std::unique_ptr<Record, RecordDeleter>;

struct Key {
  std::string_view name_space;
  std::string_view name;
};

Key key_of(const RecordPtr& record) {
  return {record->name_space(), record->name()};
}

struct Hash {
  using is_transparent = void;
  size_t operator()(const Key& key) const {
    const std::hash<std::string_view> hash;
    return hash(key.name_space) * 31 + hash(key.name);
  }
  size_t operator()(const RecordPtr& record) const { return (*this)(key_of(record)); }
};

struct Equal {
  using is_transparent = void;
  bool operator()(const Key& a, const Key& b) const {
    return a.name_space == b.name_space && a.name == b.name;
  }
  bool operator()(const RecordPtr& a, const RecordPtr& b) const {
    return (*this)(key_of(a), key_of(b));
  }
  bool operator()(const RecordPtr& a, const Key& b) const { return (*this)(key_of(a), b); }
  bool operator()(const Key& a, const RecordPtr& b) const { return (*this)(a, key_of(b)); }
};

RecordPtr make_record(const Key& key, uint64_t version, uint32_t round) {
  void* memory = ::operator new(sizeof(Record) + key.name_space.size() + key.name.size());
  RecordPtr record(new (memory) Record{version, round, static_cast<uint32_t>(key.name_space.size()),
                                       static_cast<uint32_t>(key.name.size())});
  char* text = reinterpret_cast<char*>(record.get() + 1);
  key.name_space.copy(text, key.name_space.size());
  key.name.copy(text + key.name_space.size(), key.name.size());
  return record;
}

}  // namespace

struct KnownObjects::Set {
  boost::unordered_flat_set<RecordPtr, Hash, Equal> records;
};

KnownObjects::KnownObjects() : set_(std::make_unique<Set>()) {}
KnownObjects::~KnownObjects() = default;

bool KnownObjects::upsert(std::string_view name_space, std::string_view name,
                          std::string_view version) {
  const Key key{name_space, name};
  const uint64_t compact = compact_version(version);
  const auto found = set_->records.find(key);
  if (found == set_->records.end()) {
    set_->records.insert(make_record(key, compact, round_));
    return true;
  }
  Record& record = **found;
  record.round = round_;
  return std::exchange(record.version, compact) != compact;
}

bool KnownObjects::erase(std::string_view name_space, std::string_view name) {
  return set_->records.erase(Key{name_space, name}) > 0;
}

void KnownObjects::sweep(const std::function<void(const std::string&, const std::string&)>& gone) {
  std::vector<std::pair<std::string, std::string>> names;
  for (auto it = set_->records.begin(); it != set_->records.end();) {
    if ((*it)->round == round_) {
      ++it;
      continue;
    }
    names.emplace_back((*it)->name_space(), (*it)->name());
    set_->records.erase(it++);
  }
  for (const auto& [name_space, name] : names) gone(name_space, name);
}

void KnownObjects::distrust_versions() {
  for (const RecordPtr& record : set_->records) record->version = kNoVersion;
}

size_t KnownObjects::size() const {
  return set_->records.size();
}

}  // namespace fairlead::client
