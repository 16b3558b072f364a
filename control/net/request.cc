#include "control/net/server.h"
#include "control/net/text.h"

namespace fairlead::net {

const std::string* HttpRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return &value;
  }
  return nullptr;
}

std::string HttpRequest::query_value(std::string_view name) const {
  return net::query_value(query, name);
}

}  // namespace fairlead::net
