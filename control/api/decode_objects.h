// How each kind's fields become its struct: one function a kind, called by the Decoder.
//
// Threads: pure functions. Include only from .cc files of control/api.
#pragma once

#include "control/api/json_walk.h"
#include "control/api/types.h"

namespace fairlead::api {

void walk_service(walk::Walk& walk, walk::ondemand::document& document, Service* service);
// `scratch` collects endpoints before their number is known and is left empty for the next slice,
// so that a slice's vector has exactly the size it needs.
void walk_endpoint_slice(walk::Walk& walk, walk::ondemand::document& document, EndpointSlice* slice,
                         std::vector<Endpoint>* scratch);
void walk_node(walk::Walk& walk, walk::ondemand::document& document, Node* node);
void walk_service_cidr(walk::Walk& walk, walk::ondemand::document& document, ServiceCidr* cidr);

}  // namespace fairlead::api
