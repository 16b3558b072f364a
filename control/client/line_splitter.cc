#include "control/client/line_splitter.h"

namespace fairlead::client {

void LineSplitter::forget() {
  // One long line must not hold its memory for the life of the watch.
  constexpr size_t kKeep = size_t{256} << 10;
  if (partial_.capacity() > kKeep) partial_ = std::string();
  partial_.clear();
}

}  // namespace fairlead::client
