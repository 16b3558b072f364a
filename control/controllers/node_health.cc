#include "control/controllers/node_health.h"

#include <utility>

#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

constexpr std::string_view kUnreachable = "node.kubernetes.io/unreachable";
constexpr std::string_view kNeverUpdated = "NodeStatusNeverUpdated";
constexpr std::string_view kNotReady = "node.kubernetes.io/not-ready";

constexpr std::string_view kWatchedConditions[] = {"Ready", "MemoryPressure", "DiskPressure",
                                                   "PIDPressure"};

// What silence says: conditions that the node reported are unknown, those that it never reported
// are made.
bool set_unknown(Arena& arena, Value& conditions, const std::string& now) {
  bool changed = false;
  for (const std::string_view type : kWatchedConditions) {
    Value* found = const_cast<Value*>(find_by(conditions, "type", type));
    if (!found) {
      Value& made = conditions.push(arena, Value::object());
      made.set(arena, "type", Value::string(type));
      made.set(arena, "status", Value::string("Unknown"));
      made.set(arena, "reason", Value::string(kNeverUpdated));
      made.set(arena, "message", Value::string("The node's agent never posted its status."));
      made.set(arena, "lastHeartbeatTime", text(arena, now));
      made.set(arena, "lastTransitionTime", text(arena, now));
      changed = true;
    } else if (found->get("status").as_string() != "Unknown") {
      found->set(arena, "status", Value::string("Unknown"));
      found->set(arena, "reason", Value::string("NodeStatusUnknown"));
      found->set(arena, "message", Value::string("The node's agent stopped posting its status."));
      found->set(arena, "lastTransitionTime", text(arena, now));
      changed = true;
    }
  }
  return changed;
}

// Taints of node health as they should be: one key, or none, with both effects.
bool set_taints(Arena& arena, Value& taints, std::string_view wanted, const std::string& now) {
  bool changed = false;
  bool has[2] = {false, false};  // NoSchedule, NoExecute
  for (size_t i = taints.size(); i-- > 0;) {
    const Value& taint = taints.items()[i];
    const std::string_view key = taint.get("key").as_string();
    if (key != kUnreachable && key != kNotReady) continue;
    const std::string_view effect = taint.get("effect").as_string();
    const int slot = effect == "NoSchedule" ? 0 : effect == "NoExecute" ? 1 : -1;
    if (key == wanted && slot >= 0) {
      has[slot] = true;
      continue;
    }
    if (slot < 0) continue;  // PreferNoSchedule is somebody else's
    taints.erase_at(i);
    changed = true;
  }
  if (wanted.empty()) return changed;
  for (const int slot : {0, 1}) {
    if (has[slot]) continue;
    Value& taint = taints.push(arena, Value::object());
    taint.set(arena, "key", Value::string(wanted));
    taint.set(arena, "effect", Value::string(slot == 0 ? "NoSchedule" : "NoExecute"));
    taint.set(arena, "timeAdded", text(arena, now));
    changed = true;
  }
  return changed;
}

Write pod_not_ready(const Value& pod, const std::string& now) {
  Write write;
  write.verb = Write::Verb::kUpdate;
  write.what = {&resource("", "v1", "pods"), std::string(space_of(pod)), std::string(name_of(pod))};
  write.subresource = "status";
  write.body = copy_of(pod);
  Arena& arena = write.body.arena;
  Value& conditions = *write.body.root.find("status")->find("conditions");
  Value* ready = const_cast<Value*>(find_by(conditions, "type", "Ready"));
  ready->set(arena, "status", Value::string("False"));
  ready->set(arena, "reason", Value::string("NodeNotReady"));
  ready->set(arena, "lastTransitionTime", text(arena, now));
  return write;
}

}  // namespace

Plan plan_node(const NodeInput& input) {
  Plan plan;
  const Value& node = *input.node;
  const schema::Resource& row = resource("", "v1", "nodes");
  const std::string now = rfc3339(input.unix_microseconds);
  const std::string_view ready = condition_status(node, "Ready");

  // Traffic first: pods leave the endpoints before anything else is said about the node.
  const bool went_down = input.was_ready && ready != "True";
  if (!input.alive || went_down) {
    for (const ObjectPtr& pod : input.pods) {
      if (condition_status(*pod, "Ready") == "True") {
        plan.writes.push_back(pod_not_ready(*pod, now));
      }
    }
  }
  if (!input.alive) {
    Document body = copy_of(node);
    Value& status = body.root.ensure(body.arena, "status");
    if (!status.get("conditions").is_array()) {
      status.set(body.arena, "conditions", Value::array());
    }
    if (set_unknown(body.arena, *status.find("conditions"), now)) {
      Write write;
      write.verb = Write::Verb::kUpdate;
      write.what = {&row, "", std::string(name_of(node))};
      write.subresource = "status";
      write.body = std::move(body);
      plan.writes.push_back(std::move(write));
      return plan;  // the taint is another revision's
    }
  }
  const std::string_view wanted = ready == "Unknown" ? kUnreachable
                                  : ready == "False" ? kNotReady
                                                     : std::string_view();
  Document body;
  const Value* has = node.get("spec").find("taints");
  Value taints = has && has->is_array() ? has->clone(body.arena) : Value::array();
  if (set_taints(body.arena, taints, wanted, now)) {
    // The list is written whole, and so only while nobody else has changed the node.
    body.root = Value::object();
    body.root.ensure(body.arena, "metadata")
        .set(body.arena, "resourceVersion", text(body.arena, revision_of(node)));
    body.root.ensure(body.arena, "spec").set(body.arena, "taints", taints);
    Write write;
    write.verb = Write::Verb::kMergePatch;
    write.what = {&row, "", std::string(name_of(node))};
    write.body = std::move(body);
    plan.writes.push_back(std::move(write));
  }
  return plan;
}

NodeHealthController::NodeHealthController(Context context)
    : Controller(context, "node-health"),
      nodes_(needs(resource("", "v1", "nodes"))),
      pods_(needs(resource("", "v1", "pods"))),
      leases_(needs(resource("coordination.k8s.io", "v1", "leases"))) {
  pods_by_node_ = pods_.add_index([](const Value& pod, std::vector<std::string>* keys) {
    const std::string_view node = pod.get("spec").get("nodeName").as_string();
    if (!node.empty()) keys->emplace_back(node);
  });
  nodes_.add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
    const std::string name(name_of(after ? *after : *before));
    if (!after || !before) {
      seen_.erase(name);
      was_ready_.erase(name);
    }
    if (after && !before) {
      // A lease from before has its full grace, and then counts.
      if (const ObjectPtr lease = leases_.get(kLeaseSpace, name)) lease_changed(lease);
    }
    if (after && before) status_changed(*before, *after);
    enqueue(name);
  });
  leases_.add_handler([this](const ObjectPtr&, const ObjectPtr& after) {
    if (after && space_of(*after) == kLeaseSpace) lease_changed(after);
  });
}

void NodeHealthController::enqueue_all() {
  nodes_.for_each([this](const ObjectPtr& node) { enqueue(std::string(name_of(*node))); });
}

// A renewal is a line in a table; the node is looked at when the grace ends. Most never are.
void NodeHealthController::lease_changed(const ObjectPtr& lease) {
  const std::string name(name_of(*lease));
  if (!nodes_.get("", name)) return;  // read when there is one
  const std::string_view renewed = lease->get("spec").get("renewTime").as_string();
  const auto [found, fresh] = seen_.emplace(name, Seen{});
  if (!fresh && found->second.renewed == renewed) return;
  const bool was_alive = !fresh && is_alive(name);
  found->second = {std::string(renewed), context_.loop.now()};
  if (!was_alive) enqueue(name);
}

// An agent that reports its status lives, though its lease is not renewed. The node is planned for
// after every change of it, so that nothing has to be put into the queue.
void NodeHealthController::status_changed(const Value& before, const Value& after) {
  const auto heartbeat = [](const Value& node) {
    const Value* ready = find_by(node.get("status").get("conditions"), "type", "Ready");
    const bool ours = !ready || ready->get("reason").as_string() == kNeverUpdated;
    return ours ? std::string_view() : ready->get("lastHeartbeatTime").as_string();
  };
  const std::string_view now = heartbeat(after);
  if (now.empty() || now == heartbeat(before)) return;
  const auto found = seen_.find(std::string(name_of(after)));
  if (found != seen_.end()) found->second.at = context_.loop.now();
}

bool NodeHealthController::is_alive(const std::string& node) const {
  const auto found = seen_.find(node);
  return found == seen_.end() || context_.loop.now() - found->second.at < kNodeGrace;
}

Plan NodeHealthController::plan(const std::string& key) {
  NodeInput input;
  input.node = nodes_.get("", key);
  if (!input.node) return {};
  input.alive = is_alive(key);
  input.was_ready = was_ready_[key];
  input.unix_microseconds = context_.loop.unix_microseconds();
  const bool ready = condition_status(*input.node, "Ready") == "True";
  if (!input.alive || (input.was_ready && !ready)) {
    input.pods = pods_.by_index(pods_by_node_, key);
  }
  Plan made = plan_node(input);
  // Pods that could not be written are tried again.
  if (ready || made.writes.empty()) was_ready_[key] = ready;
  if (const auto found = seen_.find(key); found != seen_.end()) {
    const Duration age = context_.loop.now() - found->second.at;
    // While it is silent, pods may still be put on it.
    made.again = input.alive ? kNodeGrace - age : Duration(std::chrono::seconds(5));
  }
  return made;
}

}  // namespace fairlead::controllers
