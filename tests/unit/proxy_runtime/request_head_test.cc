#include "proxy/runtime/request_head.h"

#include <gtest/gtest.h>

#include <string>

namespace fairlead::proxy {
namespace {

struct Case {
  std::string bytes;
  HeadState state;
};

class RequestHead : public testing::TestWithParam<Case> {};

TEST_P(RequestHead, IsRead) {
  EXPECT_EQ(read_request_head(GetParam().bytes), GetParam().state);
}

INSTANTIATE_TEST_SUITE_P(
    Heads, RequestHead,
    testing::Values(
        Case{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadState::kGet},
        Case{"GET /healthz?x=1 HTTP/1.0\r\n\r\nbody", HeadState::kGet},
        Case{"HEAD * HTTP/1.1\r\n\r\n", HeadState::kHead},
        Case{"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", HeadState::kOtherMethod},
        Case{"", HeadState::kIncomplete}, Case{"GE", HeadState::kIncomplete},
        Case{"GET / HTTP/1.1\r\nHost: a\r\n", HeadState::kIncomplete},
        Case{"GET / HTTP/2.0\r\n\r\n", HeadState::kBad}, Case{"GET /\r\n\r\n", HeadState::kBad},
        Case{"GET  HTTP/1.1\r\n\r\n", HeadState::kBad},
        Case{"GET /a b HTTP/1.1\r\n\r\n", HeadState::kBad},
        Case{" GET / HTTP/1.1\r\n\r\n", HeadState::kBad}, Case{"\x16\x03\x01", HeadState::kBad},
        Case{"G\rT / HTTP/1.1\r\n\r\n", HeadState::kBad}, Case{"\r\n\r\n", HeadState::kBad},
        Case{std::string(33, 'A'), HeadState::kBad},
        Case{"GET /" + std::string(kMaxRequestHead, 'a'), HeadState::kBad},
        Case{"GET /" + std::string(kMaxRequestHead, 'a') + " HTTP/1.1\r\n\r\n", HeadState::kBad}));

}  // namespace
}  // namespace fairlead::proxy
