// Admission: nothing is created in a namespace that is not there or goes away, and the namespaces
// that the cluster itself lives in stay.
//
// Threads: any. The store must outlive it.
#pragma once

#include <functional>

#include "control/apiserver/hooks.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

class NamespaceLifecycle : public Admission {
 public:
  explicit NamespaceLifecycle(store::Store& store) : store_(store) {}

  void admit(Write& write, std::function<void(Outcome<Done0>)> done) override;

 private:
  store::Store& store_;
};

}  // namespace fairlead::apiserver
