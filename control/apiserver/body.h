// Bodies of requests as documents.
//
// Threads: pure functions.
#pragma once

#include <string_view>

#include "control/apiserver/negotiation.h"
#include "control/apiserver/registry.h"

namespace fairlead::apiserver {

inline constexpr size_t kMaxBody = size_t{3} << 20;  // that of kube-apiserver

// The object of a create or update: its apiVersion and kind must be those of the target; JSON that
// has neither gets them. Protobuf comes out as the document that JSON would have been.
Outcome<schema::Document> decode_body(std::string_view body, std::string_view content_type,
                                      const Target& target);
Outcome<schema::Document> decode_patch(std::string_view body, PatchType type);
// DeleteOptions; a null root when the body is empty.
Outcome<schema::Document> decode_delete_options(std::string_view body,
                                                std::string_view content_type);

}  // namespace fairlead::apiserver
