// The host beside IPVS: the device that holds virtual addresses, the addresses that the node has
// anyway, kernel settings.
//
// Interfaces, so that tests can have a host of their own. The real ones are of the network
// namespace of the thread that opened them.
//
// Threads: one owner each.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "dataplane/address.h"
#include "ipvs/virtual_server.h"

namespace fairlead::ipvs {

// kube-ipvs0, a dummy device that is ours alone, and its addresses. An address on it is the node's
// own, so packets for it get to where IPVS looks.
class VirtualDevice {
 public:
  struct Held {
    dataplane::Address address;
    bool ours = false;  // on the device

    friend auto operator<=>(const Held&, const Held&) = default;
  };
  // What happened to addresses since the last question; `lost`: more than is listed.
  struct News {
    struct Event {
      dataplane::Address address;
      bool ours = false;
      bool added = false;
    };
    std::vector<Event> events;
    bool lost = false;
    bool device_gone = false;
  };

  virtual ~VirtualDevice() = default;

  virtual Result<bool> exists() = 0;
  virtual Status create() = 0;  // harmless when it exists
  virtual Status remove() = 0;  // with its addresses; harmless when there is none

  // All addresses of the namespace but those of loopback (127.0.0.0/8, ::1). Tentative ones count.
  virtual Result<std::vector<Held>> addresses() = 0;
  // Precondition: the device exists. What is there already, or gone already, is no failure; the
  // indices of failures count `removed` first.
  virtual Result<std::vector<Failure>> change(std::span<const dataplane::Address> removed,
                                              std::span<const dataplane::Address> added) = 0;

  virtual int fd() const = 0;  // readable when there is news
  virtual Result<News> news() = 0;
};
Result<std::unique_ptr<VirtualDevice>> open_virtual_device();

// Files below /proc/sys.
class KernelSettings {
 public:
  virtual ~KernelSettings() = default;
  // "net/ipv4/ip_forward"; nullopt: there is no such setting.
  virtual std::optional<std::string> get(std::string_view key) = 0;
  virtual Status set(std::string_view key, std::string_view value) = 0;
  virtual std::string kernel_release() = 0;  // "6.1.0-18-amd64"
};
std::unique_ptr<KernelSettings> open_kernel_settings();

}  // namespace fairlead::ipvs
