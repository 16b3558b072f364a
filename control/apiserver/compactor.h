// Forgets old history: nobody else calls compact().
//
// Of several servers over one store, one forgets history at a time: whoever moves the mark in
// /coordination/compaction first.
//
// Threads: one owner. The store must outlive it.
#pragma once

#include "control/store/store.h"

namespace fairlead::apiserver {

// Moves the mark and forgets what is older than the last call's state. Blocks.
class Compactor {
 public:
  explicit Compactor(store::Store& store) : store_(store) {}
  Status run();

 private:
  store::Store& store_;
  store::Revision mark_revision_ = 0;  // of the mark as last seen; 0: none
  store::Revision then_ = 0;           // the store's at the last call
};

}  // namespace fairlead::apiserver
