#include "proxy/ipvs_options.h"

#include <chrono>

namespace fairlead::proxy {
namespace {

uint32_t seconds(std::chrono::nanoseconds time) {
  return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(time).count());
}

}  // namespace

ipvs::Options ipvs_options(const ProxyConfig& config) {
  ipvs::Options options;
  options.scheduler = config.ipvs.scheduler;
  options.excluded = config.ipvs.exclude_prefixes;
  options.strict_arp = config.ipvs.strict_arp;
  options.timeouts = {seconds(config.ipvs.tcp_timeout), seconds(config.ipvs.tcp_fin_timeout),
                      seconds(config.ipvs.udp_timeout)};
  options.audit_period = config.audit_period;
  return options;
}

}  // namespace fairlead::proxy
