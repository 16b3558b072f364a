#include "control/client/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "control/api/base64.h"
#include "control/client/kubeconfig.h"

namespace fairlead::client {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kCa = "-----BEGIN CERTIFICATE-----\nCA\n-----END CERTIFICATE-----\n";
const std::string kCertificate = "-----BEGIN CERTIFICATE-----\nME\n-----END CERTIFICATE-----\n";
const std::string kKey = "-----BEGIN EC PRIVATE KEY-----\nME\n-----END EC PRIVATE KEY-----\n";

// A kubeconfig with one context of each name; `cluster` and `user` are flow mappings.
std::string kubeconfig(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
         "contexts:\n- {name: other, context: {cluster: nowhere, user: nobody}}\n"
         "- {name: here, context: {cluster: c, user: u, namespace: n}}\n"
         "clusters:\n- {name: c, cluster: " +
         cluster +
         "}\n"
         "users:\n- {name: u, user: " +
         user + "}\n";
}

Result<ClientConfig> parse(const std::string& text, std::string_view context = {}) {
  const std::map<std::string, std::string> files = {{"/etc/k/pki/ca.crt", kCa},
                                                    {"/abs/me.crt", kCertificate},
                                                    {"/etc/k/me.key", kKey},
                                                    {"/etc/k/junk", "junk"}};
  return parse_kubeconfig(text, "/etc/k/conf", context,
                          [&](const std::string& path) -> Result<std::string> {
                            const auto found = files.find(path);
                            if (found != files.end()) return found->second;
                            return Status::from_errno(ENOENT, "open", path);
                          });
}

ClientConfig good(const std::string& text, std::string_view context = {}) {
  Result<ClientConfig> config = parse(text, context);
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? std::move(config).value() : ClientConfig{};
}

void expect_error(const std::string& text, const std::string& reason,
                  std::string_view context = {}) {
  const Result<ClientConfig> config = parse(text, context);
  ASSERT_FALSE(config.ok()) << text;
  EXPECT_THAT(config.status().message(), HasSubstr("/etc/k/conf"));
  EXPECT_THAT(config.status().message(), HasSubstr(reason));
}

TEST(Kubeconfig, FilesRelativeToItself) {
  const ClientConfig config = good(kubeconfig(
      "{server: 'https://10.0.0.1:6443/', certificate-authority: pki/ca.crt, tls-server-name: api, "
      "proxy-url: 'socks5://127.0.0.1:1080'}",
      "{client-certificate: /abs/me.crt, client-key: me.key}"));
  EXPECT_EQ(config.server, "https://10.0.0.1:6443");
  EXPECT_EQ(config.tls_server_name, "api");
  EXPECT_EQ(config.proxy_url, "socks5://127.0.0.1:1080");
  EXPECT_EQ(config.ca_pem, kCa);
  EXPECT_EQ(config.client_certificate_pem, kCertificate);
  EXPECT_EQ(config.client_key_pem, kKey);
  EXPECT_FALSE(config.insecure_skip_tls_verify);
}

TEST(Kubeconfig, DataWinsOverFiles) {
  const ClientConfig config = good(kubeconfig(
      "{server: https://a, certificate-authority: missing, certificate-authority-data: " +
          api::encode_base64(kCa) + "}",
      "{client-certificate-data: " + api::encode_base64(kCertificate) +
          ", client-key-data: " + api::encode_base64(kKey) + "}"));
  EXPECT_EQ(config.ca_pem, kCa);
  EXPECT_EQ(config.client_certificate_pem, kCertificate);
  EXPECT_EQ(config.client_key_pem, kKey);
}

TEST(Kubeconfig, OtherCredentials) {
  const ClientConfig token = good(kubeconfig("{server: http://a, insecure-skip-tls-verify: true}",
                                             "{token: abc.def, tokenFile: tokens/t, exec: null}"));
  EXPECT_TRUE(token.insecure_skip_tls_verify);
  EXPECT_EQ(token.token, "abc.def");
  EXPECT_EQ(token.token_file, "/etc/k/tokens/t");
  const ClientConfig basic =
      good(kubeconfig("{server: http://a}", "{username: me, password: '123'}"));
  EXPECT_EQ(basic.username + ":" + basic.password, "me:123");
}

TEST(Kubeconfig, JsonIsReadToo) {
  const ClientConfig config = good(
      R"({"current-context":"x","contexts":[{"name":"x","context":{"cluster":"c"}}],"clusters":[{"name":"c","cluster":{"server":"https://a:1"}}]})");
  EXPECT_EQ(config.server, "https://a:1");
}

TEST(Kubeconfig, NamesTheContextAndFieldThatIsWrong) {
  const std::string ok_cluster = "{server: https://a}";
  const struct {
    std::string cluster;
    std::string user;
    std::string reason;
  } cases[] = {
      {"{}", "{}", "(context here): clusters[c].cluster.server: is missing"},
      {"{server: 5}", "{}", "clusters[c].cluster.server: is not a string"},
      {"{server: 'a:6443'}", "{}", "server: \"a:6443\" must start with https:// or http://"},
      {"{server: 'https://'}", "{}", "names no host"},
      {"{server: 'https://a:0'}", "{}", "has a port that is none"},
      {"{server: 'https://a:65536'}", "{}", "has a port that is none"},
      {"{server: 'https://u@a'}", "{}", "must not have a user"},
      {"{server: \"https://a\\nb\"}", "{}", "control character"},
      {"{server: https://a, proxy-url: ftp://x}", "{}",
       "clusters[c].cluster.proxy-url: must start with"},
      {"{server: https://a, insecure-skip-tls-verify: 'true'}", "{}",
       "insecure-skip-tls-verify: is not a boolean"},
      {"{server: https://a, insecure-skip-tls-verify: true, certificate-authority: pki/ca.crt}",
       "{}", "contradicts"},
      {"{server: https://a, certificate-authority: none.crt}", "{}",
       "clusters[c].cluster.certificate-authority: open /etc/k/none.crt"},
      {"{server: https://a, certificate-authority: junk}", "{}",
       "certificate-authority: holds no PEM CERTIFICATE"},
      {"{server: https://a, certificate-authority-data: '%%%'}", "{}",
       "certificate-authority-data: is not base64"},
      {ok_cluster, "{client-certificate: /abs/me.crt}",
       "users[u].user: client-certificate and client-key must"},
      {ok_cluster, "{client-key: me.key}", "users[u].user: client-certificate and client-key must"},
      {ok_cluster, "{client-certificate: /abs/me.crt, client-key: /abs/me.crt}",
       "client-key: holds no PEM PRIVATE KEY"},
      {ok_cluster, "{exec: {command: aws}}", "users[u].user.exec: is not supported"},
      {ok_cluster, "{auth-provider: {name: gcp}}", "users[u].user.auth-provider: is not supported"},
      {ok_cluster, "{as: root}", "users[u].user.as: is not supported"},
      {ok_cluster, "{token: \"a\\r\\nX-Evil: 1\"}",
       "users[u].user.token: has a space or control character"},
      {ok_cluster, "5", "users[u].user: is missing or no object"},
      {"null", "{}", "clusters[c].cluster: is missing or no object"},
  };
  for (const auto& c : cases) expect_error(kubeconfig(c.cluster, c.user), c.reason);
}

TEST(Kubeconfig, NamesWhatDoesNotExist) {
  const std::string text = kubeconfig("{server: https://a}", "{}");
  expect_error(text, "contexts: there is none called \"mine\"", "mine");
  expect_error(text, "clusters: there is none called \"nowhere\"", "other");
  expect_error("clusters: []\n", "current-context: is not set");
  expect_error("current-context: a\n", "contexts: there is none called \"a\"");
  expect_error("current-context: a\ncontexts: 7\n", "contexts: is not a list");
  expect_error("current-context: a\ncontexts: [7, {name: a, context: {}}]\n",
               "contexts[a].context.cluster: is missing");
  expect_error("[]", "is not a mapping");
  expect_error("a: [", "line 2, column 1");
  expect_error("", "is not a mapping");
}

class FolderTest : public ::testing::Test {
 protected:
  FolderTest() {
    char name[] = "/tmp/fairlead-config-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  }
  ~FolderTest() override {
    std::filesystem::remove_all(folder_);
    ::unsetenv("KUBERNETES_SERVICE_HOST");
    ::unsetenv("KUBERNETES_SERVICE_PORT");
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }

  std::string folder_;
};

TEST_F(FolderTest, LoadsFromDisk) {
  write("ca.crt", kCa);
  write("conf", kubeconfig("{server: https://a, certificate-authority: ca.crt}", "{}"));
  const auto config = load_kubeconfig(folder_ + "/conf");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->ca_pem, kCa);
  EXPECT_THAT(load_kubeconfig(folder_ + "/none").status().message(),
              StartsWith("open " + folder_ + "/none"));
  EXPECT_FALSE(load_kubeconfig(folder_).ok());
}

TEST_F(FolderTest, InCluster) {
  write("ca.crt", kCa);
  write("token", "abc\n");
  const auto config = load_in_cluster(folder_);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->server, "https://[fd00::1]:443");
  EXPECT_EQ(config->ca_pem, kCa);
  EXPECT_EQ(config->token_file, folder_ + "/token");
}

TEST_F(FolderTest, InClusterSaysWhatIsMissing) {
  EXPECT_THAT(load_in_cluster(folder_).status().message(), HasSubstr("/ca.crt"));
  write("ca.crt", "junk");
  EXPECT_THAT(load_in_cluster(folder_).status().message(), HasSubstr("holds no PEM CERTIFICATE"));
  write("ca.crt", kCa);
  EXPECT_THAT(load_in_cluster(folder_).status().message(), HasSubstr("/token"));
  write("token", "");
  EXPECT_THAT(load_in_cluster(folder_).status().message(), HasSubstr("/token: is empty"));
  ::setenv("KUBERNETES_SERVICE_PORT", "many", 1);
  EXPECT_THAT(load_in_cluster(folder_).status().message(), HasSubstr("has a port that is none"));
  ::unsetenv("KUBERNETES_SERVICE_PORT");
  EXPECT_THAT(load_in_cluster(folder_).status().message(), HasSubstr("are not set"));
}

}  // namespace
}  // namespace fairlead::client
