// Validation: objects that are fine, and each thing that is not, in the API's words.
#include "control/schema/validate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "control/schema/defaults.h"
#include "control/schema/names.h"
#include "control/schema/validation_rules.h"
#include "tests/unit/schema/random_object.h"
#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

// A complete object from its interesting part: apiVersion, kind and what follows.
Document complete(std::string_view text, const Resource** resource) {
  Document document = parsed(text);
  *resource =
      find_kind(document.root.get("apiVersion").as_string(), document.root.get("kind").as_string());
  EXPECT_TRUE(*resource) << text;
  const Type& type = *(*resource)->type();
  if (!document.root.at("metadata.name").is_string()) {
    document.root.ensure(document.arena, "metadata")
        .set(document.arena, "name", Value::string("a"));
  }
  if ((*resource)->namespaced) {
    document.root.ensure(document.arena, "metadata")
        .set(document.arena, "namespace", Value::string("default"));
  }
  const Status status = conform(document, *type.shape, Conform::kObject, nullptr);
  EXPECT_TRUE(status.ok()) << status.message();
  apply_defaults(document, type);
  return document;
}

std::string joined_errors(const std::vector<FieldError>& errors) {
  std::string text;
  for (const FieldError& error : errors) text += (text.empty() ? "" : " | ") + error.to_string();
  return text;
}

std::string created(std::string_view text) {
  const Resource* resource = nullptr;
  const Document object = complete(text, &resource);
  return joined_errors(validate_create(object.root, *resource));
}

std::string updated(std::string_view old_text, std::string_view text,
                    std::string_view subresource = {}) {
  const Resource* resource = nullptr;
  const Document old = complete(old_text, &resource);
  const Document object = complete(text, &resource);
  return joined_errors(validate_update(object.root, old.root, *resource, subresource));
}

TEST(Validate, RowsLeadToFields) {
  const auto leads = [](std::string_view type_name, std::string_view path) {
    const Type* type = find_type(type_name);
    while (type && !path.empty()) {
      const size_t dot = std::min(path.find('.'), path.size());
      const Field* field = type->find(path.substr(0, dot));
      if (!field) return false;
      if (field->shape->kind == Kind::kMap) return true;
      type = field->shape->type;
      path.remove_prefix(std::min(dot + 1, path.size()));
    }
    return path.empty();
  };
  for (const CheckRow& row : check_rows()) {
    EXPECT_TRUE(leads(row.type, row.field)) << row.type << ' ' << row.field;
    if (row.check == Check::kEnum && row.argument.find('.') != std::string_view::npos) {
      EXPECT_TRUE(find_enum(row.argument)) << row.argument;
    }
  }
  for (const ImmutableRow& row : immutable_rows()) {
    EXPECT_TRUE(leads(row.type, row.field)) << row.type << ' ' << row.field;
  }
}

TEST(Validate, GoodObjectsPass) {
  for (const std::string_view text :
       {"{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: i, ports: "
        "[{containerPort: 80, name: "
        "http}], volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v}]}}",
        "{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}], selector: {a: b}}}",
        "{apiVersion: v1, kind: Service, spec: {clusterIP: None, selector: {a: b}}}",
        "{apiVersion: v1, kind: Service, spec: {type: ExternalName, externalName: example.com}}",
        "{apiVersion: apps/v1, kind: Deployment, spec: {selector: {matchLabels: {a: b}}, template: "
        "{metadata: "
        "{labels: {a: b}}, spec: {containers: [{name: a, image: i}]}}}}",
        "{apiVersion: apps/v1, kind: DaemonSet, spec: {selector: {matchLabels: {a: b}}, template: "
        "{metadata: "
        "{labels: {a: b}}, spec: {containers: [{name: a, image: i}]}}}}",
        "{apiVersion: apps/v1, kind: StatefulSet, spec: {selector: {matchLabels: {a: b}}, "
        "serviceName: s, template: "
        "{metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: i}]}}}}",
        "{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {restartPolicy: Never, "
        "containers: [{name: a, image: i}]}}}}",
        "{apiVersion: batch/v1, kind: CronJob, spec: {schedule: '*/5 0-12,23 * jan-mar mon', "
        "jobTemplate: {spec: "
        "{template: {spec: {restartPolicy: OnFailure, containers: [{name: a, image: i}]}}}}}}",
        "{apiVersion: v1, kind: ConfigMap, data: {a.b_c-d: x}}",
        "{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, data: {tls.crt: '', tls.key: ''}}",
        "{apiVersion: v1, kind: Namespace}",
        "{apiVersion: v1, kind: Node, spec: {podCIDRs: [10.0.0.0/24]}}",
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv6, endpoints: "
        "[{addresses: ['2001:db8::1']}], "
        "ports: [{name: a, port: 80}]}",
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {rules: [{host: '*.example.com', "
        "http: {paths: [{path: "
        "/, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}}",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, ingress: "
        "[{from: [{ipBlock: {cidr: "
        "10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80, endPort: 90}]}]}}",
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: 'a:B'}, "
        "roleRef: {kind: Role, name: r}, "
        "subjects: [{kind: User, name: u}]}",
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, rules: [{verbs: [get], "
        "nonResourceURLs: [/a]}]}",
        "{apiVersion: v1, kind: PersistentVolumeClaim, spec: {accessModes: [ReadWriteOnce], "
        "resources: {requests: {storage: 1Gi}}}}",
        "{apiVersion: v1, kind: PersistentVolume, spec: {accessModes: [ReadWriteOnce], capacity: "
        "{storage: 1Gi}, hostPath: {path: /a}}}",
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {maxReplicas: 3, "
        "scaleTargetRef: {kind: Deployment, name: a}}}",
        "{apiVersion: policy/v1, kind: PodDisruptionBudget, spec: {minAvailable: 50%, selector: "
        "{}}}",
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: p}",
        "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 1000}",
        "{apiVersion: coordination.k8s.io/v1, kind: Lease}"}) {
    EXPECT_EQ(created(text), "") << text;
  }
}

TEST(Validate, WhatIsWrong) {
  struct Row {
    std::string_view text;
    std::string_view error;  // is among the errors
  };
  const auto pod = [](std::string_view spec) {
    return "{apiVersion: v1, kind: Pod, spec: {" + std::string(spec) + "}}";
  };
  const std::string no_container = pod("");
  const std::string no_image = pod("containers: [{name: a}]");
  const std::string bad_name = pod("containers: [{name: A_b, image: i}]");
  const std::string twice = pod("containers: [{name: a, image: i}, {name: a, image: i}]");
  const std::string port =
      pod("containers: [{name: a, image: i, ports: [{containerPort: 70000}]}]");
  const std::string mount =
      pod("containers: [{name: a, image: i, volumeMounts: [{name: v, mountPath: /v}]}]");
  const std::string pull = pod("containers: [{name: a, image: i, imagePullPolicy: Sometimes}]");
  const std::string request =
      pod("containers: [{name: a, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]");
  const std::string probe = pod("containers: [{name: a, image: i, livenessProbe: {}}]");
  const std::string toleration =
      pod("tolerations: [{operator: Equal}], containers: [{name: a, image: i}]");
  for (
      const Row& row : std::initializer_list<Row>{
          {no_container, "spec.containers: Required value"},
          {no_image, "spec.containers[0].image: Required value"},
          {bad_name,
           "spec.containers[0].name: Invalid value: \"A_b\": a lowercase RFC 1123 label must "
           "consist of"},
          {twice, "spec.containers[1].name: Duplicate value: \"a\""},
          {port,
           "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and "
           "65535, inclusive"},
          {mount, "spec.containers[0].volumeMounts[0].name: Not found: \"v\""},
          {pull,
           "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported "
           "values: \"Always\", "
           "\"IfNotPresent\", \"Never\""},
          {request,
           "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or "
           "equal to cpu limit of 1"},
          {probe, "spec.containers[0].livenessProbe: Required value: must specify a handler type"},
          {toleration,
           "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when "
           "`key` is empty"},
          {"{apiVersion: v1, kind: ConfigMap, metadata: {name: A}}",
           "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of"},
          {"{apiVersion: v1, kind: ConfigMap, metadata: {labels: {'-a': b}}}",
           "metadata.labels: Invalid value: \"-a\": name part must consist of"},
          {"{apiVersion: v1, kind: ConfigMap, metadata: {labels: {a: '-b'}}}",
           "metadata.labels: Invalid value: \"-b\": a valid label must be an empty string"},
          {"{apiVersion: v1, kind: ConfigMap, metadata: {ownerReferences: [{kind: a, name: b, "
           "apiVersion: c}]}}",
           "metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty"},
          {"{apiVersion: v1, kind: Namespace, metadata: {namespace: a}}",
           "metadata.namespace: Forbidden: not allowed on this type"},
          {"{apiVersion: v1, kind: ConfigMap, data: {'a b': x}}",
           "data[a b]: Invalid value: \"a b\": a valid config key"},
          {"{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, data: {tls.crt: ''}}",
           "data[tls.key]: Required value"},
          {"{apiVersion: v1, kind: Service, metadata: {name: 1a}, spec: {ports: [{port: 80}]}}",
           "metadata.name: Invalid value: \"1a\": a DNS-1035 label must consist of"},
          {"{apiVersion: v1, kind: Service, spec: {}}", "spec.ports: Required value"},
          {"{apiVersion: v1, kind: Service, spec: {type: Foo, ports: [{port: 80}]}}",
           "spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", "
           "\"ExternalName\", \"LoadBalancer\", \"NodePort\""},
          {"{apiVersion: v1, kind: Service, spec: {ports: [{port: 80, nodePort: 30000}]}}",
           "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"},
          {"{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}, {port: 81}]}}",
           "spec.ports[1].name: Required value"},
          {"{apiVersion: v1, kind: Service, spec: {type: ExternalName}}",
           "spec.externalName: Required value"},
          {"{apiVersion: v1, kind: Service, spec: {clusterIP: x, ports: [{port: 80}]}}",
           "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address"},
          {"{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: "
           "a, image: i}]}}}}",
           "spec.selector: Required value"},
          {"{apiVersion: apps/v1, kind: Deployment, spec: {selector: {matchLabels: {a: b}}, "
           "template: {spec: {containers: [{name: a, image: i}]}}}}",
           "spec.template.metadata.labels: Invalid value: null: `selector` does not match template "
           "`labels`"},
          {"{apiVersion: apps/v1, kind: Deployment, spec: {replicas: -1, selector: {matchLabels: "
           "{a: b}}, template: {}}}",
           "spec.replicas: Invalid value: -1: must be greater than or equal to 0"},
          {"{apiVersion: apps/v1, kind: ReplicaSet, spec: {selector: {matchLabels: {a: b}}, "
           "template: {metadata: {labels: {a: b}}, spec: "
           "{restartPolicy: Never, containers: [{name: a, image: i}]}}}}",
           "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: "
           "\"Always\""},
          {"{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {containers: [{name: a, "
           "image: i}]}}}}",
           "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", "
           "\"Never\""},
          {"{apiVersion: batch/v1, kind: CronJob, spec: {schedule: '* * *', jobTemplate: {}}}",
           "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3"},
          {"{apiVersion: batch/v1, kind: CronJob, spec: {schedule: '* 25 * * *', jobTemplate: {}}}",
           "spec.schedule: Invalid value:"},
          {"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: "
           "[{addresses: [x]}]}",
           "endpoints[0].addresses[0]: Invalid value: \"x\": must be a valid IPv4 address"},
          {"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice}", "addressType: Required value"},
          {"{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {}}",
           "spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"},
          {"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, "
           "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}}",
           "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a "
           "strict subset of `10.0.0.0/8`"},
          {"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, rules: [{verbs: [get]}]}",
           "rules[0].apiGroups: Required value: resource rules must supply at least one api group"},
          {"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, roleRef: {kind: Foo, "
           "name: a}}",
           "roleRef.kind: Unsupported value: \"Foo\": supported values: \"ClusterRole\", \"Role\""},
          {"{apiVersion: v1, kind: PersistentVolumeClaim, spec: {accessModes: [ReadWriteOnce]}}",
           "spec.resources[storage]: Required value"},
          {"{apiVersion: v1, kind: PersistentVolume, spec: {accessModes: [ReadWriteOnce], "
           "capacity: {storage: 1Gi}}}",
           "spec: Required value: must specify a volume type"},
          {"{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {minReplicas: 3, "
           "maxReplicas: 2, scaleTargetRef: {kind: a, name: b}}}",
           "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"},
          {"{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 2000000000}",
           "value: Forbidden: maximum allowed value"},
          {"{apiVersion: v1, kind: Event, involvedObject: {namespace: other}}",
           "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"}}) {
    EXPECT_NE(created(row.text).find(row.error), std::string::npos) << row.text << '\n'
                                                                    << created(row.text);
  }
}

TEST(Validate, WhatMustNotChange) {
  struct Row {
    std::string_view old;
    std::string_view now;
    std::string_view error;
  };
  const std::string container = "containers: [{name: a, image: i}]";
  const std::string workload =
      ", template: {metadata: {labels: {a: b, c: d}}, spec: {" + container + "}}}}";
  const std::string pod = "{apiVersion: v1, kind: Pod, spec: {" + container + "}}";
  const std::string pod_image =
      "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: j, imagePullPolicy: "
      "Always}]}}";
  const std::string pod_args =
      "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: i, args: [x]}]}}";
  const std::string deployment =
      "{apiVersion: apps/v1, kind: Deployment, spec: {selector: {matchLabels: {a: b}}" + workload;
  const std::string other =
      "{apiVersion: apps/v1, kind: Deployment, spec: {selector: {matchLabels: {c: d}}" + workload;
  const std::string set =
      "{apiVersion: apps/v1, kind: StatefulSet, spec: {serviceName: a, selector: {matchLabels: {a: "
      "b}}" +
      workload;
  const std::string renamed =
      "{apiVersion: apps/v1, kind: StatefulSet, spec: {serviceName: b, selector: {matchLabels: {a: "
      "b}}" +
      workload;
  for (const Row& row : std::initializer_list<Row>{
           {pod, pod, ""},
           {pod, pod_image, ""},
           {pod, pod_args, "spec: Forbidden: pod updates may not change fields other than"},
           {deployment, deployment, ""},
           {deployment, other,
            "spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable"},
           {set, renamed,
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas'"},
           {"{apiVersion: v1, kind: ConfigMap, immutable: true, data: {a: b}}",
            "{apiVersion: v1, kind: ConfigMap, immutable: true, data: {a: c}}",
            "data: Forbidden: field is immutable when `immutable` is set"},
           {"{apiVersion: v1, kind: Secret}", "{apiVersion: v1, kind: Secret, type: x}",
            "type: Invalid value: \"x\": field is immutable"},
           {"{apiVersion: v1, kind: ConfigMap, metadata: {uid: a}}",
            "{apiVersion: v1, kind: ConfigMap, metadata: {uid: b}}",
            "metadata.uid: Invalid value: \"b\": field is immutable"},
           {"{apiVersion: v1, kind: Service, spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}}",
            "{apiVersion: v1, kind: Service, spec: {clusterIP: 10.0.0.2, ports: [{port: 80}]}}",
            "spec.clusterIPs[0]: Invalid value: \"10.0.0.2\": may not change once set"},
           {"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, roleRef: {kind: Role, "
            "name: a}}",
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, roleRef: {kind: Role, "
            "name: b}}",
            "cannot change roleRef"}}) {
    const std::string errors = updated(row.old, row.now);
    if (row.error.empty()) {
      EXPECT_EQ(errors, "") << row.now;
    } else {
      EXPECT_NE(errors.find(row.error), std::string::npos) << row.now << '\n' << errors;
    }
  }
}

TEST(Validate, WhatPodsMustNotChange) {
  const auto pod = [](std::string_view spec) {
    return fmt::format(
        "{{apiVersion: v1, kind: Pod, spec: {{{}{}containers: [{{name: a, image: "
        "i}}]}}}}",
        spec, spec.empty() ? "" : ", ");
  };
  struct Row {
    std::string_view old;
    std::string_view now;
    std::string_view subresource;
    std::string_view error;  // empty: none
  };
  constexpr std::string_view kOther = "spec: Forbidden: pod updates may not change fields other";
  constexpr std::string_view kOne = "ephemeralContainers: [{name: e, image: i}]";
  constexpr std::string_view kImage = "ephemeralContainers: [{name: e, image: j}]";
  constexpr std::string_view kTwo =
      "ephemeralContainers: [{name: e, image: i}, {name: f, image: i}]";
  constexpr std::string_view kNew =
      "spec.schedulingGates[0]: Forbidden: only deletion is allowed, but found new scheduling gate "
      "'g/c'";
  for (const Row& row : std::initializer_list<Row>{
           {"", "nodeName: node1", "", kOther},
           {"nodeName: node1", "nodeName: node2", "", kOther},
           {"nodeName: node1", "nodeName: node1", "", ""},
           {"schedulingGates: [{name: g/a}, {name: g/b}]", "schedulingGates: [{name: g/b}]", "",
            ""},
           {"schedulingGates: [{name: g/a}, {name: g/b}]", "schedulingGates: [{name: g/c}]", "",
            kNew},
           {"", "schedulingGates: [{name: g/c}]", "", kNew},
           {"schedulingGates: [{name: g/a}]", "", "", ""},
           {"", kOne, "", kOther},
           {kOne, kImage, "", kOther},
           {kOne, kTwo, "", kOther},
           {"", kOne, "ephemeralcontainers", ""},
           {kOne, kTwo, "ephemeralcontainers", ""},
           {kOne, kImage, "ephemeralcontainers",
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be "
            "changed"},
           {kTwo, kOne, "ephemeralcontainers",
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"f\" may not be "
            "removed"}}) {
    const std::string errors = updated(pod(row.old), pod(row.now), row.subresource);
    if (row.error.empty()) {
      EXPECT_EQ(errors, "") << row.old << " to " << row.now;
    } else {
      EXPECT_NE(errors.find(row.error), std::string::npos) << row.old << " to " << row.now << '\n'
                                                           << errors;
    }
  }
}

TEST(Validate, AddressesOfServices) {
  const auto service = [](std::string_view spec) {
    return fmt::format("{{apiVersion: v1, kind: Service, spec: {{ports: [{{port: 80}}], {}}}}}",
                       spec);
  };
  struct Row {
    std::string_view spec;
    std::string_view error;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1']", ""},
           {"clusterIP: None, clusterIPs: [None]", ""},
           {"clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1', 10.0.0.2]",
            "may only hold up to 2 values"},
           {"clusterIP: None, clusterIPs: [None, 10.0.0.1]",
            "'None' must be the first and only value"},
           {"clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, None]",
            "spec.clusterIPs[1]: Invalid value: \"None\": must be a valid IP address"},
           {"clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, '']",
            "spec.clusterIPs[1]: Invalid value: \"\": must be a valid IP address"},
           {"clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 10.0.0.2]",
            "may specify no more than one IP for each IP family"},
           {"clusterIP: 'fd00::1', clusterIPs: ['fd00::1', 'fd00::2']",
            "may specify no more than one IP for each IP family"},
           {"clusterIPs: [10.0.0.1]", "first value must match `clusterIP`"},
           {"type: ExternalName, externalName: a.b, clusterIPs: [10.0.0.1]",
            "spec.clusterIPs: Forbidden: may not be set when type is 'ExternalName'"}}) {
    const std::string errors = created(service(row.spec));
    if (row.error.empty()) {
      EXPECT_EQ(errors, "") << row.spec;
    } else {
      EXPECT_NE(errors.find(row.error), std::string::npos) << row.spec << '\n' << errors;
    }
  }
  const std::string dual = service(
      "ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6], clusterIP: 10.0.0.1, "
      "clusterIPs: [10.0.0.1, 'fd00::1']");
  EXPECT_EQ(updated(dual, dual), "");
  EXPECT_NE(updated(dual, service("ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6], "
                                  "clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::2']"))
                .find("spec.clusterIPs[1]: Invalid value: \"fd00::2\": may not change once set"),
            std::string::npos);
  EXPECT_NE(updated(dual, service("ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv6], "
                                  "clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]"))
                .find("must be set to 'SingleStack' when releasing the secondary clusterIP"),
            std::string::npos);
  EXPECT_EQ(updated(dual, service("ipFamilyPolicy: SingleStack, ipFamilies: [IPv4], clusterIP: "
                                  "10.0.0.1, clusterIPs: [10.0.0.1]")),
            "");
  EXPECT_NE(updated(service("ipFamilies: [IPv4], clusterIP: None, clusterIPs: [None]"),
                    service("ipFamilies: [IPv6], clusterIP: None, clusterIPs: [None]"))
                .find("spec.ipFamilies[0]: Invalid value: \"IPv6\": may not change once set"),
            std::string::npos);
}

TEST(Validate, MessagesOfStatus) {
  const Resource& deployments = *find_kind("apps/v1", "Deployment");
  std::vector<FieldError> errors = {{FieldError::Type::kRequired, "spec.a", "Required value"}};
  EXPECT_EQ(invalid_message(deployments, "x", errors),
            "Deployment.apps \"x\" is invalid: spec.a: Required value");
  errors.push_back({FieldError::Type::kForbidden, "spec", "Forbidden: no"});
  EXPECT_EQ(invalid_message(*find_kind("v1", "Pod"), "x", errors),
            "Pod \"x\" is invalid: [spec.a: Required value, spec: Forbidden: no]");
  EXPECT_EQ(cause_reason(FieldError::Type::kNotSupported), "FieldValueNotSupported");
}

// No object, however strange, makes validation fail to answer.
TEST(Validate, AnswersForEveryKind) {
  for (const Resource& resource : all_resources()) {
    for (uint32_t seed = 0; seed < 3; ++seed) {
      Document document;
      document.root = RandomObject(seed, document.arena).of(*resource.type());
      ASSERT_TRUE(conform(document, *resource.type()->shape, Conform::kObject, nullptr).ok());
      const auto errors = validate_create(document.root, resource);
      EXPECT_LE(errors.size(), 64u);
      validate_update(document.root, Value(), resource);
    }
  }
}

TEST(Names, ForEachSyntax) {
  EXPECT_EQ(check_dns_label("a-1"), "");
  EXPECT_NE(check_dns_label(std::string(64, 'a')), "");
  EXPECT_EQ(check_dns_subdomain("a.b-c.1"), "");
  EXPECT_NE(check_dns_subdomain("a..b"), "");
  EXPECT_NE(check_dns_subdomain(""), "");
  EXPECT_NE(check_dns1035_label("1a"), "");
  EXPECT_EQ(check_qualified_name("example.com/Name_1"), "");
  EXPECT_NE(check_qualified_name("/a"), "");
  EXPECT_NE(check_qualified_name("a/b/c"), "");
  EXPECT_EQ(check_port_name("http-2"), "");
  EXPECT_NE(check_port_name("80"), "");
  EXPECT_NE(check_port_name("Http"), "");
  EXPECT_EQ(check_cidr("2001:db8::/32"), "");
  EXPECT_NE(check_cidr("10.0.0.0/33"), "");
  EXPECT_NE(check_cidr("10.0.0.0"), "");
  EXPECT_NE(check_ip(std::string_view("1.2.3.4\0", 8)), "");
  EXPECT_EQ(check_schedule("@hourly"), "");
  EXPECT_EQ(check_schedule("0 0 1 jan *"), "");
  EXPECT_NE(check_schedule("0 0 0 * *"), "");
  EXPECT_NE(check_schedule("a * * * *"), "");
}

}  // namespace
}  // namespace fairlead::schema
