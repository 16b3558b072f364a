#include "control/apiserver/namespace_lifecycle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "control/apiserver/codec.h"

namespace fairlead::apiserver {

namespace {

constexpr std::array<std::string_view, 4> kImmortal = {"default", "kube-node-lease", "kube-public",
                                                       "kube-system"};

// The verdict on a creation in the namespace that `entry` holds.
Outcome<Done0> judge_creation(const Write& write, const store::Entry& entry) {
  // A namespace that goes away says so in its metadata; most need not be decoded to know.
  if (entry.value.find("\"deletionTimestamp\"") == std::string::npos) return Done0();
  const schema::Resource& namespaces = *schema::find_resource("", "v1", "namespaces");
  const schema::Document space = decode_stored(entry, entry.mod_revision, namespaces);
  if (space.root.at("metadata.deletionTimestamp").is_null()) return Done0();
  ApiError error = forbidden(*write.resource, write.name,
                             fmt::format("unable to create new content in namespace {} because it "
                                         "is being terminated",
                                         write.space));
  error.causes.push_back({"NamespaceTerminating",
                          fmt::format("namespace {} is being terminated", write.space),
                          "metadata.namespace"});
  return error;
}

}  // namespace

void NamespaceLifecycle::admit(Write& write, std::function<void(Outcome<Done0>)> done) {
  const bool is_namespace = write.resource->type_name == "core.v1.Namespace";
  if (is_namespace && write.operation == Operation::kDelete) {
    if (std::find(kImmortal.begin(), kImmortal.end(), write.name) != kImmortal.end()) {
      return done(forbidden(*write.resource, write.name, "this namespace may not be deleted"));
    }
    return done(Done0());
  }
  if (!write.resource->namespaced || write.operation != Operation::kCreate) return done(Done0());
  const schema::Resource& namespaces = *schema::find_resource("", "v1", "namespaces");
  store::RangeRequest request;
  request.key = object_key(namespaces, "", write.space);
  request.allow_cached = true;
  const auto judge = [&write, &namespaces](Result<store::RangeResult> found) -> Outcome<Done0> {
    if (!found) return from_status(found.status());
    if (found->entries.empty()) return not_found(namespaces, write.space);
    return judge_creation(write, *found->entries[0]);
  };
  store_.range(request, [this, request, judge, done](Result<store::RangeResult> found) mutable {
    if (!found || !found->entries.empty()) return done(judge(std::move(found)));
    // It may have been made through another server a moment ago.
    request.allow_cached = false;
    store_.range(std::move(request), [judge, done](Result<store::RangeResult> newest) {
      done(judge(std::move(newest)));
    });
  });
}

}  // namespace fairlead::apiserver
