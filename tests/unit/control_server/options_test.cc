// The command line of `fairlead server`.
#include "control/server/options.h"

#include <gmock/gmock.h>

#include "control/server/addresses.h"

namespace fairlead::server {
namespace {

using ::testing::HasSubstr;

// The options, or the one line that says what is wrong.
std::string result_of(std::vector<std::string> arguments, Options* options = nullptr) {
  const auto invocation = parse_arguments(std::move(arguments));
  if (!invocation) return invocation.status().message();
  if (options != nullptr) *options = invocation->options;
  return invocation->serve ? "serve" : invocation->output;
}

TEST(ServerOptions, Read) {
  Options options;
  EXPECT_EQ(result_of({"server", "--data-dir=/d", "--store=etcd://h:1", "--secure-port", "7",
                       "--insecure-port=0", "--store-quota-bytes=12345678901", "--tls-san=a",
                       "--tls-san=b", "--controllers=false"},
                      &options),
            "serve");
  EXPECT_EQ(options.data_dir, "/d");
  EXPECT_EQ(options.store, "etcd://h:1");
  EXPECT_EQ(options.secure_port, 7);
  EXPECT_EQ(options.store_quota_bytes, 12345678901u);
  EXPECT_EQ(options.insecure_port, 0);
  EXPECT_EQ(options.names.size(), 2u);
  EXPECT_FALSE(options.controllers);
  EXPECT_EQ(result_of({"server"}, &options), "serve");
  EXPECT_LT(options.insecure_port, 0);
}

TEST(ServerOptions, Refused) {
  EXPECT_THAT(result_of({}), HasSubstr("subcommand"));
  EXPECT_THAT(result_of({"server", "--nothing"}), HasSubstr("--nothing"));
  EXPECT_THAT(result_of({"server", "--secure-port=0"}), HasSubstr("--secure-port"));
  EXPECT_THAT(result_of({"server", "--secure-port=70000"}), HasSubstr("--secure-port"));
  EXPECT_THAT(result_of({"server", "--tls-cert-file=a"}), HasSubstr("--tls-private-key-file"));
  EXPECT_THAT(result_of({"server", "--data-dir="}), HasSubstr("--data-dir"));
  EXPECT_THAT(result_of({"server", "--max-requests-inflight=0"}), HasSubstr("at least 1"));
}

TEST(ServerOptions, HelpAndVersion) {
  EXPECT_THAT(result_of({"server", "--help"}), HasSubstr("--data-dir"));
  EXPECT_THAT(result_of({"--version"}), HasSubstr("fairlead "));
}

TEST(ServerAddresses, HostAndPort) {
  EXPECT_EQ(host_port("10.0.0.1", 6443), "10.0.0.1:6443");
  EXPECT_EQ(host_port("::1", 6443), "[::1]:6443");
}

}  // namespace
}  // namespace fairlead::server
