// Commands in nft's own language, through libnftables with one long-lived context: the static part
// of the tables. Never used to list, and never on the path of an update.
//
// An interface, so that tests can refuse commands.
//
// Threads: one owner.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"

namespace fairlead::nftables {

class TextClient {
 public:
  virtual ~TextClient() = default;
  // Runs all commands in one transaction; the error holds nft's own words.
  virtual Status run(const std::string& commands) = 0;
  // The same up to the last step, by the kernel too: whether run() would succeed. Changes nothing.
  virtual Status check(const std::string& commands) = 0;
};

Result<std::unique_ptr<TextClient>> open_text_client();

}  // namespace fairlead::nftables
