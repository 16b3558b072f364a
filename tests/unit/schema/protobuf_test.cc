// Protobuf: known bytes, every type there and back, everything malformed refused.
#include "control/schema/protobuf.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "control/schema/wire.h"
#include "tests/unit/schema/random_object.h"
#include "tests/unit/schema/support.h"

namespace fairlead::schema {
namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::string decoded(std::string_view message, std::string_view type) {
  Result<Document> document = decode_protobuf(message, *find_type(type));
  if (!document.ok()) return document.status().message();
  const Status status = conform(*document, *find_type(type)->shape, Conform::kObject, nullptr);
  return status.ok() ? to_json(document->root) : status.message();
}

TEST(Protobuf, BytesThatGoWrites) {
  for (const Case& c : std::initializer_list<Case>{
           {"core.v1.ContainerPort", "{containerPort: 80}",
            "0a0010001850220"
            "02a00"},
           {"core.v1.EnvVar", "{name: A, value: b}",
            "0a014112"
            "0162"},
           {"core.v1.PodIP", "{ip: 10.0.0.1}", "0a0831302e302e302e31"},
           {"core.v1.TCPSocketAction", "{port: http}",
            "0a0a080110001a0468747470"
            "1200"},
           {"core.v1.TCPSocketAction", "{port: 80}",
            "0a0608001050"
            "1a00"
            "1200"},
           {"core.v1.ResourceFieldSelector", "{resource: cpu}",
            "0a001203637075"
            "1a03"
            "0a0130"},
           {"core.v1.Volume", "{name: v, emptyDir: {}}",
            "0a0176"
            "1204"
            "12020a00"},
           {"apps.v1.RollingUpdateDeployment", "{maxSurge: 1}", "1206080010011a00"}}) {
    const Document object = object_of(c.type, c.text);
    EXPECT_EQ(hex(encode_protobuf(object.root, *find_type(c.type))), c.expected) << c.text;
  }
}

TEST(Protobuf, EveryTypeComesBackAsItWent) {
  for (const Type& type : all_types()) {
    for (uint32_t seed = 0; seed < 3; ++seed) {
      Document document;
      document.root = RandomObject(seed, document.arena).of(type);
      ASSERT_TRUE(conform(document, *type.shape, Conform::kObject, nullptr).ok()) << type.name;
      if (type.name.starts_with("meta.v1.Table")) continue;  // never protobuf
      const std::string message = encode_protobuf(document.root, type);
      ASSERT_EQ(first_difference(decoded(message, type.name), to_json(document.root)), "")
          << type.name << ' ' << seed;
    }
  }
}

TEST(Protobuf, UnionsAndSpecials) {
  for (const Case& c : std::initializer_list<Case>{
           {"apiextensions.v1.JSONSchemaProps", "{additionalProperties: true}", ""},
           {"apiextensions.v1.JSONSchemaProps", "{additionalProperties: false, default: 5}", ""},
           {"apiextensions.v1.JSONSchemaProps", "{items: {type: string}, enum: [a, 1, null]}", ""},
           {"apiextensions.v1.JSONSchemaProps", "{items: [{type: string}, {}]}", ""},
           {"authentication.v1.UserInfo", "{extra: {a: [b, c]}}", ""},
           {"core.v1.Secret", "{data: {a: AAECAw==}}", ""},
           {"meta.v1.ManagedFieldsEntry", "{fieldsV1: {'f:spec': {}}}", ""},
           {"coordination.v1.LeaseSpec", "{renewTime: '1969-12-31T23:59:59.500000Z'}", ""},
           {"meta.v1.ObjectMeta", "{creationTimestamp: '1970-01-01T00:00:00Z'}", ""}}) {
    const Document object = object_of(c.type, c.text);
    EXPECT_EQ(decoded(encode_protobuf(object.root, *find_type(c.type)), c.type),
              to_json(object.root));
  }
}

TEST(Protobuf, EnvelopesAndFrames) {
  const std::string sealed = seal_envelope("v1", "Pod", "abc");
  EXPECT_EQ(hex(sealed),
            "6b3873000a090a0276311203506f64120361626"
            "31a002200");
  const Result<Envelope> opened = open_envelope(sealed);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->api_version, "v1");
  EXPECT_EQ(opened->kind, "Pod");
  EXPECT_EQ(opened->raw, "abc");
  EXPECT_FALSE(open_envelope("{}").ok());
  EXPECT_FALSE(open_envelope(std::string_view("k8s\0\x0a\x7f", 6)).ok());
  EXPECT_EQ(hex(watch_frame("ADDED", "x")),
            "0000000c"
            "0a054144444544"
            "12030a0178");
}

TEST(Protobuf, EmbeddedObjectsInEitherForm) {
  const Document map = object_of("core.v1.ConfigMap", "{data: {a: b}}");
  const std::string sealed =
      seal_envelope("v1", "ConfigMap", encode_protobuf(map.root, *find_type("core.v1.ConfigMap")));
  for (const std::string& raw :
       {sealed, std::string(R"({"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}})")}) {
    WireWriter list;
    const size_t before = list.size();
    list.bytes_field(1, raw);
    list.close(2, before);
    const std::string found = decoded(list.take(), "meta.v1.List");
    EXPECT_NE(found.find(R"("data":{"a":"b"},"kind":"ConfigMap")"), std::string::npos) << found;
  }
}

TEST(Protobuf, MalformedMessagesAreErrors) {
  const auto bytes = [](std::initializer_list<int> values) {
    std::string text;
    for (const int value : values) text.push_back(static_cast<char>(value));
    return text;
  };
  for (const std::string& message :
       {bytes({0x0a}), bytes({0x0a, 5, 'a'}), bytes({0x08, 1}), bytes({0x00, 0}),
        bytes({0x0a, 2, 0xff, 0xfe}), bytes({0x0b}), bytes({0x18, 0x80}),
        bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})}) {
    EXPECT_FALSE(decode_protobuf(message, *find_type("core.v1.ContainerPort")).ok())
        << hex(message);
  }
  // Unknown fields of every wire type are skipped.
  EXPECT_EQ(decoded(bytes({0xf8, 0x06, 1, 0xfa, 0x06, 1, 'x', 0xfd, 0x06, 0, 0, 0, 0, 0x18, 80}),
                    "core.v1.ContainerPort"),
            R"({"containerPort":80})");
}

TEST(Protobuf, DepthIsLimited) {
  std::string message;
  for (int i = 0; i < 1000; ++i) {
    WireWriter outer;
    outer.bytes_field(28, message);  // JSONSchemaProps.not
    message = outer.take();
  }
  EXPECT_FALSE(decode_protobuf(message, *find_type("apiextensions.v1.JSONSchemaProps")).ok());
}

}  // namespace
}  // namespace fairlead::schema
