// This node's interface addresses, kept current over rtnetlink: for nodePortAddresses and for what
// counts as a local address.
//
//   auto watcher = AddressWatcher::open();      // subscribed and listed
//   poll on watcher->fd(); then watcher->process() -> true when the list changed
//
// Threads: one owner. The watcher looks at the network namespace of the thread that opened it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"

namespace fairlead::proxy {

struct InterfaceAddress {
  dataplane::Address address;
  uint8_t prefix_length = 0;
  uint32_t interface_index = 0;
  std::string interface_name;  // empty when the interface went away meanwhile
  bool loopback_interface = false;

  friend auto operator<=>(const InterfaceAddress&, const InterfaceAddress&) = default;
};

class AddressWatcher {
 public:
  static Result<std::unique_ptr<AddressWatcher>> open();
  virtual ~AddressWatcher() = default;

  virtual int fd() const = 0;  // readable when process() has something to do
  // Reads what the kernel has to say without blocking. After an overrun it lists again. True when
  // addresses() changed. An error leaves the last list in place; calling again is allowed.
  virtual Result<bool> process() = 0;
  // Without those of kube-ipvs0, which holds virtual addresses. Sorted, without duplicates;
  // tentative IPv6 addresses that failed detection are left out.
  virtual const std::vector<InterfaceAddress>& addresses() const = 0;
};

// The addresses that nodePortAddresses selects: those inside any of `prefixes`, each once. Loopback
// addresses only when a prefix other than 0.0.0.0/0 and ::/0 contains them; link-local IPv6 never
// by ::/0.
std::vector<dataplane::Address> select_addresses(std::span<const InterfaceAddress> addresses,
                                                 std::span<const dataplane::Prefix> prefixes);

}  // namespace fairlead::proxy
