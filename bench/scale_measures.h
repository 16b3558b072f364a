// The measurements, each over worlds that it builds itself.
//
// Threads: one owner.
#pragma once

#include <vector>

#include "base/status.h"
#include "bench/scale_report.h"
#include "bench/scale_world.h"

namespace fairlead::bench {

// Cold starts and restarts over standing rules, then the memory they leave: of the process after it
// has settled, at its peak, and of the kernel.
Status measure_start(const Setup& setup, Shape shape, int runs, std::vector<Figure>& figures);

// In one world: how long one endpoint change takes until a connection meets the new endpoint, and
// what a connection to a ClusterIP costs beside one to a pod; `first`: and beside one where there
// are no rules at all.
Status measure_change(const Setup& setup, Shape shape, int samples, int connection_rounds,
                      bool first, std::vector<Figure>& figures);

// In one world: CPU time when nothing happens, and a burst of endpoint changes.
Status measure_load(const Setup& setup, Shape shape, std::chrono::seconds idle, uint32_t burst,
                    std::vector<Figure>& figures);

// In one world whose last service has `ports` ports: until the endpoints of all of them have
// changed.
Status measure_ports(const Setup& setup, Shape shape, uint32_t ports, int samples,
                     std::vector<Figure>& figures);

// In one world, from a pod of the node and from a client outside, through a ClusterIP and straight
// to the pod in turn: bytes a second over one connection, and short connections a second.
Status measure_traffic(const Setup& setup, Shape shape, int rounds, std::vector<Figure>& figures);

// In two worlds at once, one of each mode, from both places: short connections a second through a
// ClusterIP, in turn, and `one` over `other`.
Status measure_side_by_side(const Setup& one, const Setup& other, Shape shape, int rounds,
                            std::vector<Figure>& figures);

}  // namespace fairlead::bench
