// What the API server says now of Services and EndpointSlices, and which services changed since
// last asked.
//
// Keeps converted objects only. A slice counts for the service that its label names, whether that
// service exists yet or not.
//
// Threads: one owner (the sync thread).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/model.h"
#include "proxy/objects.h"

namespace fairlead::proxy {

class Tracker {
 public:
  Tracker();
  ~Tracker();

  void put_service(dataplane::Service service);
  void remove_service(const dataplane::ObjectName& name);
  void put_slice(Slice slice);
  void remove_slice(const std::string& name_space, const std::string& name);
  // Everything depends on the zone when anything has hints, and on the view: marks all as changed.
  void mark_all();

  // The services that changed, each once, in name order; forgets them.
  std::vector<dataplane::ObjectName> take_changed();
  bool has_changed() const;

  const dataplane::Service* service(const dataplane::ObjectName& name) const;  // null: none
  // The endpoints of a service over all of its slices: one group for each (port name, protocol,
  // family), one endpoint for each target; of copies, a local one is preferred, then a ready one.
  std::vector<dataplane::EndpointGroup> groups(const dataplane::ObjectName& name,
                                               const ZoneHints& hints, std::string_view zone) const;
  // Trigger times of the service's slices that came since the last call for it; forgets them.
  std::vector<int64_t> take_trigger_times(const dataplane::ObjectName& name);

  size_t services() const;
  size_t slices() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fairlead::proxy
