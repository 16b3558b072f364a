// Whatever comes, the parser neither crashes nor changes its mind about it when the bytes are cut
// differently: two parsers that disagree about where a request ends are how requests are smuggled.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "control/net/http1_parser.h"

namespace {

using fairlead::net::Http1Parser;
using fairlead::net::HttpRequest;

struct Outcome {
  std::vector<HttpRequest> requests;
  int error = 0;
};

// The first byte decides how the rest is cut.
Outcome parse(std::string_view bytes, size_t piece) {
  Outcome outcome;
  Http1Parser parser({.max_head = 1024, .max_body = 512});
  while (!bytes.empty() && !parser.failed()) {
    const size_t used = parser.feed(bytes.substr(0, piece));
    if (used == 0) std::abort();
    bytes.remove_prefix(used);
    if (parser.complete()) outcome.requests.push_back(parser.take());
  }
  outcome.error = parser.error_status();
  return outcome;
}

bool same(const HttpRequest& a, const HttpRequest& b) {
  return a.method == b.method && a.path == b.path && a.query == b.query && a.headers == b.headers &&
         a.body == b.body;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = parse(bytes, bytes.size());
  const Outcome cut = parse(bytes, size_t{data[0]} % 16 + 1);
  if (whole.error != cut.error || !std::equal(whole.requests.begin(), whole.requests.end(),
                                              cut.requests.begin(), cut.requests.end(), same)) {
    std::abort();
  }
  for (const HttpRequest& request : whole.requests) {
    if (request.body.size() > 512 || request.method.empty()) std::abort();
    request.query_value("watch");
  }
  return 0;
}
