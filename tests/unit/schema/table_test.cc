// Tables: what kubectl prints for an object of each kind.
#include "control/schema/table.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/unit/schema/random_object.h"
#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

constexpr int64_t kTableNow = 1767323045;  // 2026-01-02T03:04:05Z

// The cells of one object, joined by bars; `narrow` leaves out what only wide output shows.
std::string row_of(std::string_view api_version, std::string_view kind, std::string_view text) {
  const Resource* resource = find_kind(api_version, kind);
  EXPECT_TRUE(resource) << kind;
  const Document object = object_of(resource->type_name, text);
  const Value* objects[] = {&object.root};
  TableRequest request;
  request.now = kTableNow;
  const Document table = parsed(table_json(*resource, objects, Value(), request));
  std::string cells;
  const Value& row = table.root.get("rows").items()[0];
  EXPECT_EQ(row.get("cells").size(), table.root.get("columnDefinitions").size());
  for (const Value& cell : row.get("cells").items()) {
    cells += (cells.empty() ? "" : "|") +
             (cell.is_string() ? std::string(cell.as_string()) : to_json(cell));
  }
  return cells;
}

struct TableCase {
  std::string_view version;
  std::string_view kind;
  std::string_view object;
  std::string_view cells;
};

TEST(Table, RowsOfKinds) {
  for (const TableCase& c : std::initializer_list<TableCase>{
           {"v1", "Pod",
            "{metadata: {name: a, creationTimestamp: '2026-01-02T03:00:00Z'}, spec: {nodeName: w, "
            "containers: [{name: x}]}, status: "
            "{phase: Running, podIP: 10.0.0.1, containerStatuses: [{name: x, ready: true, "
            "restartCount: 2, state: {running: {}}, "
            "lastState: {terminated: {exitCode: 1, finishedAt: '2026-01-02T03:03:05Z'}}}]}}",
            "a|1/1|Running|2 (60s ago)|4m5s|10.0.0.1|w|<none>|<none>"},
           {"v1", "Pod",
            "{metadata: {name: a}, spec: {containers: [{name: x}]}, status: {phase: Pending}}",
            "a|0/1|Pending|0|<unknown>|<none>|<none>|<none>|<none>"},
           {"v1", "Pod",
            "{metadata: {name: a}, spec: {initContainers: [{name: i}, {name: j}], containers: "
            "[{name: x}]}, status: {phase: Pending, "
            "initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}, {name: j, "
            "state: {running: {}}}]}}",
            "a|0/1|Init:1/2|0|<unknown>|<none>|<none>|<none>|<none>"},
           {"v1", "Pod",
            "{metadata: {name: a}, spec: {containers: [{name: x}]}, status: {phase: Running, "
            "containerStatuses: [{name: x, "
            "restartCount: 0, state: {waiting: {reason: CrashLoopBackOff}}}]}}",
            "a|0/1|CrashLoopBackOff|0|<unknown>|<none>|<none>|<none>|<none>"},
           {"v1", "Pod",
            "{metadata: {name: a, deletionTimestamp: '2026-01-02T03:00:00Z'}, spec: {containers: "
            "[{name: x}]}, status: {phase: Running}}",
            "a|0/1|Terminating|0|<unknown>|<none>|<none>|<none>|<none>"},
           {"v1", "Node",
            "{metadata: {name: w, labels: {node-role.kubernetes.io/control-plane: ''}}, spec: "
            "{unschedulable: true}, status: "
            "{conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: "
            "10.0.0.1}], nodeInfo: "
            "{kubeletVersion: v1.30.0, osImage: Debian, kernelVersion: '6.1', "
            "containerRuntimeVersion: 'containerd://1.6'}}}",
            "w|Ready,SchedulingDisabled|control-plane|<unknown>|v1.30.0|10.0.0.1|<none>|Debian|6.1|"
            "containerd://1.6"},
           {"v1", "Service",
            "{metadata: {name: s}, spec: {type: NodePort, clusterIP: 10.0.0.1, ports: [{port: 80, "
            "nodePort: 30080, protocol: TCP}, "
            "{port: 53, protocol: UDP}], selector: {a: b}}}",
            "s|NodePort|10.0.0.1|<none>|80:30080/TCP,53/UDP|<unknown>|a=b"},
           {"v1", "Service",
            "{metadata: {name: s}, spec: {type: LoadBalancer, clusterIP: 10.0.0.1}}",
            "s|LoadBalancer|10.0.0.1|<pending>|<none>|<unknown>|<none>"},
           {"v1", "Service", "{metadata: {name: s}, spec: {type: ExternalName, externalName: a.b}}",
            "s|ExternalName|<none>|a.b|<none>|<unknown>|<none>"},
           {"v1", "Endpoints",
            "{metadata: {name: e}, subsets: [{addresses: [{ip: 1.1.1.1}, {ip: 1.1.1.2}, {ip: "
            "1.1.1.3}, {ip: 1.1.1.4}], ports: [{port: 80}]}]}",
            "e|1.1.1.1:80,1.1.1.2:80,1.1.1.3:80 + 1 more...|<unknown>"},
           {"discovery.k8s.io/v1", "EndpointSlice",
            "{metadata: {name: e}, addressType: IPv4, ports: [{port: 80}], endpoints: [{addresses: "
            "[1.1.1.1]}]}",
            "e|IPv4|80|1.1.1.1|<unknown>"},
           {"apps/v1", "Deployment",
            "{metadata: {name: d}, spec: {replicas: 3, selector: {matchLabels: {a: b}}, template: "
            "{spec: {containers: [{name: x, image: "
            "i}, {name: z, image: j}]}}}, status: {readyReplicas: 2, updatedReplicas: 3, "
            "availableReplicas: 2}}",
            "d|2/3|3|2|<unknown>|x,z|i,j|a=b"},
           {"apps/v1", "ReplicaSet",
            "{metadata: {name: r}, spec: {replicas: 3, selector: {matchLabels: {a: b}}}, status: "
            "{replicas: 2}}",
            "r|3|2|0|<unknown>|||a=b"},
           {"apps/v1", "DaemonSet",
            "{metadata: {name: d}, spec: {selector: {matchLabels: {a: b}}}, status: "
            "{desiredNumberScheduled: 2}}",
            "d|2|0|0|0|0|<none>|<unknown>|||a=b"},
           {"apps/v1", "StatefulSet", "{metadata: {name: s}, spec: {replicas: 2}}",
            "s|0/2|<unknown>||"},
           {"batch/v1", "Job",
            "{metadata: {name: j}, spec: {completions: 3}, status: {succeeded: 1, startTime: "
            "'2026-01-02T03:03:05Z'}}",
            "j|1/3|60s|<unknown>|||<none>"},
           {"batch/v1", "CronJob",
            "{metadata: {name: c}, spec: {schedule: '* * * * *', suspend: false}}",
            "c|* * * * *|<none>|False|0|<none>|<unknown>"},
           {"v1", "Namespace", "{metadata: {name: w}, status: {phase: Active}}",
            "w|Active|<unknown>"},
           {"v1", "ConfigMap", "{metadata: {name: c}, data: {a: b}, binaryData: {c: ''}}",
            "c|2|<unknown>"},
           {"v1", "Secret", "{metadata: {name: s}, type: Opaque, data: {a: ''}}",
            "s|Opaque|1|<unknown>"},
           {"v1", "ServiceAccount", "{metadata: {name: s}}", "s|0|<unknown>"},
           {"v1", "PersistentVolumeClaim",
            "{kind: PersistentVolumeClaim, metadata: {name: p}, spec: {volumeName: v, "
            "storageClassName: c, volumeMode: Filesystem}, status: "
            "{phase: Bound, capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce]}}",
            "p|Bound|v|1Gi|RWO|c|<unset>|<unknown>|Filesystem"},
           {"v1", "Event",
            "{metadata: {name: e, namespace: d}, involvedObject: {kind: Pod, name: p}, type: "
            "Normal, reason: Started, message: m, "
            "lastTimestamp: '2026-01-02T03:03:05Z', source: {component: kubelet, host: w}, count: "
            "2}",
            "60s|Normal|Started|pod/p||kubelet, w|m|<unknown>|2|e"},
           {"networking.k8s.io/v1", "Ingress",
            "{metadata: {name: i}, spec: {ingressClassName: c, rules: [{host: a.b}], tls: [{}]}, "
            "status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}}",
            "i|c|a.b|1.2.3.4|80, 443|<unknown>"},
           {"networking.k8s.io/v1", "NetworkPolicy",
            "{metadata: {name: w}, spec: {podSelector: {}}}", "w|<none>|<unknown>"},
           {"rbac.authorization.k8s.io/v1", "RoleBinding",
            "{metadata: {name: r}, roleRef: {apiGroup: g, kind: Role, name: x}, subjects: [{kind: "
            "User, name: u}, {kind: ServiceAccount, name: s, namespace: w}]}",
            "r|Role/x|<unknown>|u||w/s"},
           {"rbac.authorization.k8s.io/v1", "ClusterRole",
            "{metadata: {name: c, creationTimestamp: '2026-01-02T03:00:00Z'}}",
            "c|2026-01-02T03:00:00Z"},
           {"storage.k8s.io/v1", "StorageClass",
            "{metadata: {name: s, annotations: {storageclass.kubernetes.io/is-default-class: "
            "'true'}}, provisioner: p, volumeBindingMode: Immediate}",
            "s (default)|p|Delete|Immediate|false|<unknown>"},
           {"coordination.k8s.io/v1", "Lease", "{metadata: {name: l}, spec: {holderIdentity: h}}",
            "l|h|<unknown>"},
           {"policy/v1", "PodDisruptionBudget", "{metadata: {name: p}, spec: {minAvailable: 50%}}",
            "p|50%|N/A|0|<unknown>"},
           {"autoscaling/v2", "HorizontalPodAutoscaler",
            "{metadata: {name: h}, spec: {scaleTargetRef: {kind: Deployment, name: d}, "
            "minReplicas: 1, maxReplicas: 3, metrics: [{type: Resource, "
            "resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}}",
            "h|Deployment/d|cpu: <unknown>/80%|1|3|<none>|<unknown>"},
           {"certificates.k8s.io/v1", "CertificateSigningRequest",
            "{metadata: {name: c}, spec: {request: aGk=, signerName: s, username: u}, status: "
            "{conditions: [{type: Approved, status: 'True'}], certificate: aGk=}}",
            "c|<unknown>|s|u|<none>|Approved,Issued"},
           {"scheduling.k8s.io/v1", "PriorityClass", "{metadata: {name: p}, value: 5}",
            "p|5|false|<unknown>"}}) {
    EXPECT_EQ(row_of(c.version, c.kind, c.object), c.cells) << c.kind << ' ' << c.object;
  }
}

TEST(Table, Envelope) {
  const Resource& maps = *find_kind("v1", "ConfigMap");
  const Document object = object_of("core.v1.ConfigMap", "{metadata: {name: a}, data: {k: v}}");
  const Document list = parsed("{resourceVersion: '7', continue: c, selfLink: x}");
  const Value* objects[] = {&object.root, &object.root};
  TableRequest request;
  request.include = IncludeObject::kObject;
  Document table = parsed(table_json(maps, objects, list.root, request));
  EXPECT_EQ(to_json(table.root.get("metadata")), R"({"continue":"c","resourceVersion":"7"})");
  EXPECT_EQ(table.root.get("rows").size(), 2u);
  EXPECT_TRUE(table.root.get("rows").items()[0].get("object") == object.root);
  EXPECT_EQ(to_json(table.root.get("columnDefinitions").items()[0]),
            R"({"name":"Name","type":"string","format":"name","description":"Name","priority":0})");
  request.include = IncludeObject::kNone;
  request.with_columns = false;
  table = parsed(table_json(maps, objects, list.root, request));
  EXPECT_FALSE(table.root.get("rows").items()[0].find("object"));
  EXPECT_EQ(to_json(table.root.get("columnDefinitions")), "[]");
  EXPECT_EQ(
      partial_metadata_json(object.root, "meta.k8s.io/v1"),
      R"({"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}})");
  EXPECT_FALSE(parse_include_object("some").ok());
}

TEST(Table, AnswersForEveryKind) {
  for (const Resource& resource : all_resources()) {
    for (uint32_t seed = 0; seed < 3; ++seed) {
      Document document;
      document.root = RandomObject(seed, document.arena).of(*resource.type());
      const Value* objects[] = {&document.root};
      EXPECT_TRUE(parse_json(table_json(resource, objects, Value(), {})).ok()) << resource.kind;
    }
  }
}

}  // namespace
}  // namespace fairlead::schema
