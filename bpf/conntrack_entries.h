// Entries of the kernel's connection tracking: written as if the kernel had translated the
// connections itself, and asked for what it does translate.
//
// Threads: one owner. Looks at the network namespace of the thread that opened it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/netlink.h"
#include "base/status.h"
#include "bpf/layout.h"

namespace fairlead::bpf {

// Who speaks to whom, as the client writes it, and as its endpoint sees it.
struct TrackedFlow {
  fl_addr client = {}, address = {};   // IPv4 mapped, as everywhere in layout.h
  fl_addr source = {}, endpoint = {};  // of the same family
  fl_be16 client_port = 0, port = 0;
  fl_be16 source_port = 0, endpoint_port = 0;
  fl_u8 protocol = 0;    // TCP or UDP
  uint32_t seconds = 0;  // how long without a packet; above zero
};

class ConntrackEntries {
 public:
  // kUnsupported when the kernel lets nobody write into its connection tracking, kPermission when
  // it does not let us.
  static Result<ConntrackEntries> open();

  enum class Write {
    kReplace,  // what is known about what the client writes, or its endpoint answers, goes first
    kAdd,      // not where something is known
    kKeep,     // only the time of one that is known
  };
  // Writes as many as the kernel takes, and visits the place of each that it refused, with its
  // errno: EEXIST where what the client writes, or what the endpoint answers, is another
  // connection's; ENOENT of kKeep; ENOMEM when the table is full. A family of which the kernel
  // refuses whatever it is asked is not tried further, and is the error then; the other one is
  // written all the same. What netlink itself fails to carry is visited as refused too (EIO).
  //
  // TCP entries are established, and take whatever sequence numbers come: the kernel has not seen
  // where they are.
  Status write(Write how, std::span<const TrackedFlow> flows,
               const std::function<void(size_t, int)>& refused);

 private:
  struct Batch;
  explicit ConntrackEntries(netlink::Socket socket) : socket_(std::move(socket)) {}

  netlink::Socket socket_;
};

// Visits what connection tracking sends somewhere else than the client writes, until `visit`
// returns false: TCP connections that are established, or on which one side may still speak, and
// datagrams that have been answered. Costs a look at every entry.
struct Translated {
  TrackedFlow flow;      // without its seconds
  bool closing = false;  // one side has closed the connection
  bool assured = true;   // datagrams have gone to and fro for a while
};
Status visit_translated(const std::function<bool(const Translated&)>& visit);

// How many entries there are; 0 where the kernel tracks nothing.
size_t conntrack_count();

// How many more entries the table takes from us: half of its room, the rest is for what begins.
// `ours` of those that it has are from us already, and belong to our half.
size_t conntrack_room(size_t ours);
size_t conntrack_share(size_t limit, size_t used, size_t ours);  // the arithmetic of it

}  // namespace fairlead::bpf
