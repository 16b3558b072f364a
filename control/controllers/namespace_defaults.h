// What every namespace has from its first moment: the service account "default" and the ConfigMap
// kube-root-ca.crt, by which pods know the API server.
//
// Threads: plan_namespace_defaults() is pure; the controller is the loop's.
#pragma once

#include <string>

#include "control/controllers/controller.h"

namespace fairlead::controllers {

struct NamespaceDefaultsInput {
  ObjectPtr space;         // the namespace; null: none
  ObjectPtr account;       // null: none
  ObjectPtr certificates;  // the ConfigMap; null: none
  std::string root_ca;     // PEM; empty: no ConfigMap is made
};
Plan plan_namespace_defaults(const NamespaceDefaultsInput& input);

class NamespaceDefaultsController final : public Controller {
 public:
  NamespaceDefaultsController(Context context, std::string root_ca);

  void enqueue_all() override;

 protected:
  Plan plan(const std::string& key) override;

 private:
  const std::string root_ca_;
  Informer& spaces_;
  Informer& accounts_;
  Informer& config_maps_;
};

}  // namespace fairlead::controllers
