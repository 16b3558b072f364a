// The controllers' numbers as text for /metrics, in the names of kube-controller-manager where it
// has them.
//
// Threads: pure functions.
#pragma once

#include <string>

#include "control/controllers/manager.h"

namespace fairlead::server {

void append_metrics(const controllers::ManagerMetrics& metrics, std::string& page);

}  // namespace fairlead::server
