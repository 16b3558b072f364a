#include "bpf/nat_hooks.h"

#include <fmt/format.h>
#include <nftables/libnftables.h>

#include <memory>
#include <string>

namespace fairlead::bpf {
namespace {

constexpr const char* kNatFamilies[] = {"ip", "ip6"};

struct ContextDeleter {
  void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};
using Context = std::unique_ptr<nft_ctx, ContextDeleter>;

Result<Context> open_context() {
  Context context(nft_ctx_new(NFT_CTX_DEFAULT));
  if (!context || nft_ctx_buffer_error(context.get()) != 0 ||
      nft_ctx_buffer_output(context.get()) != 0) {
    return Status::error(StatusCode::kInternal, "create", "libnftables context", "out of memory");
  }
  return context;
}

Status run(nft_ctx& context, const std::string& command) {
  if (nft_run_cmd_from_buffer(&context, command.c_str()) == 0) return {};
  std::string reason = nft_ctx_get_error_buffer(&context);
  const auto says = [&](const char* words) { return reason.find(words) != std::string::npos; };
  reason.resize(reason.find('\n') == std::string::npos ? reason.size() : reason.find('\n'));
  StatusCode code = StatusCode::kInternal;
  if (says("Operation not permitted")) code = StatusCode::kPermission;
  if (says("No such file or directory")) code = StatusCode::kNotFound;
  if (says("not supported") || says("Invalid argument")) code = StatusCode::kUnsupported;
  return Status::error(code, "run", command, reason);
}

}  // namespace

Status keep_nat_hooks() {
  const Result<Context> context = open_context();
  if (!context) return context.status();
  bool any = false;
  Status problem;
  for (const char* family : kNatFamilies) {
    const Status kept =
        run(**context,
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
  const Result<Context> context = open_context();
  if (!context) return context.status();
  Status problem;
  for (const char* family : kNatFamilies) {
    const Status dropped = run(**context, fmt::format("delete table {} fairlead-ebpf", family));
    // A kernel without nf_tables has no such table either.
    const bool none =
        dropped.code() == StatusCode::kNotFound || dropped.code() == StatusCode::kUnsupported;
    if (!none && problem) problem = dropped;
  }
  return problem;
}

}  // namespace fairlead::bpf
