#include "demo/page.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <sstream>

namespace fairlead::demo {
namespace {

constexpr size_t kWidth = 98;
constexpr size_t kValueColumn = 62;
constexpr size_t kLongestBar = 50;

void print(std::string_view text) {
  std::fputs((std::string(text) + '\n').c_str(), stdout);
  std::fflush(stdout);  // a scene may take a second: what is known is shown
}

}  // namespace

Page::Page() : bold_(::isatty(STDOUT_FILENO) == 1) {}

void Page::title(std::string_view text) {
  const std::string rule(text.size(), '=');
  print(fmt::format("{}{}{}\n{}", bold_ ? "\033[1m" : "", text, bold_ ? "\033[0m" : "", rule));
}

void Page::heading(std::string_view text) {
  print(
      fmt::format("\n{}{}. {}{}", bold_ ? "\033[1m" : "", ++scenes_, text, bold_ ? "\033[0m" : ""));
}

void Page::line(std::string_view text) {
  print(text);
}

void Page::text(std::string_view words) {
  std::istringstream in{std::string(words)};
  std::string current = "  ";
  for (std::string word; in >> word;) {
    if (current.size() > 2 && current.size() + 1 + word.size() > kWidth) {
      print(current);
      current = "  ";
    }
    if (current.size() > 2) current += ' ';
    current += word;
  }
  if (current.size() > 2) print(current);
}

void Page::finding(std::string_view what, std::string_view value) {
  print(fmt::format("    {:<{}} {}", what, kValueColumn - 5, value));
}

void Page::table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (size_t n = 0; n < rows.size(); ++n) {
    std::string text = "   ";
    for (size_t i = 0; i < rows[n].size(); ++i) {
      text += fmt::format(" {:<{}} ", rows[n][i], widths[i]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    print(text);
    if (n != 0) continue;
    text = "   ";
    for (const size_t width : widths) text += " " + std::string(width, '-') + " ";
    text.erase(text.find_last_not_of(' ') + 1);
    print(text);
  }
}

void Page::shares(const std::vector<std::pair<std::string, size_t>>& counts) {
  size_t total = 0;
  size_t most = 1;
  for (const auto& [name, count] : counts) {
    total += count;
    most = std::max(most, count);
  }
  for (const auto& [name, count] : counts) {
    const double percent =
        100.0 * static_cast<double>(count) / static_cast<double>(std::max<size_t>(total, 1));
    print(fmt::format("    {:<4} {:>6}  {:5.1f} %  {}", name, thousands(count), percent,
                      std::string(kLongestBar * count / most, '#')));
  }
}

void Page::command(std::string_view command, std::string_view output) {
  print(fmt::format("    $ {}", command));
  this->output(output);
}

void Page::output(std::string_view output) {
  std::istringstream lines{std::string(output)};
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    std::string spaced;
    for (const char c : line) spaced += c == '\t' ? std::string("  ") : std::string(1, c);
    print("      " + spaced);
  }
}

std::string milliseconds_text(std::chrono::duration<double, std::milli> time) {
  return time.count() < 100 ? fmt::format("{:.1f} ms", time.count())
                            : fmt::format("{:.0f} ms", time.count());
}

std::string thousands(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

}  // namespace fairlead::demo
