#include "control/schema/discovery.h"

#include <algorithm>
#include <vector>

#include "control/api/json_writer.h"

namespace fairlead::schema {

namespace {

using api::JsonWriter;

void write_words(JsonWriter& json, std::string_view name, std::string_view text) {
  if (text.empty()) return;
  json.key(name).begin_array();
  for (const std::string_view word : words(text)) json.string(word);
  json.end_array();
}

void write_verbs(JsonWriter& json, uint16_t verbs) {
  json.key("verbs").begin_array();
  for (const std::string_view verb : verb_names(verbs)) json.string(verb);
  json.end_array();
}

// Groups in the order in which they first appear, the core left out.
std::vector<std::string_view> groups_of(const Catalog& catalog) {
  std::vector<std::string_view> groups;
  for (const GroupVersion& each : catalog.versions) {
    if (each.group.empty()) continue;
    if (std::find(groups.begin(), groups.end(), each.group) == groups.end()) {
      groups.push_back(each.group);
    }
  }
  return groups;
}

void write_group(JsonWriter& json, const Catalog& catalog, std::string_view group) {
  const auto write_version = [&json](const GroupVersion& version) {
    json.begin_object().key("groupVersion").string(version.api_version());
    json.key("version").string(version.version).end_object();
  };
  json.key("name").string(group).key("versions").begin_array();
  const GroupVersion* preferred = nullptr;
  for (const GroupVersion& each : catalog.versions) {
    if (each.group != group) continue;
    if (!preferred) preferred = &each;
    write_version(each);
  }
  json.end_array().key("preferredVersion");
  write_version(*preferred);
}

std::string kind_of(const Resource& resource, const Subresource& sub) {
  return std::string(sub.kind.empty() ? resource.kind : sub.kind);
}

void write_response_kind(JsonWriter& json, std::string_view group, std::string_view version,
                         std::string_view kind) {
  json.key("responseKind").begin_object().key("group").string(group);
  json.key("version").string(version).key("kind").string(kind).end_object();
}

void write_aggregated(JsonWriter& json, const Resource& resource) {
  json.begin_object().key("resource").string(resource.plural);
  // Empty where it is the version that it is listed under.
  write_response_kind(json, "", "", resource.kind);
  json.key("scope").string(resource.namespaced ? "Namespaced" : "Cluster");
  json.key("singularResource").string(resource.singular());
  write_verbs(json, resource.verbs);
  write_words(json, "shortNames", resource.short_names);
  write_words(json, "categories", resource.categories);
  const auto subresources = words(resource.subresources);
  if (!subresources.empty()) {
    json.key("subresources").begin_array();
    for (const std::string_view name : subresources) {
      const Subresource& sub = *find_subresource(resource, name);
      json.begin_object().key("subresource").string(name);
      write_response_kind(json, sub.group, sub.version, kind_of(resource, sub));
      write_verbs(json, sub.verbs);
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
}

}  // namespace

std::string api_versions_json(std::string_view address) {
  JsonWriter json;
  json.begin_object().key("kind").string("APIVersions").key("versions").begin_array();
  json.string("v1").end_array().key("serverAddressByClientCIDRs").begin_array().begin_object();
  json.key("clientCIDR").string("0.0.0.0/0").key("serverAddress").string(address);
  json.end_object().end_array().end_object();
  return json.take();
}

std::string api_group_list_json(const Catalog& catalog) {
  JsonWriter json;
  json.begin_object().key("kind").string("APIGroupList").key("apiVersion").string("v1");
  json.key("groups").begin_array();
  for (const std::string_view group : groups_of(catalog)) {
    json.begin_object();
    write_group(json, catalog, group);
    json.end_object();
  }
  json.end_array().end_object();
  return json.take();
}

std::string api_group_json(const Catalog& catalog, std::string_view group) {
  const auto groups = groups_of(catalog);
  if (std::find(groups.begin(), groups.end(), group) == groups.end()) return {};
  JsonWriter json;
  json.begin_object().key("kind").string("APIGroup").key("apiVersion").string("v1");
  write_group(json, catalog, group);
  json.end_object();
  return json.take();
}

std::string api_resource_list_json(const Catalog& catalog, const GroupVersion& version) {
  JsonWriter json;
  json.begin_object().key("kind").string("APIResourceList");
  if (!version.group.empty()) json.key("apiVersion").string("v1");
  json.key("groupVersion").string(version.api_version()).key("resources").begin_array();
  for (const Resource& resource : catalog.resources) {
    if (resource.group != version.group || resource.version != version.version) continue;
    json.begin_object().key("name").string(resource.plural);
    json.key("singularName").string(resource.singular());
    json.key("namespaced").boolean(resource.namespaced).key("kind").string(resource.kind);
    write_verbs(json, resource.verbs);
    write_words(json, "shortNames", resource.short_names);
    write_words(json, "categories", resource.categories);
    json.end_object();
    for (const std::string_view name : words(resource.subresources)) {
      const Subresource& sub = *find_subresource(resource, name);
      json.begin_object().key("name").string(std::string(resource.plural) + "/" +
                                             std::string(name));
      json.key("singularName").string("").key("namespaced").boolean(resource.namespaced);
      if (!sub.version.empty()) {
        json.key("group").string(sub.group).key("version").string(sub.version);
      }
      json.key("kind").string(kind_of(resource, sub));
      write_verbs(json, sub.verbs);
      json.end_object();
    }
  }
  json.end_array().end_object();
  return json.take();
}

std::string aggregated_discovery_json(const Catalog& catalog, std::string_view version, bool core) {
  JsonWriter json;
  json.begin_object().key("kind").string("APIGroupDiscoveryList");
  json.key("apiVersion").string(std::string("apidiscovery.k8s.io/").append(version));
  json.key("metadata").begin_object().end_object().key("items").begin_array();
  const std::vector<std::string_view> groups =
      core ? std::vector<std::string_view>{""} : groups_of(catalog);
  for (const std::string_view group : groups) {
    json.begin_object().key("metadata").begin_object();
    if (!group.empty()) json.key("name").string(group);
    json.key("creationTimestamp").null().end_object().key("versions").begin_array();
    for (const GroupVersion& each : catalog.versions) {
      if (each.group != group) continue;
      json.begin_object().key("version").string(each.version).key("resources").begin_array();
      for (const Resource& resource : catalog.resources) {
        if (resource.group == each.group && resource.version == each.version) {
          write_aggregated(json, resource);
        }
      }
      json.end_array().key("freshness").string("Current").end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace fairlead::schema
