// ConntrackTable over nfnetlink. The dump has a socket of its own, opened for each list, so that a
// list that is given up half-way leaves nothing behind; deletions go over another while the dump is
// running.
#include <linux/netlink.h>

#include <cerrno>

#include "base/log.h"
#include "base/netlink.h"
#include "proxy/runtime/conntrack_message.h"
#include "proxy/runtime/conntrack_table.h"

namespace fairlead::proxy {
namespace {

class KernelConntrack final : public ConntrackTable {
 public:
  explicit KernelConntrack(netlink::Socket deletions) : deletions_(std::move(deletions)) {}

  Status list(const ConntrackFilter& filter,
              const std::function<bool(const ConntrackFlow&)>& visit) override {
    const Status status = list_once(filter, visit, kernel_filters_);
    // Kernels that know the attribute but not this combination say so before the first entry.
    if (kernel_filters_ &&
        (status.code() == StatusCode::kInvalid || status.code() == StatusCode::kUnsupported)) {
      LOG_INFO("the kernel does not filter conntrack dumps ({}); filtering here", status.message());
      kernel_filters_ = false;
      return list_once(filter, visit, false);
    }
    return status;
  }

  Status remove(const ConntrackFlow& flow) override {
    netlink::MessageBuilder request = conntrack_delete_request(flow);
    return deletions_.acknowledged(request, "delete conntrack entry");
  }

 private:
  static Status list_once(const ConntrackFilter& filter,
                          const std::function<bool(const ConntrackFlow&)>& visit,
                          bool kernel_filter) {
    auto socket = netlink::Socket::open(NETLINK_NETFILTER);
    if (!socket) return socket.status();
    netlink::MessageBuilder request = conntrack_dump_request(filter, kernel_filter);
    return socket->dump(request, [&](const netlink::Message& message) {
      const auto flow = parse_conntrack_flow(message.payload);
      if (!flow || flow->protocol != filter.protocol) return true;
      return visit(*flow);
    });
  }

  netlink::Socket deletions_;
  bool kernel_filters_ = true;
};

}  // namespace

Result<std::unique_ptr<ConntrackTable>> open_kernel_conntrack() {
  auto socket = netlink::Socket::open(NETLINK_NETFILTER);
  if (!socket) return socket.status();
  auto table = std::make_unique<KernelConntrack>(std::move(*socket));
  // One entry, or none, tells whether the kernel lets us.
  RETURN_IF_ERROR(table->list({dataplane::Family::kIPv4, dataplane::Protocol::kUdp, {}},
                              [](const ConntrackFlow&) { return false; }));
  return std::unique_ptr<ConntrackTable>(std::move(table));
}

}  // namespace fairlead::proxy
