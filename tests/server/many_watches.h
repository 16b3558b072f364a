// Watches by the thousand: streams of a few HTTP/2 connections (plain, prior knowledge), as
// client-go shares one connection among all of its watches.
//
// Threads: one owner.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::server_test {

class ManyWatches {
 public:
  ManyWatches(uint16_t port, int connections, int streams_each, std::string path);
  ~ManyWatches();

  // Answered with 200, refused with anything else, ended since.
  int begun() const { return begun_; }
  int refused() const { return refused_; }
  int ended() const { return ended_; }
  // Lines that have come, all streams together.
  int64_t lines() const { return lines_; }

  // Reads and answers until `enough` says so; false when the time is up or a connection broke.
  bool work_until(const std::function<bool()>& enough, std::chrono::milliseconds at_most);

 private:
  struct Link;
  bool read_from(Link& link);
  bool send_on(Link& link);

  std::string path_;
  std::vector<std::unique_ptr<Link>> links_;
  int begun_ = 0;
  int refused_ = 0;
  int ended_ = 0;
  int64_t lines_ = 0;
};

}  // namespace fairlead::server_test
