// What an operator can choose of the mode.
//
// Threads: values.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "dataplane/address.h"
#include "ipvs/virtual_server.h"

namespace fairlead::ipvs {

struct Options {
  std::string scheduler = "rr";  // rr, wrr, lc, wlc, sh, mh, sed, nq, or another of the kernel's
  // Virtual servers with addresses inside these are left alone: neither made nor changed nor
  // removed.
  std::vector<dataplane::Prefix> excluded;
  bool strict_arp = false;
  Timeouts timeouts;
  // How often destinations that were left to end are looked at.
  std::chrono::nanoseconds reap_period = std::chrono::seconds(60);
  // An audit lists everything; at most this part of the time is spent on that.
  double audit_share = 0.02;
  std::chrono::nanoseconds audit_rest = std::chrono::seconds(10);  // between two, at least
};

}  // namespace fairlead::ipvs
