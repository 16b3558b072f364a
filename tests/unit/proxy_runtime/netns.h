// Runs a piece of a test in a network namespace of its own, which goes with the thread that has it,
// however the test ends.
#pragma once

#include <functional>
#include <string>

namespace fairlead::proxy {

// False when this process may not create one: skip the test.
bool can_create_netns();
// On a thread of its own, with the loopback interface up.
void in_new_netns(const std::function<void()>& body);
// Runs a shell command in the calling thread's namespace; true when it succeeded.
bool shell(const std::string& command);

}  // namespace fairlead::proxy
