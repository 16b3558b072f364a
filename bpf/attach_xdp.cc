#include <bpf/bpf.h>
#include <linux/if_link.h>

#include <cerrno>

#include "bpf/hook.h"

namespace fairlead::bpf {

Result<std::unique_ptr<Hook>> attach_xdp(int fd, uint32_t device, XdpMode mode) {
  LIBBPF_OPTS(bpf_link_create_opts, options);
  options.flags = mode == XdpMode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  Fd link(bpf_link_create(fd, static_cast<int>(device), BPF_XDP, &options));
  if (!link.valid()) return Status::from_errno(errno, "attach XDP", to_string(mode));
  return make_link_hook({Program::kXdp, device, mode}, std::move(link), {});
}

}  // namespace fairlead::bpf
