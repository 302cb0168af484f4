#include "cllm/report/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace cllm::report {
namespace {

TEST(Text, OfFilesIsNoHtml) {
  EXPECT_EQ(html_text("<script>alert('a' & \"b\")</script>"),
            "&lt;script&gt;alert(&#39;a&#39; &amp; &quot;b&quot;)&lt;/script&gt;");
  EXPECT_EQ(html_text("ä\n\t€ 漢"), "ä\n\t€ 漢");
  EXPECT_EQ(html_text(std::string("a\0b\x1b[2J\x7f", 8)), "a\uFFFDb\uFFFD[2J\uFFFD");
  EXPECT_EQ(html_text("\xff\xc3("), "\uFFFD\uFFFD(");
  EXPECT_EQ(html_text("a\u202Eb"), "a\uFFFDb") << "turns the direction of writing";
}

TEST(Text, OfFilesMovesNoCursor) {
  EXPECT_EQ(terminal_text("a\x1b[2Jb\nc\rd\x9b", true), "a?[2Jb c d?");
  EXPECT_EQ(terminal_text("\xc2\x9b"
                          "2J\u202E",
                          true),
            "?2J?");
  EXPECT_EQ(terminal_text("grün ⣿", true), "grün ⣿");
  EXPECT_EQ(terminal_text("grün", false), "gr?n");
}

TEST(Text, IsClippedAtCharacters) {
  EXPECT_EQ(columns_of("grün"), 4u);
  EXPECT_EQ(clipped("grün", 4), "grün");
  EXPECT_EQ(clipped("grünes", 4), "grü…");
  EXPECT_EQ(clipped("abcdef", 4), "abc~");
  EXPECT_EQ(clipped("abc", 0), "");
}

TEST(Text, NumbersAreForPeople) {
  EXPECT_EQ(decimal_text(1234567, 0), "1,234,567");
  EXPECT_EQ(decimal_text(-1234.5, 2), "-1,234.50");
  EXPECT_EQ(decimal_text(999, 0), "999");
  EXPECT_EQ(number_text(12345), "12,345");
  EXPECT_EQ(number_text(2'340'000), "2.34 M");
  EXPECT_EQ(number_text(0.25), "0.25");
  EXPECT_EQ(number_text(0), "0");
  EXPECT_EQ(number_text(0.0000321), "3.21e-05");
  EXPECT_EQ(number_text(-2'340'000), "-2.34 M");
  EXPECT_EQ(number_text(1e300), "1e+300");
  EXPECT_EQ(number_text(std::numeric_limits<double>::infinity()), "not finite");
}

TEST(Text, TimesAreUniversal) {
  EXPECT_EQ(time_text(1700000000), "2023-11-14 22:13 UTC");
  EXPECT_EQ(time_text(0), "");
  EXPECT_NO_THROW(time_text(std::numeric_limits<std::int64_t>::max()));
  EXPECT_NO_THROW(time_text(std::numeric_limits<std::int64_t>::min()));
}

}  // namespace
}  // namespace cllm::report
