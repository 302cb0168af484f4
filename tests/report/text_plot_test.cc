#include "cllm/report/text_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cllm/report/text.h"

namespace cllm::report {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

TEST(TextPlot, DrawsAFallingLine) {
  const std::vector<PlotPoint> points = {{0, 4}, {1, 0}};
  EXPECT_THAT(text_plot(points, {13, 2}, false), ElementsAre("       4 '.  ", "       0   '."));
  EXPECT_THAT(text_plot(points, {11, 2}, true), ElementsAre("       4 ⠱⡀", "       0  ⢣"));
}

TEST(TextPlot, HasTheSizeThatWasAskedFor) {
  std::vector<PlotPoint> points;
  for (int i = 0; i < 1000; ++i) points.push_back({static_cast<double>(i), std::sin(i * 0.01)});
  for (const bool utf8 : {false, true}) {
    const auto lines = text_plot(points, {40, 6}, utf8);
    ASSERT_THAT(lines, SizeIs(6));
    for (const std::string& line : lines) EXPECT_EQ(columns_of(line), 40u);
    EXPECT_THAT(text_plot({}, {40, 6}, utf8), Each(std::string(40, ' ')));
    EXPECT_THAT(text_plot(points, {3, 2}, utf8), SizeIs(2)) << "no room for anything";
    EXPECT_THAT(text_plot({{5, 5}}, {40, 6}, utf8), SizeIs(6)) << "one point";
    EXPECT_THAT(text_plot({{0, 0}, {1, 0}}, {40, 6}, utf8), SizeIs(6)) << "a constant";
    EXPECT_THAT(text_plot({{0, -1e308}, {1, 1e308}}, {40, 6}, utf8), SizeIs(6));
  }
}

TEST(TextPlot, ALossThatBeginsHighDoesNotFlattenTheRest) {
  std::vector<PlotPoint> points;
  for (int i = 1; i <= 100; ++i) points.push_back({static_cast<double>(i), 100.0 / i});
  const auto lines = text_plot(points, {40, 6}, false);
  EXPECT_THAT(lines.front(), StartsWith("   9.091"));
}

TEST(TextPlot, BarsAreFullAsFarAsTheRunIs) {
  EXPECT_EQ(text_bar(0, 6, false), "[....]");
  EXPECT_EQ(text_bar(0.5, 6, false), "[##..]");
  EXPECT_EQ(text_bar(1, 6, false), "[####]");
  EXPECT_EQ(text_bar(7, 6, false), "[####]");
  EXPECT_EQ(text_bar(0.5, 6, true), "[██  ]");
  EXPECT_EQ(text_bar(0.125, 6, true), "[▌   ]");
  EXPECT_EQ(text_bar(1, 6, true), "[████]");
}

}  // namespace
}  // namespace cllm::report
