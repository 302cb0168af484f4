#include "cllm/report/text_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "cllm/report/text.h"

namespace cllm::report {
namespace {

/// Columns of the numbers at the left, a space included.
constexpr std::size_t kNumbers = 9;

/// Part of the points that need not be in the range.
constexpr std::size_t kFirstPart = 10;
constexpr std::size_t kFewest = 20;

/// The bit of each of the dots of a Braille pattern, by column and row.
constexpr std::array<std::array<unsigned, 4>, 2> kDots = {
    {{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}};

/// A character of Braille: U+2800 and its dots.
std::string braille(unsigned dots) {
  if (dots == 0) return " ";
  return {static_cast<char>(0xE2), static_cast<char>(0xA0 + (dots >> 6)),
          static_cast<char>(0x80 + (dots & 0x3F))};
}

/// Which of two dots, one above the other.
const char* ascii(unsigned dots) {
  constexpr std::array kCharacters = {" ", "'", ".", ":"};
  return kCharacters[dots];
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
};

Range range_of(const std::vector<PlotPoint>& points) {
  const std::size_t first = points.size() >= kFewest ? points.size() / kFirstPart : 0;
  Range range;
  for (std::size_t i = first; i < points.size(); ++i) {
    range.low = std::min(range.low, points[i].y);
    range.high = std::max(range.high, points[i].y);
  }
  if (range.high - range.low <= 1e-9 * std::abs(range.high)) {
    const double room = range.high == 0 ? 1 : 0.05 * std::abs(range.high);
    range.low -= room;
    range.high += room;
  }
  return range;
}

std::string label(double value) {
  return fmt::format("{:>{}} ", clipped(number_text(value), kNumbers - 1), kNumbers - 1);
}

/// Dots of a grid that may be set.
class Dots {
 public:
  Dots(std::size_t columns, std::size_t rows)
      : columns_(columns), rows_(rows), is_set_(columns * rows) {}
  bool at(std::size_t column, std::size_t row) const { return is_set_[row * columns_ + column]; }
  /// A column from the row after `from` to `to`, whichever is above.
  void fill(std::size_t column, std::size_t from, std::size_t to) {
    do {
      if (from != to) from = from < to ? from + 1 : from - 1;
      is_set_[from * columns_ + column] = true;
    } while (from != to);
  }
  std::size_t columns() const { return columns_; }
  std::size_t rows() const { return rows_; }

 private:
  std::size_t columns_, rows_;
  std::vector<bool> is_set_;
};

/// A line through the points, from the left edge to the right one.
void draw_line(Dots& dots, const std::vector<PlotPoint>& points, const Range& range) {
  const double first = points.front().x;
  const double width = std::max(points.back().x - first, 1e-300);
  const auto row_of = [&](double y) {
    // Halves, because the range of large numbers is larger than any.
    const double height = y / 2 - range.low / 2, all = range.high / 2 - range.low / 2;
    const double part = std::clamp(height / all, 0.0, 1.0);
    return static_cast<std::size_t>(std::lround((1 - part) * static_cast<double>(dots.rows() - 1)));
  };
  std::size_t next = 0;
  std::size_t before = row_of(points.front().y);
  for (std::size_t column = 0; column < dots.columns(); ++column) {
    const double x =
        first + width * static_cast<double>(column) / static_cast<double>(dots.columns() - 1);
    while (next + 1 < points.size() && points[next + 1].x <= x) ++next;
    double y = points[next].y;
    if (next + 1 < points.size() && points[next + 1].x > points[next].x) {
      const double part = std::max(0.0, x - points[next].x) / (points[next + 1].x - points[next].x);
      y = (1 - part) * y + part * points[next + 1].y;
    }
    const std::size_t row = row_of(y);
    dots.fill(column, column == 0 ? row : before, row);
    before = row;
  }
}

}  // namespace

std::vector<std::string> text_plot(const std::vector<PlotPoint>& points, TextSize size, bool utf8) {
  if (points.empty() || size.columns <= kNumbers + 1 || size.rows == 0) {
    return std::vector<std::string>(size.rows, std::string(size.columns, ' '));
  }
  const std::size_t wide = utf8 ? 2 : 1, high = utf8 ? 4 : 2;
  const Range range = range_of(points);
  const std::size_t columns = size.columns - kNumbers;
  Dots dots(columns * wide, size.rows * high);
  draw_line(dots, points, range);
  std::vector<std::string> lines;
  for (std::size_t row = 0; row < size.rows; ++row) {
    std::string line(kNumbers, ' ');
    if (row == 0) line = label(range.high);
    if (row > 0 && row + 1 == size.rows) line = label(range.low);
    for (std::size_t column = 0; column < columns; ++column) {
      unsigned bits = 0;
      for (std::size_t i = 0; i < wide; ++i) {
        for (std::size_t j = 0; j < high; ++j) {
          if (dots.at(column * wide + i, row * high + j)) bits |= utf8 ? kDots[i][j] : 1U << j;
        }
      }
      line += utf8 ? braille(bits) : ascii(bits);
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string text_bar(double part, std::size_t columns, bool utf8) {
  part = std::clamp(part, 0.0, 1.0);
  const std::size_t inside = columns - std::min<std::size_t>(columns, 2);
  std::string bar = "[";
  if (utf8) {
    constexpr std::array kEighths = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    const auto eighths = static_cast<std::size_t>(part * static_cast<double>(8 * inside));
    for (std::size_t i = 0; i < inside; ++i) {
      bar += 8 * (i + 1) <= eighths ? "█" : 8 * i < eighths ? kEighths[eighths % 8] : " ";
    }
  } else {
    const auto full = static_cast<std::size_t>(part * static_cast<double>(inside));
    bar += std::string(full, '#') + std::string(inside - full, '.');
  }
  return bar + "]";
}

}  // namespace cllm::report
