// Deltas to maps: what the programs find there afterwards.
#include "bpf/tables.h"

#include <gtest/gtest.h>

#include "dataplane/compile.h"
#include "fake_table_maps.h"
#include "tables_world.h"

namespace fairlead::bpf::testing {
namespace {

using dataplane::Protocol;

TEST(Tables, LoadsACompleteTable) {
  World world;
  world.put(spec("a", 1).endpoints({1, 2, 3}));
  world.put(spec("b", 2).endpoints({4}).node_port(30002));
  world.put(spec("c", 3).udp());
  EXPECT_EQ(world.apply(), "");
  world.expect_served();
}

}  // namespace
}  // namespace fairlead::bpf::testing
