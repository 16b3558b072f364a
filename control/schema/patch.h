// The three patches of the API: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes'
// strategic merge patch, which knows the keys of lists.
//
// A patch changes the document in place; on an error the document is of no use any more. The
// result has yet to be made canonical and checked, like any body. Patches cannot make a document
// larger than memory allows: growth is bounded.
//
// Threads: pure functions.
#pragma once

#include "base/status.h"
#include "control/schema/types.h"
#include "control/schema/value.h"

namespace fairlead::schema {

// `patch` is the array of operations. A failed "test" is kConflict, everything else wrong kInvalid.
Status apply_json_patch(Document& document, const Value& patch);

// Precondition of both: the patch went through sort_deep(), so that no key repeats.
Status apply_merge_patch(Document& document, const Value& patch);
// Directives: $patch (merge, replace, delete), $retainKeys, $setElementOrder/<list>,
// $deleteFromPrimitiveList/<list>.
Status apply_strategic_patch(Document& document, const Value& patch, const Type& type);

}  // namespace fairlead::schema
