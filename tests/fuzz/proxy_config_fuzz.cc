// The daemon's configuration: text that begins with a dash is a command line, one argument a line;
// anything else is a configuration file. What is accepted must survive being written and read
// again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/file.h"
#include "proxy/config/flags.h"
#include "proxy/config/render.h"
#include "proxy/config/validate.h"

namespace {

using fairlead::proxy::DecodedFile;
using fairlead::proxy::Layer;

void try_flags(std::string_view text) {
  std::vector<std::string> arguments;
  while (!text.empty() && arguments.size() < 64) {
    const size_t end = std::min(text.find('\n'), text.size());
    arguments.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  Layer layer = fairlead::proxy::parse_flags(arguments).layer;
  fairlead::proxy::validate(layer);
  fairlead::proxy::to_yaml(layer.settings);
}

void try_file(std::string_view text) {
  DecodedFile file = fairlead::proxy::decode_config(text, "fuzz");
  if (!file.errors.empty()) return;
  if (!fairlead::proxy::validate(file.layer).errors.empty()) return;
  const std::string written = fairlead::proxy::to_yaml(file.layer.settings);
  DecodedFile again = fairlead::proxy::decode_config(written, "written");
  if (!again.errors.empty() || !again.warnings.empty()) std::abort();
  if (!fairlead::proxy::validate(again.layer).errors.empty()) std::abort();
  if (fairlead::proxy::to_yaml(again.layer.settings) != written) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('-')) {
    try_flags(text);
  } else {
    try_file(text);
  }
  return 0;
}
