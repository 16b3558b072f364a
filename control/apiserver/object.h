// An object on its way to clients: what the store holds, in the version that was asked for.
//
// Immutable and shared by all answers and watch events that carry it. Text goes out without having
// been decoded where the store's version is the one asked for; whoever needs fields (selectors,
// tables, protobuf, controllers) decodes it once for all.
//
// Threads: any.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "control/schema/resources.h"
#include "control/schema/value.h"
#include "control/store/store.h"

namespace fairlead::apiserver {

class Object {
 public:
  virtual ~Object() = default;

  // The row of the version that this object is in; null for answers that are no resource of their
  // own (Scale, Status), whose kind value() tells.
  virtual const schema::Resource* resource() const = 0;
  // With apiVersion, kind and metadata.resourceVersion. Of what the store gave back as unreadable:
  // an object with nothing but these.
  virtual const schema::Value& value() const = 0;
  // The same as JSON.
  virtual void append_json(std::string* out) const = 0;
  // About how long that is; 0 where it is not known without writing it.
  virtual size_t json_size() const { return 0; }
  // The type for encode_protobuf() of value(); null when there is none.
  virtual const schema::Type* type() const = 0;
  // The change that it is from; 0 for what is not stored.
  virtual store::Revision revision() const = 0;
};
using ObjectPtr = std::shared_ptr<const Object>;

// Of a document that is complete as it is: Scale, Status, answers to dry runs.
ObjectPtr object_of(schema::Document document, const schema::Resource* resource,
                    const schema::Type* type, store::Revision revision = 0);

}  // namespace fairlead::apiserver
