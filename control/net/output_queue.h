// Bytes on their way to a transport: owned pieces and pieces of exchanges, which hear when they are
// sent.
//
// Threads: io thread only.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/net/exchange.h"

namespace fairlead::net {

class OutputQueue {
 public:
  void append(std::string bytes) {
    if (!bytes.empty()) append(std::make_shared<const std::string>(std::move(bytes)), nullptr, 0);
  }
  // `credit` of the bytes count towards the owner's backlog.
  void append(Buffer bytes, std::shared_ptr<Exchange> owner, size_t credit) {
    size_ += bytes->size();
    items_.push_back({std::move(bytes), 0, std::move(owner), credit});
  }

  bool empty() const { return items_.empty(); }
  size_t size() const { return size_; }
  void clear() {
    items_.clear();
    size_ = 0;
  }

  // The first pieces, at most `limit`. Valid until consume().
  const std::vector<std::string_view>& front(size_t limit) {
    views_.clear();
    for (const Item& item : items_) {
      if (views_.size() == limit) break;
      views_.push_back(std::string_view(*item.bytes).substr(item.offset));
    }
    return views_;
  }

  void consume(size_t sent) {
    size_ -= sent;
    while (sent > 0) {
      Item& item = items_.front();
      const size_t left = item.bytes->size() - item.offset;
      if (sent < left) {
        item.offset += sent;
        return;
      }
      sent -= left;
      if (item.owner) item.owner->sent(item.credit);
      items_.pop_front();
    }
  }

 private:
  struct Item {
    Buffer bytes;
    size_t offset = 0;
    std::shared_ptr<Exchange> owner;
    size_t credit = 0;
  };

  std::deque<Item> items_;
  size_t size_ = 0;
  std::vector<std::string_view> views_;
};

}  // namespace fairlead::net
