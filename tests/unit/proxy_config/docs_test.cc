// The manual and the table of options must not drift apart.
#include <sstream>

#include "cases.h"
#include "proxy/config/options.h"

namespace fairlead::proxy {
namespace {

std::string manual() {
  const std::ifstream file(FAIRLEAD_SOURCE_DIR "/docs/configuration.md");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The row of a table whose first two columns are the flag and the field.
std::string row_of(const Option& option) {
  std::string flag = option.flag.empty() ? "" : "`--" + std::string(option.flag) + "`";
  if (option.flag == "v" || option.flag == "help") flag += ", `-" + flag.substr(3, 1) + "`";
  const std::string field = option.field.empty() ? "" : "`" + std::string(option.field) + "`";
  return "\n| " + flag + " | " + field + " |";
}

TEST(Manual, HasARowForEveryOption) {
  const std::string text = manual();
  ASSERT_FALSE(text.empty());
  for (const Option& option : options()) {
    const size_t at = text.find(row_of(option));
    ASSERT_NE(at, std::string::npos) << row_of(option);
    const std::string row = text.substr(at + 1, text.find('\n', at + 1) - at - 1);
    if (!option.has_effect() || option.is(kDeprecated)) continue;
    const Value value = read(option, Settings());
    if (!is_zero(value)) {
      EXPECT_THAT(row, testing::HasSubstr("| `" + to_text(value) + "` |"));
    }
  }
}

TEST(Options, NamesAreUniqueAndFieldsAreNoBlocks) {
  for (const Option& option : options()) {
    if (!option.flag.empty()) {
      EXPECT_EQ(find_flag(option.flag), &option) << option.flag;
      EXPECT_EQ(option.flag.find('_'), std::string::npos) << option.flag;
    }
    if (!option.field.empty()) {
      EXPECT_EQ(find_field(option.field), &option) << option.field;
      EXPECT_FALSE(is_block(option.field)) << option.field;
    }
    EXPECT_FALSE(option.text.empty()) << option.flag << option.field;
  }
}

TEST(Options, ValuesLandWhereTheyAreReadFrom) {
  for (const Option& option : options()) {
    if (!option.has_effect()) continue;
    const char* texts[] = {"true", "7", "7", "7s", "seven", "seven", "seven=true"};
    std::string reason;
    const auto value = parse_value(option.type, texts[static_cast<size_t>(option.type)], reason);
    ASSERT_TRUE(value) << option.flag << reason;
    Settings settings;
    store(option, *value, settings);
    EXPECT_EQ(read(option, settings), *value) << option.flag << option.field;
  }
}

}  // namespace
}  // namespace fairlead::proxy
