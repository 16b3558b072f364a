// Defaults: the rows lead to fields, and objects get what kube-apiserver gives them.
#include "control/schema/defaults.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "control/schema/default_rules.h"
#include "tests/unit/schema/random_object.h"
#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

std::string defaulted(std::string_view type, std::string_view text) {
  Document document = object_of(type, text);
  apply_defaults(document, *find_type(type));
  return to_json(document.root);
}

TEST(Defaults, RowsLeadToFields) {
  for (const DefaultRow& row : default_rows()) {
    const Type* type = find_type(row.type);
    ASSERT_TRUE(type) << row.type;
    std::string_view rest = row.path;
    while (!rest.empty()) {
      const size_t dot = std::min(rest.find('.'), rest.size());
      const Field* field = type->find(rest.substr(0, dot));
      ASSERT_TRUE(field) << row.type << ' ' << row.path;
      type = field->shape->type;
      rest.remove_prefix(std::min(dot + 1, rest.size()));
    }
  }
  for (const DefaultHookRow& row : default_hooks()) ASSERT_TRUE(find_type(row.type)) << row.type;
}

TEST(Defaults, OfObjects) {
  for (const Case& c : std::initializer_list<Case>{
           {"core.v1.PodSpec", "{containers: [{name: a, image: nginx}]}",
            "{containers: [{image: nginx, imagePullPolicy: Always, name: a, resources: {}, "
            "terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}], "
            "dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, "
            "securityContext: {}, terminationGracePeriodSeconds: 30}"},
           {"core.v1.Probe", "{httpGet: {port: 80}}",
            "{failureThreshold: 3, httpGet: {path: /, port: 80, scheme: HTTP}, periodSeconds: 10, "
            "successThreshold: 1, timeoutSeconds: 1}"},
           {"core.v1.Volume", "{name: a}", "{emptyDir: {}, name: a}"},
           {"core.v1.Volume", "{name: a, secret: {secretName: b}}",
            "{name: a, secret: {defaultMode: 420, secretName: b}}"},
           {"core.v1.ServiceSpec", "{ports: [{port: 80}], selector: {a: b}}",
            "{internalTrafficPolicy: Cluster, ports: [{port: 80, protocol: TCP, targetPort: 80}], "
            "selector: {a: b}, sessionAffinity: None, type: ClusterIP}"},
           {"core.v1.ServiceSpec", "{type: LoadBalancer, sessionAffinity: ClientIP}",
            "{allocateLoadBalancerNodePorts: true, externalTrafficPolicy: Cluster, "
            "internalTrafficPolicy: Cluster, sessionAffinity: ClientIP, sessionAffinityConfig: "
            "{clientIP: {timeoutSeconds: 10800}}, type: LoadBalancer}"},
           {"core.v1.ServiceSpec", "{type: ExternalName, externalName: a.b}",
            "{externalName: a.b, sessionAffinity: None, type: ExternalName}"},
           {"apps.v1.DeploymentSpec", "{strategy: {type: Recreate}, template: {}}",
            "{progressDeadlineSeconds: 600, replicas: 1, revisionHistoryLimit: 10, strategy: "
            "{type: "
            "Recreate}, template: {metadata: {}, spec: {dnsPolicy: ClusterFirst, restartPolicy: "
            "Always, schedulerName: default-scheduler, securityContext: {}, "
            "terminationGracePeriodSeconds: 30}}}"},
           {"apps.v1.DeploymentStrategy", "{type: Recreate}", "{type: Recreate}"},
           {"networking.v1.NetworkPolicySpec", "{podSelector: {}, egress: [{}]}",
            "{egress: [{}], podSelector: {}, policyTypes: [Ingress, Egress]}"},
           {"rbac.v1.RoleRef", "{kind: Role, name: a}",
            "{apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}"},
           {"core.v1.LimitRangeItem", "{type: Container, max: {cpu: 1}}",
            "{default: {cpu: '1'}, defaultRequest: {cpu: '1'}, max: {cpu: '1'}, type: "
            "Container}"}}) {
    EXPECT_EQ(defaulted(c.type, c.text), json_of(c.expected)) << c.text;
  }
}

TEST(Defaults, PodsAskForTheirLimits) {
  const std::string pod = defaulted(
      "core.v1.Pod",
      "{spec: {serviceAccountName: s, hostNetwork: true, containers: [{name: a, image: 'r:5/a:1', "
      "ports: [{containerPort: 80}], resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: "
      "500m}}}]}}");
  for (const std::string_view part :
       {R"("requests":{"cpu":"500m","memory":"1Gi"})", R"("hostPort":80)",
        R"("enableServiceLinks":true)", R"("imagePullPolicy":"IfNotPresent")",
        R"("serviceAccount":"s")", R"("phase":"Pending")"}) {
    EXPECT_NE(pod.find(part), std::string::npos) << part << ' ' << pod;
  }
}

TEST(Defaults, ChangeNothingTheSecondTime) {
  for (const Type& type : all_types()) {
    Document document;
    document.root = RandomObject(7, document.arena).of(type);
    ASSERT_TRUE(conform(document, *type.shape, Conform::kObject, nullptr).ok()) << type.name;
    apply_defaults(document, type);
    const std::string once = to_json(document.root);
    apply_defaults(document, type);
    EXPECT_EQ(first_difference(to_json(document.root), once), "") << type.name;
    ASSERT_TRUE(conform(document, *type.shape, Conform::kObject, nullptr).ok()) << type.name;
    EXPECT_EQ(first_difference(to_json(document.root), once), "") << type.name;
  }
}

}  // namespace
}  // namespace fairlead::schema
