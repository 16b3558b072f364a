// Objects, lists, events and errors as the bytes of answers.
//
// Threads: pure functions; EventCache from any thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/thread_annotations.h"
#include "control/apiserver/bounded_slots.h"
#include "control/apiserver/negotiation.h"
#include "control/apiserver/registry.h"
#include "control/net/server.h"
#include "control/schema/table.h"

namespace fairlead::apiserver {

// How one request wants its answer.
struct Rendering {
  Form form;
  schema::IncludeObject include = schema::IncludeObject::kMetadata;  // of tables
  int64_t now = 0;                                                   // seconds since 1970
};

// False when the object has no type to make protobuf from: then the text is JSON.
bool has_protobuf(const Object& object);

std::string encode_object(const Object& object, const Rendering& rendering);
std::string encode_list(const schema::Resource& resource, const ListAnswer& list,
                        const Rendering& rendering);
// Long lists of whole objects in JSON: the first bytes leave while the others are made.
bool comes_in_pieces(const ListAnswer& list, const Rendering& rendering);
// `take` gets one piece after the other; false ends it. Precondition: comes_in_pieces().
void encode_list_in_pieces(const schema::Resource& resource, const ListAnswer& list,
                           const Rendering& rendering,
                           const std::function<bool(std::string piece)>& take);
// A Status instead of the answer, in JSON or protobuf: tables have no errors of their own. With
// Retry-After where the error has one.
net::HttpResponse error_response(const ApiError& error, Encoding encoding);

// One event of a watch: a line of JSON or a frame of protobuf. `first`: of tables, with columns.
std::string encode_event(std::string_view type, const Object& object, const Rendering& rendering,
                         bool first);
std::string encode_error_event(const ApiError& error, Encoding encoding);

// What a bookmark carries: nothing but its revision, and the mark of the initial events' end.
ObjectPtr make_bookmark(const schema::Resource& resource, store::Revision revision,
                        bool initial_events_end);

// Events encoded lately, for the other watchers of the same change: so many, and so many bytes.
class EventCache {
 public:
  std::shared_ptr<const std::string> encode(WatchEvent::Type type, const ObjectPtr& object,
                                            const Rendering& rendering, bool first)
      EXCLUDES(mutex_);

 private:
  static constexpr size_t kMostBytes = size_t{16} << 20;
  struct Slot {
    ObjectPtr object;  // kept, so that its address stays its own
    uint64_t form = 0;
    std::shared_ptr<const std::string> text;

    size_t bytes() const { return text ? text->size() : 0; }
  };

  Mutex mutex_;
  BoundedSlots<Slot, 512> slots_ GUARDED_BY(mutex_){kMostBytes};
};

std::string_view event_name(WatchEvent::Type type);

}  // namespace fairlead::apiserver
