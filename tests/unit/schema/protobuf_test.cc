// Protobuf: known bytes, every type there and back, everything malformed refused.
#include "control/schema/protobuf.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "control/schema/resources.h"
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

std::string unhex(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
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

// Bodies of kubectl 1.33 (create, auth can-i), which Go's encoder wrote.
TEST(Protobuf, WhatKubectlSendsIsWrittenTheSame) {
  for (const std::string_view text :
       {"6b3873000a150a07617070732f7631120a4465706c6f796d656e7412b0010a1b0a016412001a0022"
        "002a003200380042005a080a036170701201641282010803120a0a080a036170701201641a6a0a1a"
        "0a0012001a0022002a003200380042005a080a03617070120164124c122e0a056e67696e7812056e"
        "67696e782a00320a0a001000185022002a0042006a007200800100880100900100a201001a003200"
        "42004a0052005800600068008201008a01009a0100c2010022020a00280038001a0c080010001800"
        "2000280038001a002200",
        "6b3873000a130a0862617463682f7631120743726f6e4a6f621299010a110a016312001a0022002a"
        "003200380042001281010a092a202a202a202a202a1a002a720a110a016312001a0022002a003200"
        "38004200125d325b0a100a0012001a0022002a00320038004200124712200a016312076275737962"
        "6f782a0042006a007200800100880100900100a201001a094f6e4661696c757265320042004a0052"
        "005800600068008201008a01009a0100c201001a001a002200",
        "6b3873000a0c0a0276311206536563726574121d0a110a017812001a0022002a0032003800420012"
        "060a01611201621a001a002200",
        "6b3873000a130a027631120d5265736f7572636551756f746112410a110a017112001a0022002a00"
        "320038004200122a0a0a0a0363707512030a01310a0f0a066d656d6f727912050a033147690a0b0a"
        "04706f647312030a01321a001a002200",
        "6b3873000a0d0a02763112075365727669636512660a1d0a02737612001a0022002a003200380042"
        "005a090a036170701202737612410a1b0a0738302d38303830120354435018502207080010903f1a"
        "00280012090a03617070120273761a002209436c757374657249503a00420052005a00600068001a"
        "020a001a002200",
        "6b3873000a1f0a146e6574776f726b696e672e6b38732e696f2f76311207496e6772657373124b0a"
        "110a016912001a0022002a00320038004200123212080a03612e621201731a260a03612e62121f0a"
        "1d0a1b0a022f78120d220b0a0373766312040a0010501a065072656669781a020a001a002200",
        "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e4275646765741236"
        "0a110a017012001a0022002a0032003800420012150a09080110001a0335302512080a060a016112"
        "01621a0a080018002000280030001a002200",
        "6b3873000a2b0a1c726261632e617574686f72697a6174696f6e2e6b38732e696f2f7631120b526f"
        "6c6542696e64696e67127c0a120a02726212001a0022002a0032003800420012260a045573657212"
        "19726261632e617574686f72697a6174696f6e2e6b38732e696f1a0175220012180a0e5365727669"
        "63654163636f756e7412001a01622201611a240a19726261632e617574686f72697a6174696f6e2e"
        "6b38732e696f1204526f6c651a01721a002200",
        "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52"
        "657175657374121a0a100a0012001a0022002a0032003800420012001a040a0012001a002200",
        "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c66537562"
        "6a656374416363657373526576696577123c0a100a0012001a0022002a00320038004200121e0a1c"
        "0a0764656661756c7412036765741a0022002a04706f647332003a001a08080012001a0020001a00"
        "2200"}) {
    const std::string body = unhex(text);
    const Result<Envelope> envelope = open_envelope(body);
    ASSERT_TRUE(envelope.ok()) << text;
    const Resource* resource = find_kind(envelope->api_version, envelope->kind);
    const Type& type = resource ? *resource->type() : *find_type("authentication.v1.TokenRequest");
    Result<Document> document = decode_protobuf(envelope->raw, type);
    ASSERT_TRUE(document.ok()) << envelope->kind;
    ASSERT_TRUE(conform(*document, *type.shape, Conform::kObject, nullptr).ok()) << envelope->kind;
    const std::string again = encode_protobuf(document->root, type);
    EXPECT_EQ(hex(seal_envelope(envelope->api_version, envelope->kind, again)), text);
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
