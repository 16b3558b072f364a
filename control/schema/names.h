// The syntax of names, keys, addresses and ports, in the words with which the API refuses them.
//
// Each check returns what is wrong, empty when nothing is. A text may be wrong in more than one
// way; the first is said.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fairlead::schema {

std::string check_dns_label(std::string_view text);      // RFC 1123 label
std::string check_dns_subdomain(std::string_view text);  // RFC 1123 subdomain
std::string check_dns1035_label(std::string_view text);  // RFC 1035 label: services
std::string check_wildcard_subdomain(std::string_view text);
std::string check_path_segment(std::string_view text);    // roles and bindings
std::string check_qualified_name(std::string_view text);  // keys of labels and annotations
std::string check_label_value(std::string_view text);
std::string check_config_key(std::string_view text);  // keys of ConfigMaps and Secrets
std::string check_port_name(std::string_view text);   // RFC 6335 service name
std::string check_port(int64_t port);
std::string check_ip(std::string_view text);
std::string check_ipv4(std::string_view text);
std::string check_ipv6(std::string_view text);
std::string check_cidr(std::string_view text);
std::string check_env_name(std::string_view text);
std::string check_schedule(std::string_view text);  // five cron fields or "@daily"

}  // namespace fairlead::schema
