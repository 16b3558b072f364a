// All sets of one family: which elements are wanted, by how many, and which are in the kernel.
//
// want() and unwant() only count; the push functions bring the kernel in step with what was touched
// since. A set that is about to overflow is replaced by a larger one: it is filled under another
// name and swapped, so that the rules never look into a half of it.
//
// Threads: one owner.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "ipvs/layout.h"
#include "ipvs/sets.h"

namespace fairlead::ipvs {

struct ElementFailure {
  SetId set = SetId::kCount;
  SetElement element;
  Status status;
};

class SetTable {
 public:
  // Precondition: `sets` outlives it.
  SetTable(Sets& sets, dataplane::Family family) : sets_(sets), family_(family) {}

  // Creates the sets that are missing. kConflict: somebody's rules use a set of our name that is
  // something else.
  Status create();
  // Reads what is in the kernel; everything counts as touched. Sets that do not exist are empty.
  Status load();
  // Destroys them all; sets that rules still use are emptied.
  Status destroy();

  // Is there a set that only Fairlead makes?
  Result<bool> ours();

  void want(SetId set, const SetElement& element);
  void unwant(SetId set, const SetElement& element);  // precondition: wanted

  // Adds what is wanted and not there; what the kernel refuses goes to `failures`.
  Status push_added(std::vector<ElementFailure>& failures);
  // Removes what is there and not wanted: from all sets but `later`, and from that one.
  Status push_removed_but(SetId later);
  Status push_removed(SetId id);

  bool present(SetId set, const SetElement& element) const;
  bool empty(SetId set) const { return of(set).present == 0; }
  std::vector<SetElement> present_elements(SetId set) const;  // with their marks
  uint32_t present_mark(const SetElement& element) const;     // in kMarks; 0: none
  std::vector<uint32_t> present_marks() const;

  size_t size() const;  // elements in the kernel
  uint64_t operations() const { return operations_; }
  uint64_t grown() const { return grown_; }
  uint64_t wrong() const { return wrong_; }  // elements that the last load() found amiss

 private:
  struct Hash {
    size_t operator()(const SetElement& element) const;
  };
  struct State {
    uint32_t wanted = 0;
    bool present = false;
    uint32_t wanted_mark = 0;
    uint32_t present_mark = 0;

    bool right() const { return present == (wanted != 0) && (!present || mark_is_right()); }
    bool mark_is_right() const { return wanted_mark == present_mark; }
  };
  struct Set {
    boost::unordered_flat_map<SetElement, State, Hash> elements;  // keys without marks
    std::vector<SetElement> touched;
    uint32_t room = 0;
    uint32_t present = 0;
  };

  Set& of(SetId set) { return table_[static_cast<size_t>(set)]; }
  const Set& of(SetId set) const { return table_[static_cast<size_t>(set)]; }
  std::string growing_name() const {
    return family_ == dataplane::Family::kIPv4 ? "FAIRLEAD-GROWING" : "FAIRLEAD-6-GROWING";
  }
  Status create_one(SetId id);
  Status load_one(SetId id);
  // `more`: elements that come in with the swap.
  Status grow(SetId id, uint32_t needed, std::span<const SetElement> more = {});
  Status add(SetId id, std::vector<SetElement>& elements, std::vector<ElementFailure>& failures);

  Sets& sets_;
  const dataplane::Family family_;
  std::array<Set, kSetCount> table_;
  uint64_t operations_ = 0;
  uint64_t grown_ = 0;
  uint64_t wrong_ = 0;
};

}  // namespace fairlead::ipvs
