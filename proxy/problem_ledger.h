// Which objects have something wrong in them now. Says when that is news, so that each problem is
// told once by log, Event and metric, and again only when it changes.
//
// Threads: one owner.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/types.h"
#include "dataplane/model.h"

namespace fairlead::proxy {

class ProblemLedger {
 public:
  // Records what is wrong with an object (nothing: it is fine). Returns the sentence to tell, or an
  // empty string when there is nothing new: "Service default/web: spec.ports[0].port: 0 is not a
  // port".
  std::string update(std::string_view kind, const dataplane::ObjectName& name,
                     const std::vector<api::Problem>& problems);
  void remove(std::string_view kind, const dataplane::ObjectName& name);

  size_t count(std::string_view kind) const;  // objects that are wrong now

 private:
  std::map<std::pair<std::string, dataplane::ObjectName>, std::string> told_;
  std::map<std::string, size_t, std::less<>> counts_;
};

}  // namespace fairlead::proxy
