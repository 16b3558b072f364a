#include "ipvs/virtual_servers.h"

#include <linux/ip_vs.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include <cerrno>
#include <utility>

#include "ipvs/messages.h"
#include "ipvs/netlink_socket.h"

namespace fairlead::ipvs {
namespace {

class KernelServers final : public VirtualServers {
 public:
  KernelServers(NetlinkSocket socket, NetlinkSocket lists, int family)
      : socket_(std::move(socket)), lists_(std::move(lists)), family_(family) {}

  Result<std::vector<Failure>> apply(std::span<const Operation> operations) override;
  Result<std::vector<ListedServer>> servers() override;
  Result<std::vector<ListedDestination>> destinations(const ServerKey& server) override;
  Status set_timeouts(const Timeouts& timeouts) override;

 private:
  MessagePointer message(uint8_t command) const {
    MessagePointer made(nlmsg_alloc_size(kMessageSize));
    if (made && genlmsg_put(made.get(), NL_AUTO_PORT, 0, family_, 0, 0, command,
                            IPVS_GENL_VERSION) == nullptr) {
      made.reset();
    }
    return made;
  }
  static ByteView attributes_of(const nlmsghdr& header) {
    const auto* const generic = static_cast<const genlmsghdr*>(nlmsg_data(&header));
    if (header.nlmsg_len < NLMSG_LENGTH(GENL_HDRLEN)) return {};
    return {reinterpret_cast<const uint8_t*>(generic) + GENL_HDRLEN,
            header.nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN)};
  }

  // The kernel prepares an answer of the size of the largest buffer that its reader ever had: many
  // pages for a list of everything, but not for the few destinations of each of ten thousand
  // servers.
  NetlinkSocket socket_;
  NetlinkSocket lists_;
  int family_;
};

Result<std::vector<Failure>> KernelServers::apply(std::span<const Operation> operations) {
  std::vector<std::pair<size_t, int>> refused;
  ASSIGN_OR_RETURN(refused, socket_.transact(operations.size(), [&](size_t index) {
    MessagePointer made = message(command_of(operations[index]));
    if (made && !put_operation(made.get(), operations[index])) made.reset();
    return made;
  }));
  std::vector<Failure> failures;
  for (const auto& [index, error] : refused) {
    failures.push_back({index, refusal_of(operations[index], error)});
  }
  return failures;
}

Result<std::vector<ListedServer>> KernelServers::servers() {
  std::vector<ListedServer> listed;
  RETURN_IF_ERROR(lists_.dump(message(IPVS_CMD_GET_SERVICE), [&](const nlmsghdr& header) {
    if (auto server = read_server(attributes_of(header))) listed.push_back(std::move(*server));
  }));
  return listed;
}

Result<std::vector<ListedDestination>> KernelServers::destinations(const ServerKey& server) {
  MessagePointer request = message(IPVS_CMD_GET_DEST);
  if (request && !put_server_key(request.get(), server)) request.reset();
  std::vector<ListedDestination> listed;
  RETURN_IF_ERROR(socket_.dump(std::move(request), [&](const nlmsghdr& header) {
    if (auto destination = read_destination(attributes_of(header), server.family)) {
      listed.push_back(*destination);
    }
  }));
  return listed;
}

Status KernelServers::set_timeouts(const Timeouts& timeouts) {
  std::vector<std::pair<size_t, int>> refused;
  ASSIGN_OR_RETURN(refused, socket_.transact(1, [&](size_t) {
    MessagePointer made = message(IPVS_CMD_SET_CONFIG);
    // The kernel leaves what is 0.
    if (made &&
        (nla_put_u32(made.get(), IPVS_CMD_ATTR_TIMEOUT_TCP, timeouts.tcp_seconds) != 0 ||
         nla_put_u32(made.get(), IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, timeouts.tcp_fin_seconds) != 0 ||
         nla_put_u32(made.get(), IPVS_CMD_ATTR_TIMEOUT_UDP, timeouts.udp_seconds) != 0)) {
      made.reset();
    }
    return made;
  }));
  if (refused.empty()) return {};
  return Status::from_errno(refused[0].second, "set timeouts of", "IPVS");
}

}  // namespace

Result<std::unique_ptr<VirtualServers>> open_virtual_servers() {
  Result<NetlinkSocket> socket = NetlinkSocket::open(NETLINK_GENERIC, "IPVS");
  if (!socket) return socket.status();
  Result<NetlinkSocket> lists = NetlinkSocket::open(NETLINK_GENERIC, "IPVS");
  if (!lists) return lists.status();
  // The kernel loads the module for whoever asks for the family.
  const int family = genl_ctrl_resolve(lists->get(), IPVS_GENL_NAME);
  if (family < 0) {
    return Status::error(StatusCode::kUnsupported, "use", "IPVS",
                         "the kernel does not have it (CONFIG_IP_VS; try: modprobe ip_vs)");
  }
  return std::unique_ptr<VirtualServers>(
      std::make_unique<KernelServers>(std::move(*socket), std::move(*lists), family));
}

}  // namespace fairlead::ipvs
