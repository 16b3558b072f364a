// Who asks and what they may; keys and certificates on disk.
#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>

#include "control/auth/authenticator.h"
#include "control/auth/authorizer.h"
#include "control/auth/material.h"
#include "control/net/key_pair.h"

namespace fairlead::auth {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(AuthTokens, File) {
  auto tokens = make_token_authenticator(
      "# comment\n\ntok-1,ann,1,\"dev,ops\"\r\ntok-2,\"b,ob\",2\n", "tokens.csv");
  ASSERT_TRUE(tokens.ok()) << tokens.status().message();
  const auto ann = (*tokens)->check_token("tok-1");
  ASSERT_TRUE(ann);
  EXPECT_EQ(ann->name, "ann");
  EXPECT_THAT(ann->groups, ElementsAre("dev", "ops"));
  EXPECT_EQ((*tokens)->check_token("tok-2")->name, "b,ob");
  EXPECT_FALSE((*tokens)->check_token("tok-"));
}

TEST(AuthTokens, BadLines) {
  for (const char* text : {"a,b", ",user,uid", "token,,uid", "a,\"b,c"}) {
    const auto tokens = make_token_authenticator(text, "tokens.csv");
    ASSERT_FALSE(tokens.ok()) << text;
    EXPECT_THAT(tokens.status().message(), HasSubstr("line 1"));
  }
}

std::optional<User> authenticate(const net::HttpRequest& request) {
  std::vector<std::unique_ptr<Authenticator>> list;
  list.push_back(make_certificate_authenticator());
  list.push_back(std::move(make_token_authenticator("t,ann,1", "f")).value());
  return Authentication(std::move(list)).authenticate(request);
}

TEST(Authentication, Chain) {
  net::HttpRequest request;
  EXPECT_FALSE(authenticate(request));
  request.headers = {{"authorization", "Bearer t"}};
  const auto ann = authenticate(request);
  ASSERT_TRUE(ann);
  EXPECT_THAT(ann->groups, Contains("system:authenticated"));
  request.headers = {{"authorization", "Bearer wrong"}};
  EXPECT_FALSE(authenticate(request));
  request.client_certificate_common_name = "admin";
  request.client_certificate_organizations = {"system:masters"};
  request.client_certificate_not_after = std::time(nullptr) + 3600;
  const auto admin = authenticate(request);
  ASSERT_TRUE(admin);
  EXPECT_EQ(admin->name, "admin");
  EXPECT_TRUE(admin->in_group(kMasters));
  // The connection is older than the certificate has become.
  request.client_certificate_not_after = std::time(nullptr) - 1;
  EXPECT_FALSE(authenticate(request));
}

TEST(Authorization, Chain) {
  std::vector<std::unique_ptr<Authorizer>> list;
  list.push_back(make_masters_authorizer());
  list.push_back(make_authenticated_authorizer());
  const auto chain = make_authorizer_chain(std::move(list));
  EXPECT_TRUE(chain->authorize({"a", "", {"system:masters"}, {}}, {}).allowed());
  EXPECT_TRUE(chain->authorize({"a", "", {"system:authenticated"}, {}}, {}).allowed());
  EXPECT_FALSE(chain->authorize({"a", "", {}, {}}, {}).allowed());
  EXPECT_TRUE(chain->rules({"a", "", {}, {}}, "x").empty());
}

class AuthMaterial : public ::testing::Test {
 protected:
  AuthMaterial() {
    char name[] = "/tmp/fairlead-auth-XXXXXX";
    request_.directory = ::mkdtemp(name);
    request_.dns_names = {"localhost"};
    request_.addresses = {"127.0.0.1", "::1"};
    request_.server_url = "https://127.0.0.1:6443";
  }
  ~AuthMaterial() override { std::filesystem::remove_all(request_.directory); }

  Material prepare() {
    auto material = prepare_material(request_);
    EXPECT_TRUE(material.ok()) << material.status().message();
    return std::move(material).value();
  }

  MaterialRequest request_;
};

TEST_F(AuthMaterial, IsMadeOnceAndFoundAgain) {
  const Material first = prepare();
  const Material second = prepare();
  EXPECT_EQ(first.ca_pem, second.ca_pem);
  EXPECT_EQ(first.server_certificate_pem, second.server_certificate_pem);
  EXPECT_EQ(first.account_key_pem, second.account_key_pem);
  for (const char* file : {"/ca.key", "/server.key", "/sa.key", "/admin.kubeconfig"}) {
    struct stat info {};
    ASSERT_EQ(::stat((request_.directory + file).c_str(), &info), 0) << file;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << file;
  }
}

TEST_F(AuthMaterial, NewNamesMakeANewCertificate) {
  const Material first = prepare();
  request_.dns_names.emplace_back("api.example");
  const Material second = prepare();
  EXPECT_EQ(first.ca_pem, second.ca_pem);
  EXPECT_NE(first.server_certificate_pem, second.server_certificate_pem);
  const auto facts = net::inspect_certificate(second.server_certificate_pem);
  ASSERT_TRUE(facts.ok());
  EXPECT_THAT(facts->alternative_names, Contains("api.example"));
}

TEST_F(AuthMaterial, DamagedFilesAreSaidOrReplaced) {
  const Material first = prepare();
  ASSERT_TRUE(write_private_file(request_.directory + "/server.crt", "rubbish").ok());
  EXPECT_NE(prepare().server_certificate_pem, "rubbish");
  std::filesystem::remove(request_.directory + "/sa.pub");
  EXPECT_FALSE(prepare_material(request_).ok());
}

TEST_F(AuthMaterial, AnAuthorityIsNeverReplacedByAccident) {
  prepare();
  const std::string certificate = request_.directory + "/ca.crt";
  const std::string key = request_.directory + "/ca.key";
  const std::string key_text = std::move(read_file(key)).value();
  ASSERT_TRUE(write_private_file(certificate, "rubbish").ok());
  EXPECT_THAT(prepare_material(request_).status().message(), HasSubstr("restore both"));
  std::filesystem::remove(certificate);
  EXPECT_THAT(prepare_material(request_).status().message(), HasSubstr("restore both"));
  EXPECT_EQ(read_file(key).value(), key_text);
}

TEST_F(AuthMaterial, LeavesOfAnotherAuthorityAreMadeAnew) {
  const Material first = prepare();
  std::filesystem::remove(request_.directory + "/ca.crt");
  std::filesystem::remove(request_.directory + "/ca.key");
  const Material second = prepare();
  EXPECT_NE(first.server_certificate_pem, second.server_certificate_pem);
  // A certificate with another's key is no pair.
  ASSERT_TRUE(write_private_file(request_.directory + "/server.key", first.server_key_pem).ok());
  EXPECT_NE(prepare().server_key_pem, first.server_key_pem);
}

TEST_F(AuthMaterial, AFileOfAuthoritiesHasOne) {
  prepare();
  EXPECT_THAT(read_authorities(request_.directory + "/ca.crt").value(),
              ::testing::StartsWith("\n-----BEGIN CERTIFICATE-----"));
  const std::string rubbish = request_.directory + "/rubbish.crt";
  ASSERT_TRUE(write_private_file(rubbish, "rubbish").ok());
  EXPECT_THAT(read_authorities(rubbish).status().message(), HasSubstr(rubbish));
}

TEST_F(AuthMaterial, LinksAreNotFollowed) {
  prepare();
  const std::string victim = request_.directory + "/victim";
  ASSERT_TRUE(write_private_file(victim, "kept").ok());
  const std::string path = request_.directory + "/file";
  std::filesystem::create_symlink(victim, path + "." + std::to_string(::getpid()) + ".new");
  ASSERT_TRUE(write_private_file(path, "new").ok());
  EXPECT_EQ(read_file(victim).value(), "kept");
  EXPECT_EQ(read_file(path).value(), "new");
}

}  // namespace
}  // namespace fairlead::auth
