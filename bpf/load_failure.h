// Why the kernel refused the programs or maps, in one line: from what libbpf said about it.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::bpf {

// Names the program or map, the kernel's reason and what to do, which is `otherwise` where a
// program was refused for what it is. `error` is positive.
Status explain_load_failure(int error, std::string_view libbpf_log, std::string_view otherwise);

// The program that the kernel refused; empty when it was something else.
std::string_view refused_program(std::string_view libbpf_log);

// The last thing that libbpf said, in one line.
std::string last_line(std::string_view libbpf_log);

}  // namespace fairlead::bpf
