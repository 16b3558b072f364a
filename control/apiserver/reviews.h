// The questions that are asked by creating an object: who is this token, may this user do that.
// Nothing is stored; the answers come from the seams of control/auth.
//
// Threads: pure functions.
#pragma once

#include "control/apiserver/registry.h"
#include "control/auth/authenticator.h"
#include "control/auth/authorizer.h"

namespace fairlead::apiserver {

bool is_review(const schema::Resource& resource);

// Precondition: is_review(*target.resource). `body` as decoded.
Outcome<ObjectPtr> answer_review(const Target& target, schema::Document body,
                                 const auth::User& user, const auth::Authentication& authentication,
                                 const auth::Authorizer& authorizer);

}  // namespace fairlead::apiserver
