// What the controllers' tests share: objects from YAML, plans as text.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "control/controllers/controller.h"
#include "control/controllers/objects.h"
#include "control/controllers/slices.h"
#include "control/schema/json_text.h"

namespace fairlead::controllers {

inline ObjectPtr object(std::string_view yaml) {
  Result<schema::Document> document = schema::parse_yaml(yaml);
  EXPECT_TRUE(document.ok()) << yaml << ": " << document.status().message();
  return document.ok() ? share(std::move(document).value()) : nullptr;
}

inline std::vector<ObjectPtr> objects(const std::vector<std::string>& texts) {
  std::vector<ObjectPtr> made;
  for (const std::string& text : texts) made.push_back(object(text));
  return made;
}

// "IPv4 http/TCP/8080 [10.0.0.1 r s ~n1 @a >a]": r ready, s serving, t terminating, node, zone,
// hint.
inline std::string slice_text(const schema::Value& value) {
  const Slice slice = parse_slice(share(copy_of(value)));
  std::string made = slice.address_type;
  for (const PortRow& port : slice.ports) {
    made += fmt::format(" {}/{}/{}", port.name, port.protocol, port.port.value_or(0));
  }
  made += " [";
  for (const EndpointRow& row : slice.endpoints) {
    if (made.back() != '[') made += ", ";
    made += fmt::format("{}", fmt::join(row.addresses, "+"));
    if (row.ready.value_or(false)) made += " r";
    if (row.serving.value_or(false)) made += " s";
    if (row.terminating.value_or(false)) made += " t";
    if (!row.node.empty()) made += " ~" + row.node;
    if (!row.zone.empty()) made += " @" + row.zone;
    for (const std::string& zone : row.hint_zones) made += " >" + zone;
    if (!row.hostname.empty()) made += " #" + row.hostname;
  }
  return made + "]";
}

inline std::string_view verb_text(Write::Verb verb) {
  constexpr std::string_view kVerbs[] = {"create", "update", "patch", "remove"};
  return kVerbs[static_cast<size_t>(verb)];
}

// One line a write: "create IPv4 …", "update web-1 IPv4 …", "remove web-1".
inline std::string plan_text(const Plan& plan) {
  std::string made;
  for (const Write& write : plan.writes) {
    if (!made.empty()) made += "\n";
    made += verb_text(write.verb);
    if (!write.subresource.empty()) made += "-" + write.subresource;
    if (!write.what.name.empty()) made += " " + write.what.name;
    if (write.verb == Write::Verb::kRemove) continue;
    made += " ";
    made += write.what.resource->plural == "endpointslices" ? slice_text(write.body.root)
                                                            : schema::to_json(write.body.root);
  }
  return made;
}

}  // namespace fairlead::controllers
