// Requests of any shape: the method, target, Accept, Content-Type and body are the input's lines,
// the body its rest. Whatever a body decodes to is an object of the kind asked for.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/apiserver/body.h"
#include "control/apiserver/negotiation.h"
#include "control/apiserver/query_options.h"
#include "control/apiserver/request_info.h"

namespace api = fairlead::apiserver;
namespace schema = fairlead::schema;

namespace {

std::string_view next_line(std::string_view& rest) {
  const size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string_view method = next_line(rest);
  const std::string_view target = next_line(rest);
  const std::string_view accept = next_line(rest);
  const std::string_view content_type = next_line(rest);
  const size_t question = target.find('?');
  const std::string_view path = target.substr(0, question);
  const std::string_view query =
      question == std::string_view::npos ? std::string_view() : target.substr(question + 1);

  const api::RequestInfo info = api::parse_request_info(method, path, query);
  if (info.is_resource && info.resource.empty()) std::abort();
  (void)api::negotiate(accept, true, info.verb == "watch");
  (void)api::negotiate_discovery(accept);
  (void)api::wants_openapi_protobuf(accept);

  const schema::Resource* resource = schema::find_resource(info.group, info.version, info.resource);
  if (resource == nullptr) resource = schema::find_resource("", "v1", "pods");
  (void)api::parse_list_query(query, *resource, info.name);
  (void)api::parse_watch_query(query, *resource, info.name);
  (void)api::parse_write_query(query, accept, {});
  const api::Target what{resource, nullptr, info.space, info.name};
  const auto body = api::decode_body(rest, content_type, what);
  if (body.ok() && body->root.get("kind").as_string() != resource->kind) std::abort();
  if (const auto type = api::patch_type(content_type)) (void)api::decode_patch(rest, *type);
  const auto options = api::decode_delete_options(rest, content_type);
  bool dry_run = false;
  if (options.ok()) (void)api::parse_delete_options(query, &options->root, &dry_run);
  return 0;
}
