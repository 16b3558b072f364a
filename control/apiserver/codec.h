// Between objects and what the store holds of them.
//
// A key is /registry/<group or core>/<plural>/<namespace>/<name>. A value is JSON in the version in
// which the kind is stored, canonical but for the order of the first members: apiVersion, kind,
// metadata. So the place of metadata.resourceVersion, which is the entry's own revision and not
// stored, is known without looking.
//
// Threads: pure functions; ObjectCache any.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/thread_annotations.h"
#include "control/apiserver/bounded_slots.h"
#include "control/apiserver/object.h"
#include "control/schema/resources.h"
#include "control/schema/value.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

// The row of the version in which objects of this one are stored; itself where there is one only.
const schema::Resource& storage_of(const schema::Resource& resource);

// Changes an object (or, of patches and configurations, a part) from one version to another of the
// same storage; apiVersion is set too.
void convert(schema::Document& object, const schema::Resource& from, const schema::Resource& to);

// "/registry/apps/deployments/"
std::string resource_prefix(const schema::Resource& resource);
// That and "default/" with a namespace.
std::string space_prefix(const schema::Resource& resource, std::string_view space);
std::string object_key(const schema::Resource& resource, std::string_view space,
                       std::string_view name);

// The value. Precondition: conforms to the storage version.
std::string encode_stored(const schema::Value& object, const schema::Resource& storage);
// With metadata.resourceVersion, sorted; nothing but metadata of what cannot be read.
schema::Document decode_stored(const store::Entry& entry, store::Revision revision,
                               const schema::Resource& storage);

// `entry` as an object of `resource`'s version; `revision`, for removals, is what its
// resourceVersion says.
ObjectPtr stored_object(store::EntryPtr entry, store::Revision revision,
                        const schema::Resource& resource);

// The objects of the last changes, so that all watches decode one change once: so many, and so many
// bytes of text.
class ObjectCache {
 public:
  ObjectPtr get(const store::EntryPtr& entry, store::Revision revision,
                const schema::Resource& resource);

 private:
  struct Slot {
    const store::Entry* entry = nullptr;
    const schema::Resource* resource = nullptr;
    store::Revision revision = 0;
    ObjectPtr object;

    size_t bytes() const { return object ? object->json_size() : 0; }
  };

  static constexpr size_t kMostBytes = size_t{8} << 20;  // decoded they are a few times as large

  Mutex mutex_;
  BoundedSlots<Slot, 256> slots_ GUARDED_BY(mutex_){kMostBytes};
};

}  // namespace fairlead::apiserver
