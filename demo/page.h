// What the demo prints: plain text, at most 100 columns wide, bold headings on a terminal.
//
// Threads: one.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fairlead::demo {

class Page {
 public:
  Page();

  void title(std::string_view text);
  // Numbers itself.
  void heading(std::string_view text);
  void line(std::string_view text = {});
  // Words, broken at the page's width.
  void text(std::string_view words);
  // What was found, with its time when there is one, under each other.
  void finding(std::string_view what, std::string_view value);
  // Columns as wide as their widest cell; the first row is their names.
  void table(const std::vector<std::vector<std::string>>& rows);
  // How a total is shared out, as numbers and bars.
  void shares(const std::vector<std::pair<std::string, size_t>>& counts);
  // A command and what it said, without empty lines.
  void command(std::string_view command, std::string_view output);
  void output(std::string_view output);  // what it said, alone

 private:
  bool bold_;
  int scenes_ = 0;
};

std::string milliseconds_text(std::chrono::duration<double, std::milli> time);  // "3.2 ms"
std::string thousands(uint64_t number);                                         // "3,000"

}  // namespace fairlead::demo
