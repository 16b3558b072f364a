// What is served beside objects: discovery, OpenAPI and the version. Documents are made when first
// asked for and kept.
//
// Threads: all functions from any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/thread_annotations.h"
#include "control/net/server.h"

namespace fairlead::apiserver {

class Pages {
 public:
  // `address` is where clients reach the server, `version` what /version says ("v1.30.0+x").
  Pages(std::string address, std::string version)
      : address_(std::move(address)), version_(std::move(version)) {}

  // nullopt: there is no such page.
  std::optional<net::HttpResponse> get(const net::HttpRequest& request);

 private:
  using Text = std::shared_ptr<const std::string>;
  Text keep(const std::string& key, const std::function<std::string()>& make) EXCLUDES(mutex_);
  std::optional<net::HttpResponse> openapi(const net::HttpRequest& request, std::string_view path);
  std::optional<net::HttpResponse> discovery(const net::HttpRequest& request,
                                             std::string_view path);

  const std::string address_;
  const std::string version_;
  Mutex mutex_;
  std::map<std::string, Text> kept_ GUARDED_BY(mutex_);
};

}  // namespace fairlead::apiserver
