// The query parameters of the API as options of the registry's verbs.
//
// Threads: pure functions.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "control/apiserver/registry.h"

namespace fairlead::apiserver {

struct WatchQuery {
  WatchOptions options;
  std::optional<std::chrono::seconds> timeout;
};

// `name`: of a list or watch of one object, empty otherwise; it becomes a field selector.
Outcome<ListOptions> parse_list_query(std::string_view query, const schema::Resource& resource,
                                      std::string_view name);
Outcome<WatchQuery> parse_watch_query(std::string_view query, const schema::Resource& resource,
                                      std::string_view name);

// dryRun, fieldManager, fieldValidation; the manager follows from the User-Agent when it is not
// given, as in managedFields of kube-apiserver: "kubectl/v1.30.1 (linux/amd64)" is "kubectl".
Outcome<WriteContext> parse_write_query(std::string_view query, std::string_view user_agent,
                                        auth::User user);

// From the query and, where it says something, a DeleteOptions body. Both may be absent.
// `dry_run` is set when the body asks for it.
Outcome<DeleteOptions> parse_delete_options(std::string_view query, const schema::Value* body,
                                            bool* dry_run);

}  // namespace fairlead::apiserver
