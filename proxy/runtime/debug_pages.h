// The pages under /debug/ when profiling is enabled: what the process can say of itself without
// help.
//
// Threads: any; reads /proc and the allocator.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fairlead::proxy {

// Plain text (the allocator's arenas: XML); nullopt when there is no such page.
std::optional<std::string> debug_page(std::string_view path);

}  // namespace fairlead::proxy
