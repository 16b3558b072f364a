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
Status measure_start(Shape shape, int runs, std::vector<Figure>& figures);

// In one world: how long one endpoint change takes until a connection meets the new endpoint, and
// what a connection to a ClusterIP costs beside one to a pod; `first`: and beside one where there
// are no rules at all.
Status measure_change(Shape shape, int samples, bool first, std::vector<Figure>& figures);

// In one world: CPU time when nothing happens, and a burst of endpoint changes.
Status measure_load(Shape shape, std::chrono::seconds idle, uint32_t burst,
                    std::vector<Figure>& figures);

}  // namespace fairlead::bench
