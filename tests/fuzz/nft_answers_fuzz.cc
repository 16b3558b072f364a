// Whatever the kernel (or a netlink proxy in between) answers: reading it back neither crashes nor
// reads beyond what came.
#include <cstdint>

#include "nftables/kernel_state.h"

namespace {

using fairlead::Result;
using fairlead::Status;
using namespace fairlead::nftables;  // NOLINT: the whole subject

class Replay final : public NetlinkTransport {
 public:
  explicit Replay(ByteView answer) : answer_(answer) {}
  Result<std::vector<Refused>> transact(ByteView) override { return std::vector<Refused>(); }
  Status dump(ByteView, const std::function<void(ByteView)>& each) override {
    each(answer_);
    return {};
  }

 private:
  ByteView answer_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Replay transport({data, size});
  for (const auto family :
       {fairlead::dataplane::Family::kIPv4, fairlead::dataplane::Family::kIPv6}) {
    KernelState state(transport, family);
    (void)state.generation().ok();
    (void)state.sets().ok();
    (void)state.chains().ok();
    (void)state.counters().ok();
    (void)state.verdicts(SetId::kClasses).ok();
    (void)state.elements(number_of(SetId::kEndpoints)).ok();
  }
  return 0;
}
