#include "control/controllers/service_pods.h"

#include <set>
#include <utility>

#include "control/controllers/objects.h"
#include "control/controllers/pods.h"

namespace fairlead::controllers {

namespace {

std::string term(std::string_view space, std::string_view label, std::string_view value) {
  std::string made;
  made.append(space).append("/").append(label).append("=").append(value);
  return made;
}

}  // namespace

ServicePods::ServicePods(Informers& informers)
    : services_(informers.of(resource("", "v1", "services"))),
      pods_(informers.of(resource("", "v1", "pods"))) {
  pods_by_label_ = pods_.add_index([](const Value& pod, std::vector<std::string>* keys) {
    for (const schema::Member& label : pod.get("metadata").get("labels").members()) {
      keys->push_back(term(space_of(pod), label.key, label.value.as_string()));
    }
  });
  pods_by_node_ = pods_.add_index([](const Value& pod, std::vector<std::string>* keys) {
    const std::string_view node = pod.get("spec").get("nodeName").as_string();
    if (!node.empty()) keys->emplace_back(node);
  });
  services_by_term_ = services_.add_index([](const Value& service, std::vector<std::string>* keys) {
    const auto selector = service.get("spec").get("selector").members();
    if (selector.empty()) return;
    keys->push_back(term(space_of(service), selector[0].key, selector[0].value.as_string()));
  });
  services_.add_handler(
      [this](const ObjectPtr& before, const ObjectPtr& after) { service_changed(before, after); });
  pods_.add_handler(
      [this](const ObjectPtr& before, const ObjectPtr& after) { pod_changed(before, after); });
}

void ServicePods::on_change(Visit visit) {
  listeners_.push_back(std::move(visit));
}

std::vector<ObjectPtr> ServicePods::pods_of(const Value& service) const {
  const Value& selector = service.get("spec").get("selector");
  if (selector.empty()) return {};
  // The rarest of its terms.
  std::string rarest;
  size_t fewest = 0;
  for (const schema::Member& member : selector.members()) {
    std::string key = term(space_of(service), member.key, member.value.as_string());
    const size_t size = pods_.index_size(pods_by_label_, key);
    if (size == 0) return {};
    if (rarest.empty() || size < fewest) {
      rarest = std::move(key);
      fewest = size;
    }
  }
  const schema::LabelSelector wanted = schema::LabelSelector::from_map(selector);
  std::vector<ObjectPtr> found;
  for (ObjectPtr& pod : pods_.by_index(pods_by_label_, rarest)) {
    if (wanted.matches(pod->get("metadata").get("labels"))) found.push_back(std::move(pod));
  }
  return found;
}

void ServicePods::for_services_on_node(std::string_view node, const Visit& visit) const {
  std::set<std::string> found;
  for (const ObjectPtr& pod : pods_.by_index(pods_by_node_, std::string(node))) {
    for_services_of(*pod, [&](const std::string& service) { found.insert(service); });
  }
  for (const std::string& service : found) visit(service);
}

void ServicePods::for_services_of(const Value& pod, const Visit& visit) const {
  const Value& labels = pod.get("metadata").get("labels");
  for (const schema::Member& label : labels.members()) {
    for (const ObjectPtr& service : services_.by_index(
             services_by_term_, term(space_of(pod), label.key, label.value.as_string()))) {
      const std::string key = key_of(*service);
      const auto selector = selectors_.find(key);
      if (selector != selectors_.end() && selector->second.matches(labels)) visit(key);
    }
  }
}

void ServicePods::service_changed(const ObjectPtr& before, const ObjectPtr& after) {
  const std::string key = key_of(after ? *after : *before);
  if (after) {
    selectors_[key] = schema::LabelSelector::from_map(after->get("spec").get("selector"));
  } else {
    selectors_.erase(key);
  }
  tell(key);
}

void ServicePods::pod_changed(const ObjectPtr& before, const ObjectPtr& after) {
  if (before && after && !is_endpoint_change(*before, *after)) return;
  const Visit visit = [this](const std::string& service) { tell(service); };
  if (before) for_services_of(*before, visit);
  if (after) for_services_of(*after, visit);
}

void ServicePods::tell(const std::string& service_key) const {
  for (const Visit& listener : listeners_) listener(service_key);
}

}  // namespace fairlead::controllers
