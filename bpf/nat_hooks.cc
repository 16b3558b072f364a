#include "bpf/nat_hooks.h"

#include <fmt/format.h>

#include <string>

#include "nftables/text_client.h"

namespace fairlead::bpf {
namespace {

using nftables::TextClient;

constexpr const char* kNatFamilies[] = {"ip", "ip6"};

Status run(TextClient& client, const std::string& command) {
  const Status done = client.run(command);
  if (done) return {};
  const std::string_view reason = done.detail();
  const auto says = [&](std::string_view words) {
    return reason.find(words) != std::string_view::npos;
  };
  StatusCode code = done.code();
  if (says("No such file or directory")) code = StatusCode::kNotFound;
  if (says("not supported") || says("Invalid argument")) code = StatusCode::kUnsupported;
  return Status::error(code, "run", command, std::string(reason.substr(0, reason.find('\n'))));
}

}  // namespace

Status keep_nat_hooks() {
  const auto client = nftables::open_text_client();
  if (!client) return client.status();
  bool any = false;
  Status problem;
  for (const char* family : kNatFamilies) {
    const Status kept =
        run(**client,
            fmt::format("add table {0} fairlead-ebpf;"
                        " add chain {0} fairlead-ebpf translates"
                        " {{ type nat hook postrouting priority srcnat; }};"
                        " add chain {0} fairlead-ebpf tracks; flush chain {0} fairlead-ebpf tracks;"
                        " add rule {0} fairlead-ebpf tracks masquerade",
                        family));
    any |= kept.ok();
    if (problem) problem = kept;
  }
  return any ? Status() : problem;
}

Status drop_nat_hooks() {
  const auto client = nftables::open_text_client();
  if (!client) return client.status();
  Status problem;
  for (const char* family : kNatFamilies) {
    const Status dropped = run(**client, fmt::format("delete table {} fairlead-ebpf", family));
    // A kernel without nf_tables has no such table either.
    const bool none =
        dropped.code() == StatusCode::kNotFound || dropped.code() == StatusCode::kUnsupported;
    if (!none && problem) problem = dropped;
  }
  return problem;
}

}  // namespace fairlead::bpf
