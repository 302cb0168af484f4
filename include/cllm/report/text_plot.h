#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cllm/report/plot.h"

namespace cllm::report {

/// The size of a plot of characters, the numbers at its left included.
struct TextSize {
  std::size_t columns, rows;
};

/// A curve as lines of text, `size.rows` of `size.columns` characters each: in Braille patterns,
/// which have 2 × 4 dots in a character, or else in ASCII. At the left of the first and the last
/// line are the numbers that these stand for. `points` ascend in x; without any the lines are
/// blank. The first tenth may lie above the plot: a loss that begins high would flatten the rest.
std::vector<std::string> text_plot(const std::vector<PlotPoint>& points, TextSize size, bool utf8);

/// "[#####.....]" of `columns` characters, or in eighths of blocks; `part` from 0 to 1.
std::string text_bar(double part, std::size_t columns, bool utf8);

}  // namespace cllm::report
