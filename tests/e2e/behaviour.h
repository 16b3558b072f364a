// Where modes differ by design, as data: a scenario asks, docs/modes.md tells operators ("what
// Behaviour" there is one row of its table of differences each).
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string_view>

namespace fairlead::e2e {

enum class Behaviour : uint8_t {
  // Translation happens at the socket, before there is a packet to masquerade: a pod of this node
  // keeps its own address, whatever address it wrote and whoever answers, itself included.
  kPodSocketsAreNeverMasqueraded,
  // A UDP socket that is connected to an endpoint which goes is aborted: its owner reads
  // ECONNABORTED and connects anew. (Elsewhere the flow moves below it.)
  kStaleUdpSocketsAreAborted,
  // An endpoint that gets no new connections any more, because it terminates while others are
  // ready, loses its UDP flows at once. (Elsewhere they stay until it stops serving.)
  kTerminatingEndpointsLoseUdpFlows,
  // The first datagram to an endpoint that has gone is lost with it, or an answer that was on its
  // way; the next one goes elsewhere.
  kADatagramIsLostWithItsEndpoint,
  // Each address of a service port remembers clients by itself: a client that uses two of them may
  // have two endpoints.
  kAffinityIsPerAddress,
  // A client is remembered at least as long as the kernel remembers the connections that it made.
  kAffinityOutlivesConnections,
  // Health check node ports are let in before other rules of the node are asked.
  kHealthChecksPassTheFirewall,
};

bool has(std::string_view mode, Behaviour behaviour);

}  // namespace fairlead::e2e
