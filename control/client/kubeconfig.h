// The inside of load_kubeconfig(): from the text of a kubeconfig to a ClientConfig, with file
// reading left to the caller.
//
// Threads: pure function, but for what `read_file` does.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "control/client/config.h"

namespace fairlead::client {

using FileReader = std::function<Result<std::string>(const std::string& path)>;

// `path` names the text in errors, and relative paths inside start at its folder.
Result<ClientConfig> parse_kubeconfig(std::string_view text, const std::string& path,
                                      std::string_view context, const FileReader& read_file);

// A whole file of at most 16 MiB.
Result<std::string> read_whole_file(const std::string& path);

// What libcurl and the API need to be true of a server's address: http(s)://host[:port][/prefix].
// Returns it without trailing slashes; otherwise kInvalid with `object` as the error's object.
Result<std::string> check_server(std::string_view server, std::string_view object);

// kInvalid with `object` when `pem` holds no `label` ("CERTIFICATE", "PRIVATE KEY").
Status check_pem(std::string_view pem, std::string_view label, std::string_view object);

}  // namespace fairlead::client
