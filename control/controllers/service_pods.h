// Which pods a Service selects and which Services select a pod, by indexes over both.
//
// Finding either costs what is found, not what there is: pods are indexed by each of their labels,
// services by one term of their selector.
//
// Threads: the loop's.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/controllers/informer.h"
#include "control/schema/selector.h"

namespace fairlead::controllers {

class ServicePods {
 public:
  using Visit = std::function<void(const std::string& service_key)>;

  explicit ServicePods(Informers& informers);

  // Called with each service whose endpoints may be others now, or that is gone.
  void on_change(Visit visit);
  // Empty for a service without selector.
  std::vector<ObjectPtr> pods_of(const schema::Value& service) const;
  void for_services_on_node(std::string_view node, const Visit& visit) const;

  Informer& services() const { return services_; }
  Informer& pods() const { return pods_; }

 private:
  void for_services_of(const schema::Value& pod, const Visit& visit) const;
  void service_changed(const ObjectPtr& before, const ObjectPtr& after);
  void pod_changed(const ObjectPtr& before, const ObjectPtr& after);
  void tell(const std::string& service_key) const;

  Informer& services_;
  Informer& pods_;
  size_t pods_by_label_;
  size_t pods_by_node_;
  size_t services_by_term_;
  std::unordered_map<std::string, schema::LabelSelector> selectors_;  // by service key
  std::vector<Visit> listeners_;
};

}  // namespace fairlead::controllers
