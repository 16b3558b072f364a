#include "control/apiserver/object.h"

#include <utility>

#include "control/schema/json_text.h"

namespace fairlead::apiserver {

namespace {

class CompleteObject : public Object {
 public:
  CompleteObject(schema::Document document, const schema::Resource* resource,
                 const schema::Type* type, store::Revision revision)
      : document_(std::move(document)), resource_(resource), type_(type), revision_(revision) {}

  const schema::Resource* resource() const override { return resource_; }
  const schema::Value& value() const override { return document_.root; }
  void append_json(std::string* out) const override { schema::append_json(document_.root, out); }
  const schema::Type* type() const override { return type_; }
  store::Revision revision() const override { return revision_; }

 private:
  schema::Document document_;
  const schema::Resource* resource_;
  const schema::Type* type_;
  store::Revision revision_;
};

}  // namespace

ObjectPtr object_of(schema::Document document, const schema::Resource* resource,
                    const schema::Type* type, store::Revision revision) {
  return std::make_shared<CompleteObject>(std::move(document), resource, type, revision);
}

}  // namespace fairlead::apiserver
