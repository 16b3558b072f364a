#include "control/net/http1_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fairlead::net {
namespace {

using ::testing::HasSubstr;

struct Parsed {
  Http1Parser parser{Http1Parser::Limits{.max_head = 4096, .max_body = 100}};
  size_t used = 0;
};

Parsed parse(std::string_view text, size_t piece) {
  Parsed parsed;
  while (parsed.used < text.size() && !parsed.parser.complete() && !parsed.parser.failed()) {
    parsed.used += parsed.parser.feed(text.substr(parsed.used, piece));
  }
  return parsed;
}

constexpr size_t kWhole = 1 << 20;

TEST(Http1Parser, ReadsARequest) {
  Parsed parsed =
      parse("GET /a%20b/c?x=1&y=%2F HTTP/1.1\r\nHost: h\r\nX-Thing:  v w \r\n\r\n", kWhole);
  ASSERT_TRUE(parsed.parser.complete());
  EXPECT_TRUE(parsed.parser.keep_alive());
  const HttpRequest request = parsed.parser.take();
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/a b/c");
  EXPECT_EQ(request.query, "x=1&y=%2F");
  EXPECT_EQ(request.query_value("y"), "/");
  EXPECT_EQ(request.query_value("z"), "");
  ASSERT_NE(request.header("x-thing"), nullptr);
  EXPECT_EQ(*request.header("x-thing"), "v w");
  EXPECT_EQ(request.header("absent"), nullptr);
}

TEST(Http1Parser, StopsAtTheEndOfARequest) {
  const std::string first = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
  Parsed parsed = parse(first + "GET /next HTTP/1.1\r\n", kWhole);
  EXPECT_EQ(parsed.used, first.size());
  EXPECT_EQ(parsed.parser.take().body, "abc");
  EXPECT_FALSE(parsed.parser.started());
}

TEST(Http1Parser, ReadsChunks) {
  Parsed parsed = parse(
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
      kWhole);
  ASSERT_TRUE(parsed.parser.complete()) << parsed.parser.error_reason();
  EXPECT_EQ(parsed.parser.take().body, "abc0123456789");
}

struct Case {
  const char* name;
  std::string text;
  int status;  // 0: complete
  const char* reason = "";
};

class Http1ParserCases : public ::testing::TestWithParam<Case> {};

TEST_P(Http1ParserCases, SameResultHoweverTheBytesAreCut) {
  for (const size_t piece : {kWhole, size_t{1}, size_t{2}, size_t{7}}) {
    const Parsed parsed = parse(GetParam().text, piece);
    if (GetParam().status == 0) {
      EXPECT_TRUE(parsed.parser.complete()) << piece << ": " << parsed.parser.error_reason();
    } else {
      EXPECT_TRUE(parsed.parser.failed()) << piece;
      EXPECT_EQ(parsed.parser.error_status(), GetParam().status) << piece;
      EXPECT_THAT(parsed.parser.error_reason(), HasSubstr(GetParam().reason)) << piece;
    }
  }
}

std::string post(const std::string& headers, const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n" + body;
}
std::string get(const std::string& headers) {
  return "GET / HTTP/1.1\r\n" + headers + "\r\n";
}

INSTANTIATE_TEST_SUITE_P(
    Accepted, Http1ParserCases,
    ::testing::Values(
        Case{"EmptyLineFirst", "\r\n" + get("Host: h\r\n"), 0},
        Case{"AbsoluteForm", "GET http://example.org/x?y HTTP/1.1\r\nHost: h\r\n\r\n", 0},
        Case{"Asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 0},
        Case{"Http10WithoutHost", "GET / HTTP/1.0\r\n\r\n", 0},
        Case{"EmptyHeaderValue", get("Host: h\r\nX:\r\n"), 0},
        Case{"BodyAtTheLimit", post("Content-Length: 100\r\n", std::string(100, 'x')), 0}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Refused, Http1ParserCases,
    ::testing::Values(
        Case{"BareLineFeed", "GET / HTTP/1.1\nHost: h\n\n", 400, "CRLF"},
        Case{"Garbage", "\x16\x03\x01\x02\r\n", 400, "request line"},
        Case{"TwoSpaces", "GET  / HTTP/1.1\r\n", 400, "target"},
        Case{"NoVersion", "GET /\r\n", 400, "request line"},
        Case{"OldVersion", "GET / HTTP/0.9\r\n", 505, "version"},
        Case{"NextVersion", "GET / HTTP/2.0\r\n", 505, "version"},
        Case{"Connect", "CONNECT a:1 HTTP/1.1\r\n", 501, "CONNECT"},
        Case{"BadEscape", "GET /%4 HTTP/1.1\r\n", 400, "target"},
        Case{"NulEscape", "GET /%00 HTTP/1.1\r\n", 400, "target"},
        Case{"BadMethod", "GE(T / HTTP/1.1\r\n", 400, "method"},
        Case{"NoHost", get("X: y\r\n"), 400, "Host"},
        Case{"TwoHosts", get("Host: a\r\nHost: b\r\n"), 400, "Host"},
        Case{"FoldedHeader", get("Host: h\r\n more\r\n"), 400, "folded"},
        Case{"SpaceBeforeColon", get("Host : h\r\n"), 400, "header name"},
        Case{"NoColon", get("Host\r\n"), 400, "header name"},
        Case{"ControlCharacter", get("Host: a\x01\r\n"), 400, "control"},
        Case{"LengthAndChunks", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", ""),
             400, "both"},
        Case{"ChunksAndLength", post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", ""),
             400, "both"},
        Case{"TwoLengths", post("Content-Length: 3\r\nContent-Length: 3\r\n", ""), 400, "Length"},
        Case{"LengthList", post("Content-Length: 3, 3\r\n", ""), 400, "Length"},
        Case{"NegativeLength", post("Content-Length: -3\r\n", ""), 400, "Length"},
        Case{"SignedLength", post("Content-Length: +3\r\n", ""), 400, "Length"},
        Case{"HugeLength", post("Content-Length: 99999999999999999999\r\n", ""), 400, "Length"},
        Case{"EmptyLength", post("Content-Length:\r\n", ""), 400, "Length"},
        Case{"OtherCoding", post("Transfer-Encoding: gzip, chunked\r\n", ""), 501, "Transfer"},
        Case{"ChunkedTwice",
             post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""), 400,
             "Transfer"},
        Case{"ChunkedInHttp10", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
             "Transfer"},
        Case{"BodyTooLarge", post("Content-Length: 101\r\n", ""), 413, "too large"},
        Case{"ChunkTooLarge", post("Transfer-Encoding: chunked\r\n", "65\r\n"), 413, "too large"},
        Case{"ChunkSizeOverflow", post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff0\r\n"),
             400, "chunk size"},
        Case{"ChunkSizeWord", post("Transfer-Encoding: chunked\r\n", "xyz\r\n"), 400, "chunk size"},
        Case{"ChunkSizeEmpty", post("Transfer-Encoding: chunked\r\n", "\r\n"), 400, "chunk size"},
        Case{"ChunkLongerThanSize", post("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n"), 400,
             "longer"},
        Case{"ChunkLineTooLong",
             post("Transfer-Encoding: chunked\r\n", "1;" + std::string(2000, 'x')), 400,
             "chunk line"},
        Case{"BadTrailer", post("Transfer-Encoding: chunked\r\n", "0\r\nnonsense\r\n\r\n"), 400,
             "trailer"},
        Case{"HeadTooLarge", get("Host: h\r\nX: " + std::string(5000, 'x') + "\r\n"), 431, "head"},
        Case{"EndlessLine", std::string(5000, 'x'), 431, "head"},
        Case{"StrangeExpectation", post("Expect: coffee\r\n", ""), 417, "expectation"}),
    [](const auto& test) { return test.param.name; });

struct KeepAliveCase {
  std::string text;
  bool keep_alive;
};

TEST(Http1Parser, DecidesWhetherTheConnectionGoesOn) {
  const KeepAliveCase cases[] = {
      {get("Host: h\r\n"), true},
      {get("Host: h\r\nConnection: close\r\n"), false},
      {get("Host: h\r\nConnection: x, Close\r\n"), false},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
  };
  for (const KeepAliveCase& each : cases) {
    EXPECT_EQ(parse(each.text, kWhole).parser.keep_alive(), each.keep_alive) << each.text;
  }
}

TEST(Http1Parser, ExpectsContinueOnlyBeforeABody) {
  EXPECT_TRUE(parse(post("Expect: 100-continue\r\nContent-Length: 1\r\n", ""), kWhole)
                  .parser.expects_continue());
  EXPECT_FALSE(parse(post("Expect: 100-continue\r\n", ""), kWhole).parser.expects_continue());
}

}  // namespace
}  // namespace fairlead::net
