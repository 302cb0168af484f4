#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cllm::report {

// Plots as SVG, which an HTML page has inline: it gives them their colours, the classes c0 to c7
// and "other", and the size of their text, which may be up to kLargestText. All texts are escaped
// here.

/// Height of text in a plot's own units, of which it is kWidth wide: no more than there is room
/// for.
inline constexpr double kLargestText = 17, kWidth = 560;

/// Colours that can be told apart.
inline constexpr std::size_t kColours = 8;

struct PlotPoint {
  double x, y;
};

struct Series {
  enum class Look { kLine, kFaint, kDots };

  std::string label;   ///< beside its end; empty for none
  std::string colour;  ///< a class
  Look look = Look::kLine;
  std::vector<PlotPoint> points;         ///< ascending in x
  std::vector<std::string> titles = {};  ///< of dots, shown where the pointer is
};

/// A thin line from top to bottom.
struct Mark {
  double x;
  std::string title;
};

struct LinePlot {
  std::string name;  ///< for those who can't see it
  std::string x_label, y_label;
  bool is_log = false;     ///< the vertical axis
  bool from_zero = false;  ///< the vertical axis
  std::vector<Series> series;
  std::vector<Mark> marks = {};
};

/// Lines over each other; an empty text where there is no point.
std::string draw(const LinePlot& plot);

/// One of the layers that stand on each other.
struct Layer {
  std::string label, colour;
  std::vector<PlotPoint> points;  ///< those of all layers have the same x
};

struct AreaPlot {
  std::string name, x_label, y_label;
  std::vector<Layer> layers;  ///< from below
};

/// Areas on each other; an empty text where there is no point.
std::string draw(const AreaPlot& plot);

/// When things of one kind happened.
struct Lane {
  std::string label, colour;
  std::vector<Mark> marks;
  std::size_t count;  ///< of all, also of those that have no mark
};

struct LanePlot {
  std::string name, x_label;
  double low, high;
  std::vector<Lane> lanes;
};

std::string draw(const LanePlot& plot);

}  // namespace cllm::report
