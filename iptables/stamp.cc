#include "iptables/stamp.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>

#include "base/fd.h"

namespace fairlead::iptables {
namespace {

// struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h; ip6t_getinfo has the same form. Written
// here because the two headers cannot both be included.
struct TableInfo {
  std::array<char, 32> name;
  uint32_t valid_hooks;
  std::array<uint32_t, 5> hook_entry;
  std::array<uint32_t, 5> underflow;
  uint32_t num_entries;
  uint32_t size;
};
static_assert(sizeof(TableInfo) == 84);
constexpr int kGetInfo = 64;  // IPT_SO_GET_INFO, IP6T_SO_GET_INFO

struct GenerationRequest {
  nlmsghdr header;
  nfgenmsg message;
};

}  // namespace

Result<uint64_t> legacy_stamp(dataplane::Family family, std::string_view table) {
  const bool v4 = family == dataplane::Family::kIPv4;
  const std::string object = "legacy table " + std::string(table);
  const Fd socket(::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!socket.valid()) return Status::from_errno(errno, "open a raw socket for", object);
  TableInfo info{};
  table.copy(info.name.data(), info.name.size() - 1);
  socklen_t length = sizeof info;
  if (::getsockopt(socket.get(), v4 ? static_cast<int>(IPPROTO_IP) : static_cast<int>(IPPROTO_IPV6),
                   kGetInfo, &info, &length) != 0) {
    if (errno == ENOENT || errno == ENOPROTOOPT) return uint64_t{0};
    return Status::from_errno(errno, "ask about", object);
  }
  return dataplane::stable_hash({reinterpret_cast<const uint8_t*>(&info), sizeof info});
}

Result<uint64_t> nft_stamp() {
  const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket.valid()) return Status::from_errno(errno, "open netlink socket for", "nf_tables");
  GenerationRequest request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.message.nfgen_family = AF_UNSPEC;
  if (::send(socket.get(), &request, sizeof request, 0) < 0) {
    return Status::from_errno(errno, "ask generation of", "nf_tables");
  }
  std::array<char, 4096> answer{};
  const ssize_t got = ::recv(socket.get(), answer.data(), answer.size(), 0);
  if (got < 0) return Status::from_errno(errno, "read generation of", "nf_tables");

  const auto size = static_cast<size_t>(got);
  const auto malformed = [] {
    return Status::error(StatusCode::kInternal, "read generation of", "nf_tables",
                         "the answer has no generation");
  };
  nlmsghdr header{};
  if (size < sizeof header) return malformed();
  std::memcpy(&header, answer.data(), sizeof header);
  if (header.nlmsg_type == NLMSG_ERROR) {
    nlmsgerr error{};
    if (size < sizeof header + sizeof error) return malformed();
    std::memcpy(&error, answer.data() + sizeof header, sizeof error);
    return Status::from_errno(-error.error, "ask generation of", "nf_tables");
  }
  for (size_t at = sizeof header + sizeof(nfgenmsg); at + sizeof(nlattr) <= size;) {
    nlattr attribute{};
    std::memcpy(&attribute, answer.data() + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || at + attribute.nla_len > size) break;
    if (attribute.nla_type == NFTA_GEN_ID &&
        attribute.nla_len == sizeof attribute + sizeof(uint32_t)) {
      uint32_t generation = 0;
      std::memcpy(&generation, answer.data() + at + sizeof attribute, sizeof generation);
      return uint64_t{ntohl(generation)};
    }
    at += (attribute.nla_len + 3U) & ~3U;
  }
  return malformed();
}

}  // namespace fairlead::iptables
