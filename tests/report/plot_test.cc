#include "cllm/report/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "well_formed.h"

namespace cllm::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

LinePlot example() {
  return {.name = "Loss <of> \"it\"",
          .x_label = "steps & more",
          .y_label = "nats",
          .series = {{"a<b", "c0", Series::Look::kLine, {{0, 2}, {50, 3}, {100, 4}}},
                     {"dots", "c1", Series::Look::kDots, {{100, 4}}, {"step 100: <4>"}}},
          .marks = {{50, "resumed & on"}, {200, "outside"}}};
}

/// The numbers of an attribute.
std::vector<double> numbers(const std::string& svg, const std::string& attribute) {
  std::smatch found;
  EXPECT_TRUE(std::regex_search(svg, found, std::regex(attribute + "=\"([^\"]*)\"")));
  std::vector<double> all;
  const std::string text = found[1];
  const std::regex number("-?[0-9.]+(e[-+][0-9]+)?");
  for (auto each = std::sregex_iterator(text.begin(), text.end(), number);
       each != std::sregex_iterator(); ++each) {
    all.push_back(std::stod(each->str()));
  }
  return all;
}

TEST(Plot, IsWellFormedWhateverTheTexts) {
  const std::string svg = draw(example());
  EXPECT_EQ(malformed(svg), "");
  EXPECT_THAT(svg, HasSubstr("a&lt;b"));
  EXPECT_THAT(svg, HasSubstr("step 100: &lt;4&gt;"));
  EXPECT_THAT(svg, HasSubstr("resumed &amp; on"));
  EXPECT_THAT(svg, Not(HasSubstr("outside")));
}

TEST(Plot, NumbersCanBeReadBack) {
  const std::string svg = draw(example());
  const std::vector<double> x = numbers(svg, "data-x"), y = numbers(svg, "data-y");
  const std::vector<double> points = numbers(svg, "polyline class=\"line c0\" points");
  ASSERT_EQ(points.size(), 6u);
  std::vector<double> values;
  for (std::size_t i = 0; i < points.size(); i += 2) {
    values.push_back(x[0] + (points[i] - x[2]) / (x[3] - x[2]) * (x[1] - x[0]));
    values.push_back(y[0] + (points[i + 1] - y[2]) / (y[3] - y[2]) * (y[1] - y[0]));
  }
  // They are drawn to a tenth of a unit; the box is some hundred units.
  const std::vector<double> wanted = {0, 2, 50, 3, 100, 4};
  for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(values[i], wanted[i], 0.02);
}

TEST(Plot, NothingGivesNone) {
  EXPECT_EQ(draw(LinePlot{}), "");
  EXPECT_EQ(draw(AreaPlot{}), "");
  EXPECT_EQ(draw(LinePlot{.name = "",
                          .x_label = "",
                          .y_label = "",
                          .is_log = true,
                          .series = {{"", "c0", Series::Look::kLine, {{1, 0}, {2, -1}}}}}),
            "")
      << "0 has no place on a logarithm's axis";
}

TEST(Plot, ALogarithmLeavesOutWhatHasNoPlace) {
  LinePlot plot = example();
  plot.is_log = true;
  plot.series = {{"", "c0", Series::Look::kLine, {{0, 1}, {50, 0}, {100, 100}}}};
  EXPECT_EQ(numbers(draw(plot), "polyline class=\"line c0\" points").size(), 4u);
}

TEST(Plot, AreasStandOnEachOther) {
  const std::string svg =
      draw(AreaPlot{.name = "",
                    .x_label = "",
                    .y_label = "",
                    .layers = {{"low", "c0", {{0, 1}, {1, 1}}}, {"high", "c1", {{0, 2}, {1, 3}}}}});
  EXPECT_EQ(malformed(svg), "");
  const std::vector<double> y = numbers(svg, "data-y");
  const std::vector<double> points = numbers(svg, "polygon class=\"area c1\" points");
  ASSERT_EQ(points.size(), 8u);
  std::vector<double> heights;
  for (std::size_t i = 1; i < points.size(); i += 2) {
    heights.push_back(std::round(y[0] + (points[i] - y[2]) / (y[3] - y[2]) * (y[1] - y[0])));
  }
  EXPECT_THAT(heights, ElementsAre(3, 4, 1, 1)) << "along the top, and back along the layer below";
}

TEST(Plot, LabelsDoNotCoverEachOther) {
  LinePlot plot = example();
  plot.series.clear();
  for (std::size_t i = 0; i < kColours; ++i) {
    plot.series.push_back({std::string(1, static_cast<char>('A' + static_cast<int>(i))),
                           "c0",
                           Series::Look::kLine,
                           {{0, 1}, {1, 2 + 1e-3 * static_cast<double>(i)}}});
  }
  const std::string svg = draw(plot);
  std::vector<double> heights;
  const std::regex label("y=\"([0-9.]+)\" text-anchor=\"start\" class=\"label c0\"");
  for (auto each = std::sregex_iterator(svg.begin(), svg.end(), label);
       each != std::sregex_iterator(); ++each) {
    heights.push_back(std::stod((*each)[1]));
  }
  ASSERT_EQ(heights.size(), kColours);
  std::ranges::sort(heights);
  for (std::size_t i = 1; i < heights.size(); ++i) {
    EXPECT_GE(heights[i] - heights[i - 1], kLargestText);
  }
}

TEST(Plot, LanesShowWhenThingsHappened) {
  const std::string svg = draw(LanePlot{.name = "",
                                        .x_label = "steps",
                                        .low = 0,
                                        .high = 10,
                                        .lanes = {{"spikes", "c1", {{5, "step 5: <>"}}, 1234}}});
  EXPECT_EQ(malformed(svg), "");
  EXPECT_THAT(svg, HasSubstr("1,234"));
  EXPECT_THAT(svg, HasSubstr("step 5: &lt;&gt;"));
}

}  // namespace
}  // namespace cllm::report
