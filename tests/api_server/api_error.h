// metav1.Status: how an API server says no.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "control/net/server.h"
#include "tests/api_server/store.h"

namespace fairlead::api_server {

struct ApiError {
  int code = 500;
  std::string reason;  // "NotFound", "Expired", ...
  std::string message;
  int retry_after_seconds = 0;
  // What it is about; empty: nothing in particular.
  std::string name;
  std::string group;
  std::string plural;

  std::string json() const;  // the Status object
  net::HttpResponse response() const;
};

ApiError not_found(const ResourceType& type, std::string_view name);
ApiError unknown_path();
ApiError bad_request(std::string_view message);
ApiError expired(uint64_t asked, uint64_t oldest);
// The usual reason for a code: 404 is NotFound.
std::string_view reason_of(int code);

}  // namespace fairlead::api_server
