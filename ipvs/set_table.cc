#include "ipvs/set_table.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>

namespace fairlead::ipvs {
namespace {

constexpr uint32_t kFirstRoom = 65536;  // as kube-proxy's
constexpr uint32_t kLargestRoom = uint32_t{1} << 26;

SetElement key_of(SetElement element) {
  element.mark = 0;
  return element;
}

}  // namespace

size_t SetTable::Hash::operator()(const SetElement& element) const {
  const uint64_t rest =
      uint64_t{element.port} << 16 | static_cast<uint64_t>(element.protocol) << 8 | element.length;
  return dataplane::stable_hash(element.address.bytes(),
                                dataplane::stable_hash(element.second.bytes(), rest));
}

Status SetTable::create_one(SetId id) {
  const SetSpec spec = describe(id, family_);
  std::optional<SetHeader> header;
  ASSIGN_OR_RETURN(header, sets_.header(spec));
  if (header && !header->as_described) {
    const Status destroyed = sets_.destroy(spec.name);
    if (!destroyed) {
      return Status::error(
          StatusCode::kConflict, "create", "IP set " + spec.name,
          "there is one of another type, and it cannot be removed: " + destroyed.detail());
    }
    header.reset();
  }
  if (!header) {
    RETURN_IF_ERROR(sets_.create(spec, kFirstRoom));
    header = SetHeader{0, kFirstRoom, true};
  }
  of(id).room = spec.type == SetType::kBitmapPort ? ~0U : header->room;
  return {};
}

Status SetTable::create() {
  for (size_t i = 0; i < kSetCount; ++i) RETURN_IF_ERROR(create_one(static_cast<SetId>(i)));
  return {};
}

Status SetTable::load_one(SetId id) {
  const SetSpec spec = describe(id, family_);
  std::vector<SetElement> found;
  Result<std::vector<SetElement>> listed = sets_.elements(spec);
  if (listed) {
    found = std::move(*listed);
  } else if (listed.status().code() != StatusCode::kNotFound) {
    return listed.status();
  }
  Set& set = of(id);
  for (auto& [element, state] : set.elements) state.present = false;
  for (const SetElement& element : found) {
    State& state = set.elements[key_of(element)];
    state.present = true;
    state.present_mark = element.mark;
  }
  set.present = static_cast<uint32_t>(found.size());
  set.touched.clear();
  for (const auto& [element, state] : set.elements) {
    if (!state.right()) set.touched.push_back(element);
  }
  wrong_ += set.touched.size();
  return {};
}

Status SetTable::load() {
  wrong_ = 0;
  for (size_t i = 0; i < kSetCount; ++i) RETURN_IF_ERROR(load_one(static_cast<SetId>(i)));
  return {};
}

Status SetTable::destroy() {
  Status first;
  std::vector<SetSpec> specs;
  SetSpec growing = describe(SetId::kClusterIp, family_);
  growing.name = growing_name();
  specs.push_back(growing);
  // kMarks, by which ours are known, is the last.
  for (size_t i = 0; i < kSetCount; ++i) specs.push_back(describe(static_cast<SetId>(i), family_));
  for (const SetSpec& spec : specs) {
    Status gone = sets_.destroy(spec.name);
    if (gone || gone.code() == StatusCode::kNotFound) continue;
    // Somebody else's rule looks into it: leave it a set without elements.
    const Result<std::vector<SetElement>> elements = sets_.elements(spec);
    if (elements && sets_.remove(spec, *elements)) continue;
    if (first) first = gone;
  }
  table_ = {};
  return first;
}

Result<bool> SetTable::ours() {
  std::optional<SetHeader> header;
  ASSIGN_OR_RETURN(header, sets_.header(describe(SetId::kMarks, family_)));
  return header.has_value();
}

void SetTable::want(SetId id, const SetElement& element) {
  Set& set = of(id);
  State& state = set.elements[key_of(element)];
  ++state.wanted;
  state.wanted_mark = element.mark;
  if (!state.right()) set.touched.push_back(key_of(element));
}

void SetTable::unwant(SetId id, const SetElement& element) {
  Set& set = of(id);
  const auto found = set.elements.find(key_of(element));
  if (found == set.elements.end() || found->second.wanted == 0) return;
  if (--found->second.wanted == 0) set.touched.push_back(found->first);
}

// Fills a larger set under another name and swaps the two.
Status SetTable::grow(SetId id, uint32_t needed, std::span<const SetElement> more) {
  const SetSpec spec = describe(id, family_);
  if (needed > kLargestRoom) {
    return Status::error(StatusCode::kExhausted, "grow", "IP set " + spec.name,
                         std::to_string(needed) + " elements are more than it may have");
  }
  const uint32_t room = std::clamp(std::bit_ceil(needed + needed / 2), kFirstRoom, kLargestRoom);
  SetSpec larger = spec;
  larger.name = growing_name();
  const Status left_behind = sets_.destroy(larger.name);
  if (!left_behind && left_behind.code() != StatusCode::kNotFound) return left_behind;
  RETURN_IF_ERROR(sets_.create(larger, room));
  // What is in the kernel, not what we think is.
  std::vector<SetElement> elements;
  ASSIGN_OR_RETURN(elements, sets_.elements(spec));
  RETURN_IF_ERROR(sets_.add(larger, elements));
  RETURN_IF_ERROR(sets_.add(larger, more));
  RETURN_IF_ERROR(sets_.swap(spec.name, larger.name));
  of(id).room = room;
  ++grown_;
  return sets_.destroy(larger.name);
}

// Halves what is refused until the guilty stand alone. Adding what is there already is harmless.
Status SetTable::add(SetId id, std::vector<SetElement>& elements,
                     std::vector<ElementFailure>& failures) {
  const SetSpec spec = describe(id, family_);
  Set& set = of(id);
  if (set.present + elements.size() > set.room) {
    RETURN_IF_ERROR(grow(id, set.present + static_cast<uint32_t>(elements.size())));
  }
  // An empty record counts as none, half a one would count as a whole one.
  const bool at_once = id == SetId::kNodePortServers && set.present == 0 && elements.size() > 1;
  Status added;
  if (at_once) added = grow(id, static_cast<uint32_t>(elements.size()), elements);
  if (!at_once || !added) added = sets_.add(spec, elements);
  if (added.code() == StatusCode::kExhausted) {
    // There is more in it than we know of.
    std::optional<SetHeader> header;
    ASSIGN_OR_RETURN(header, sets_.header(spec));
    const uint32_t there = header ? header->elements : set.present;
    RETURN_IF_ERROR(grow(id, there + static_cast<uint32_t>(elements.size())));
    added = sets_.add(spec, elements);
  }
  if (!added && elements.size() > 1) {
    const auto middle = elements.begin() + static_cast<ptrdiff_t>(elements.size() / 2);
    std::vector<SetElement> second(middle, elements.end());
    elements.erase(middle, elements.end());
    RETURN_IF_ERROR(add(id, elements, failures));
    return add(id, second, failures);
  }
  for (const SetElement& element : elements) {
    if (!added) {
      failures.push_back({id, element, added});
      continue;
    }
    State& state = set.elements[key_of(element)];
    set.present += state.present ? 0 : 1;
    state.present = true;
    state.present_mark = element.mark;
    ++operations_;
  }
  return {};
}

Status SetTable::push_added(std::vector<ElementFailure>& failures) {
  for (size_t i = 0; i < kSetCount; ++i) {
    const auto id = static_cast<SetId>(i);
    Set& set = of(id);
    std::vector<SetElement> missing;
    for (const SetElement& element : set.touched) {
      const State& state = set.elements[element];
      if (state.wanted == 0 || state.right()) continue;
      SetElement wanted = element;
      wanted.mark = state.wanted_mark;
      missing.push_back(wanted);
    }
    std::sort(missing.begin(), missing.end());
    missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
    if (!missing.empty()) RETURN_IF_ERROR(add(id, missing, failures));
  }
  return {};
}

Status SetTable::push_removed_but(SetId later) {
  for (size_t i = 0; i < kSetCount; ++i) {
    if (static_cast<SetId>(i) != later) RETURN_IF_ERROR(push_removed(static_cast<SetId>(i)));
  }
  return {};
}

Status SetTable::push_removed(SetId id) {
  Set& set = table_[static_cast<size_t>(id)];
  std::vector<SetElement> superfluous;
  for (const SetElement& element : set.touched) {
    const auto found = set.elements.find(element);
    if (found == set.elements.end() || found->second.wanted != 0) continue;
    if (found->second.present) superfluous.push_back(element);
  }
  std::sort(superfluous.begin(), superfluous.end());
  superfluous.erase(std::unique(superfluous.begin(), superfluous.end()), superfluous.end());
  if (!superfluous.empty()) RETURN_IF_ERROR(sets_.remove(describe(id, family_), superfluous));
  for (const SetElement& element : set.touched) {
    const auto found = set.elements.find(element);
    if (found != set.elements.end() && found->second.wanted == 0) set.elements.erase(found);
  }
  set.present -= static_cast<uint32_t>(superfluous.size());
  operations_ += superfluous.size();
  set.touched.clear();
  return {};
}

bool SetTable::present(SetId id, const SetElement& element) const {
  const Set& set = of(id);
  const auto found = set.elements.find(key_of(element));
  return found != set.elements.end() && found->second.present;
}

uint32_t SetTable::present_mark(const SetElement& element) const {
  const Set& set = of(SetId::kMarks);
  const auto found = set.elements.find(key_of(element));
  return found != set.elements.end() && found->second.present ? found->second.present_mark : 0;
}

std::vector<SetElement> SetTable::present_elements(SetId set) const {
  std::vector<SetElement> found;
  for (const auto& [key, state] : of(set).elements) {
    if (!state.present) continue;
    found.push_back(key);
    found.back().mark = state.present_mark;
  }
  return found;
}

std::vector<uint32_t> SetTable::present_marks() const {
  std::vector<uint32_t> marks;
  for (const auto& [element, state] : of(SetId::kMarks).elements) {
    if (state.present) marks.push_back(state.present_mark);
  }
  std::sort(marks.begin(), marks.end());
  marks.erase(std::unique(marks.begin(), marks.end()), marks.end());
  return marks;
}

size_t SetTable::size() const {
  size_t all = 0;
  for (const Set& set : table_) all += set.present;
  return all;
}

}  // namespace fairlead::ipvs
