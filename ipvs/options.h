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
  // Services and node ports inside these are served. Virtual servers there that nobody wants go
  // only when our sets name them exactly.
  std::vector<dataplane::Prefix> excluded;
  bool strict_arp = false;
  Timeouts timeouts;
  // How often destinations that were left to end are looked at.
  std::chrono::nanoseconds reap_period = std::chrono::seconds(60);
  // IPVS tells nobody of changes, so it is looked at this often, but for at most `audit_share` of
  // the time. 0: only when something else is disturbed.
  std::chrono::nanoseconds audit_period = std::chrono::seconds(30);
  double audit_share = 0.1;
};

}  // namespace fairlead::ipvs
