#include "control/controllers/namespaces.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/controllers/objects.h"

namespace fairlead::controllers {

namespace {

constexpr std::string_view kFinalizer = "kubernetes";
constexpr Duration kLookAgain = std::chrono::seconds(2);

struct ConditionRow {
  std::string_view type;
  bool is_true = false;
  std::string_view reason;
  std::string message;
};

std::string listed(const std::map<std::string, size_t>& counts, std::string_view before_count) {
  std::string made;
  for (const auto& [name, count] : counts) {
    if (!made.empty()) made += ", ";
    made += fmt::format("{} {} {} resource instances", name, before_count, count);
  }
  return made;
}

// Types, reasons and messages as clients of kube-controller-manager know them.
std::vector<ConditionRow> condition_rows(const NamespaceFindings& findings) {
  std::vector<ConditionRow> rows;
  rows.push_back({"NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered",
                  "All resources successfully discovered"});
  rows.push_back({"NamespaceDeletionGroupVersionParsingFailure", false, "ParsedGroupVersions",
                  "All legacy kube types successfully parsed"});
  if (findings.failures.empty()) {
    rows.push_back({"NamespaceDeletionContentFailure", false, "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization"});
  } else {
    rows.push_back({"NamespaceDeletionContentFailure", true, "ContentDeletionFailed",
                    fmt::format("Failed to delete all resource types, {} remaining: {}",
                                findings.failures.size(), fmt::join(findings.failures, ", "))});
  }
  if (findings.remaining.empty()) {
    rows.push_back(
        {"NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed"});
  } else {
    rows.push_back({"NamespaceContentRemaining", true, "SomeResourcesRemain",
                    "Some resources are remaining: " + listed(findings.remaining, "has")});
  }
  if (findings.finalizers.empty()) {
    rows.push_back({"NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers",
                    "All content-preserving finalizers finished"});
  } else {
    rows.push_back({"NamespaceFinalizersRemaining", true, "SomeFinalizersRemain",
                    "Some content in the namespace has finalizers remaining: " +
                        listed(findings.finalizers, "in")});
  }
  return rows;
}

bool set_condition(Arena& arena, Value& conditions, const ConditionRow& row,
                   const std::string& now) {
  const std::string_view status = row.is_true ? "True" : "False";
  Value* found = const_cast<Value*>(find_by(conditions, "type", row.type));
  if (found && found->get("status").as_string() == status &&
      found->get("reason").as_string() == row.reason &&
      found->get("message").as_string() == row.message) {
    return false;
  }
  const bool turned = !found || found->get("status").as_string() != status;
  if (!found) found = &conditions.push(arena, Value::object());
  found->set(arena, "type", Value::string(row.type));
  found->set(arena, "status", Value::string(status));
  if (turned) found->set(arena, "lastTransitionTime", text(arena, now));
  found->set(arena, "reason", Value::string(row.reason));
  found->set(arena, "message", text(arena, row.message));
  return true;
}

std::string row_name(const schema::Resource& row) {
  return fmt::format("{}.{}", row.plural, row.group);
}

// Without the finalizer "kubernetes"; false when it has none.
bool drop_finalizer(Arena& arena, Value& root) {
  Value& spec = root.ensure(arena, "spec");
  Value* finalizers = spec.find("finalizers");
  if (!finalizers) return false;
  bool found = false;
  for (size_t i = finalizers->size(); i-- > 0;) {
    if (finalizers->items()[i].as_string() != kFinalizer) continue;
    finalizers->erase_at(i);
    found = true;
  }
  return found;
}

}  // namespace

Plan plan_namespace(const Value& space, const NamespaceFindings& findings,
                    int64_t unix_microseconds) {
  Plan plan;
  Write write;
  write.verb = Write::Verb::kUpdate;
  write.what = {&resource("", "v1", "namespaces"), "", std::string(name_of(space))};
  write.body = copy_of(space);
  Arena& arena = write.body.arena;
  if (findings.done() && drop_finalizer(arena, write.body.root)) {
    write.subresource = "finalize";
    plan.writes.push_back(std::move(write));
    return plan;
  }
  Value& status = write.body.root.ensure(arena, "status");
  bool changed = status.get("phase").as_string() != "Terminating";
  status.set(arena, "phase", Value::string("Terminating"));
  if (!status.get("conditions").is_array()) status.set(arena, "conditions", Value::array());
  const std::string now = rfc3339(unix_microseconds);
  for (const ConditionRow& row : condition_rows(findings)) {
    changed = set_condition(arena, *status.find("conditions"), row, now) || changed;
  }
  if (!changed) return plan;
  write.subresource = "status";
  plan.writes.push_back(std::move(write));
  return plan;
}

// One look at everything in a namespace.
struct NamespaceController::Pass {
  ObjectPtr space;
  TimePoint begun;
  size_t next = 0;
  NamespaceFindings findings;
  DoneWorking done;
};

NamespaceController::NamespaceController(Context context, Duration grace)
    : Controller(context, "namespace"),
      grace_(grace),
      spaces_(needs(resource("", "v1", "namespaces"))) {
  for (const schema::Resource* row : stored_resources()) {
    if (row->namespaced) rows_.push_back(row);
  }
  std::stable_partition(rows_.begin(), rows_.end(),
                        [](const schema::Resource* row) { return row->plural == "pods"; });
  spaces_.add_handler([this](const ObjectPtr& before, const ObjectPtr& after) {
    if (!after) {
      terminating_.erase(std::string(uid_of(*before)));
    } else if (is_terminating(*after)) {
      terminating_.emplace(uid_of(*after), context_.loop.now());
      enqueue(std::string(name_of(*after)));
    }
  });
}

void NamespaceController::enqueue_all() {
  spaces_.for_each([this](const ObjectPtr& space) {
    if (is_terminating(*space)) enqueue(std::string(name_of(*space)));
  });
}

// What is in a namespace is read from the server, not from caches: see work().
Plan NamespaceController::plan(const std::string&) {
  return {};
}

void NamespaceController::work(const std::string& key, DoneWorking done) {
  const ObjectPtr space = spaces_.get("", key);
  if (!space || !is_terminating(*space)) {
    done({});
    return;
  }
  auto pass = std::make_shared<Pass>();
  pass->space = space;
  pass->begun = context_.loop.now();
  pass->done = std::move(done);
  confirm(pass, [this, pass] { next(pass); });
}

// Goes on only when the server has this very namespace, terminating: the cache may be behind, and a
// successor of the same name is another's.
void NamespaceController::confirm(std::shared_ptr<Pass> pass, std::function<void()> go_on) {
  const auto answered = [pass, go_on = std::move(go_on)](Result<ObjectPtr> answer) {
    if (!answer && answer.status().code() != StatusCode::kNotFound) {
      pass->done({answer.status()});
      return;
    }
    if (!answer || uid_of(**answer) != uid_of(*pass->space) || !is_terminating(**answer)) {
      pass->done({});
      return;
    }
    pass->space = *answer;
    go_on();
  };
  context_.cluster.get({&resource("", "v1", "namespaces"), "", std::string(name_of(*pass->space))},
                       token_.guard(std::function<void(Result<ObjectPtr>)>(answered)));
}

void NamespaceController::next(std::shared_ptr<Pass> pass) {
  // Nothing but pods goes while there are pods.
  const bool pods_remain = pass->next == 1 && !pass->findings.done();
  if (pass->next == rows_.size() || pods_remain) {
    conclude(std::move(pass));
    return;
  }
  const schema::Resource& row = *rows_[pass->next++];
  const std::string space(name_of(*pass->space));
  auto listed = [this, pass, &row](Result<Listing> listing) {
    if (!listing) {
      pass->findings.failures.push_back(row_name(row) + ": " + listing.status().message());
      next(pass);
      return;
    }
    count(pass, row, std::move(listing).value());
  };
  const auto removed = [this, pass, &row, space, listed](Result<bool> answer) {
    if (!answer) {
      pass->findings.failures.push_back(row_name(row) + ": " + answer.status().message());
      next(pass);
      return;
    }
    context_.cluster.list({&row, space, ""},
                          token_.guard(std::function<void(Result<Listing>)>(listed)));
  };
  // Most resources have nothing there: asking is cheaper than removing.
  const auto asked = [this, pass, &row, space, removed](Result<Listing> listing) {
    if (listing && listing->objects.empty()) {
      next(pass);
      return;
    }
    confirm(pass, [this, &row, space, removed] {
      context_.cluster.remove_all({&row, space, ""},
                                  token_.guard(std::function<void(Result<bool>)>(removed)));
    });
  };
  context_.cluster.list({&row, space, ""},
                        token_.guard(std::function<void(Result<Listing>)>(asked)));
}

void NamespaceController::count(std::shared_ptr<Pass> pass, const schema::Resource& row,
                                Listing listing) {
  if (!listing.objects.empty()) pass->findings.remaining[row_name(row)] = listing.objects.size();
  for (const ObjectPtr& object : listing.objects) {
    for (const Value& finalizer : object->get("metadata").get("finalizers").items()) {
      ++pass->findings.finalizers[std::string(finalizer.as_string())];
    }
  }
  next(std::move(pass));
}

// Another server may for a while take the namespace for active and admit what is made in it: only a
// look that began after the grace proves that it is empty.
void NamespaceController::conclude(std::shared_ptr<Pass> pass) {
  const auto since = terminating_.find(std::string(uid_of(*pass->space)));
  const TimePoint due = (since == terminating_.end() ? pass->begun : since->second) + grace_;
  if (pass->findings.done() && pass->begun < due) {
    pass->done({Status(), due - context_.loop.now()});
    return;
  }
  const int64_t now = context_.loop.unix_microseconds();
  Plan plan = plan_namespace(*pass->space, pass->findings, now);
  if (!pass->findings.done()) plan.again = kLookAgain;
  perform(std::move(plan), std::move(pass->done));
}

}  // namespace fairlead::controllers
