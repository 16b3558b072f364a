#include "nftables/text_client.h"

#include <nftables/libnftables.h>

namespace fairlead::nftables {
namespace {

struct ContextDeleter {
  void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

class LibNftables final : public TextClient {
 public:
  explicit LibNftables(nft_ctx* context) : context_(context) {}

  Status run(const std::string& commands) override { return execute(commands); }

  Status check(const std::string& commands) override {
    nft_ctx_set_dry_run(context_.get(), true);
    const Status checked = execute(commands);
    nft_ctx_set_dry_run(context_.get(), false);
    return checked;
  }

 private:
  Status execute(const std::string& commands) {
    if (nft_run_cmd_from_buffer(context_.get(), commands.c_str()) == 0) {
      // Warnings and echoes are of no use here, but the buffers must not grow.
      (void)nft_ctx_get_error_buffer(context_.get());
      return {};
    }
    std::string reason = nft_ctx_get_error_buffer(context_.get());
    while (!reason.empty() && reason.back() == '\n') reason.pop_back();
    const bool permission = reason.find("Operation not permitted") != std::string::npos;
    return Status::error(permission ? StatusCode::kPermission : StatusCode::kInternal, "run",
                         "nft command", reason);
  }

  std::unique_ptr<nft_ctx, ContextDeleter> context_;
};

}  // namespace

Result<std::unique_ptr<TextClient>> open_text_client() {
  nft_ctx* const context = nft_ctx_new(NFT_CTX_DEFAULT);
  if (context == nullptr) {
    return Status::error(StatusCode::kInternal, "create", "libnftables context", "out of memory");
  }
  auto client = std::make_unique<LibNftables>(context);
  if (nft_ctx_buffer_error(context) != 0 || nft_ctx_buffer_output(context) != 0) {
    return Status::error(StatusCode::kInternal, "set up", "libnftables buffers", "out of memory");
  }
  return std::unique_ptr<TextClient>(std::move(client));
}

}  // namespace fairlead::nftables
