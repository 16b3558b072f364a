// net.ipv4.conf.all.route_localnet, by which node ports answer on 127.0.0.0/8. While it is on, the
// rule of KUBE-FIREWALL is all that keeps neighbours on the link from what listens there
// (CVE-2020-8558): the guard comes before it and goes after it.
//
// Threads: any.
#pragma once

#include <string>

#include "base/status.h"

namespace fairlead::iptables {

inline constexpr const char* kRouteLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet";

// False where the file `path` cannot be read: a kernel without the setting.
bool localnet_routed(const std::string& path);
// kPermission when the file cannot be written.
Status route_localnet(const std::string& path, bool on);

}  // namespace fairlead::iptables
