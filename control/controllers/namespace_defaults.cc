#include "control/controllers/namespace_defaults.h"

#include <utility>

#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

constexpr std::string_view kAccount = "default";
constexpr std::string_view kCertificates = "kube-root-ca.crt";
constexpr std::string_view kCertificateKey = "ca.crt";
constexpr std::string_view kDescriptionKey = "kubernetes.io/description";
constexpr std::string_view kDescription =
    "The certificates by which clients inside the cluster verify the API server at its internal "
    "addresses.";

}  // namespace

Plan plan_namespace_defaults(const NamespaceDefaultsInput& input) {
  Plan plan;
  if (!input.space || is_terminating(*input.space)) return plan;
  const std::string space(name_of(*input.space));
  if (!input.account) {
    const schema::Resource& row = resource("", "v1", "serviceaccounts");
    Write write;
    write.what = {&row, space, std::string(kAccount)};
    write.body = new_object(row, space, kAccount);
    plan.writes.push_back(std::move(write));
  }
  if (input.root_ca.empty()) return plan;
  if (input.certificates) {
    const Value& data = input.certificates->get("data");
    const Value& annotations = input.certificates->get("metadata").get("annotations");
    if (data.size() == 1 && data.get(kCertificateKey).as_string() == input.root_ca &&
        annotations.get(kDescriptionKey).as_string() == kDescription) {
      return plan;
    }
  }
  const schema::Resource& row = resource("", "v1", "configmaps");
  Write write;
  write.verb = input.certificates ? Write::Verb::kUpdate : Write::Verb::kCreate;
  write.what = {&row, space, std::string(kCertificates)};
  write.body =
      input.certificates ? copy_of(*input.certificates) : new_object(row, space, kCertificates);
  Arena& arena = write.body.arena;
  write.body.root.ensure(arena, "metadata.annotations")
      .set(arena, kDescriptionKey, Value::string(kDescription));
  Value data = Value::object();
  data.append(arena, kCertificateKey, text(arena, input.root_ca));
  write.body.root.set(arena, "data", data);
  plan.writes.push_back(std::move(write));
  return plan;
}

NamespaceDefaultsController::NamespaceDefaultsController(Context context, std::string root_ca)
    : Controller(context, "namespace-defaults"),
      root_ca_(std::move(root_ca)),
      spaces_(needs(resource("", "v1", "namespaces"))),
      accounts_(needs(resource("", "v1", "serviceaccounts"))),
      config_maps_(needs(resource("", "v1", "configmaps"))) {
  spaces_.add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
    enqueue(std::string(name_of(after ? *after : *before)));
  });
  for (Informer* informer : {&accounts_, &config_maps_}) {
    informer->add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
      const Value& object = after ? *after : *before;
      if (name_of(object) == kAccount || name_of(object) == kCertificates) {
        enqueue(std::string(space_of(object)));
      }
    });
  }
}

void NamespaceDefaultsController::enqueue_all() {
  spaces_.for_each([this](const ObjectPtr& space) { enqueue(std::string(name_of(*space))); });
}

Plan NamespaceDefaultsController::plan(const std::string& key) {
  NamespaceDefaultsInput input;
  input.space = spaces_.get("", key);
  input.account = accounts_.get(key, kAccount);
  input.certificates = config_maps_.get(key, kCertificates);
  input.root_ca = root_ca_;
  return plan_namespace_defaults(input);
}

}  // namespace fairlead::controllers
