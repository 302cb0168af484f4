#include "cllm/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cllm/report/axis.h"
#include "cllm/report/text.h"

namespace cllm::report {
namespace {

/// Where the plot itself is in its box.
constexpr double kHeight = 306, kLeft = 76, kTop = 30, kBelow = 54, kBottom = kHeight - kBelow;
/// Room at the right for the last number of the axis, and for labels of one or two characters, or
/// of a word.
constexpr double kNarrow = 38, kWide = 124;
/// Height of a lane, and the room for its name and its count.
constexpr double kLane = 30, kLaneLeft = 140, kLaneRight = 70;
/// Labels of ends are so far apart at least, and so far above the axis, whose last number may reach
/// below them.
constexpr double kLabelApart = kLargestText + 1, kAboveTicks = 5;
constexpr std::size_t kMostTicks = 5;

std::string number(double value) { return fmt::format("{:.1f}", value); }

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool is_empty() const { return low > high; }
};

/// The box with its axes, and what is drawn in it.
class Canvas {
 public:
  Canvas(const std::string& name, Axis x, Axis y, double left, double right, double bottom)
      : x_(std::move(x)), y_(std::move(y)), left_(left), right_(right), bottom_(bottom) {
    // What is drawn can be read back: the ranges and where they lie.
    text_ = fmt::format(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" data-x=\"{} {} {} {}\" "
        "data-y=\"{} {} {} {} {}\">",
        kWidth, bottom + kBelow, html_text(name), x_.low, x_.high, left_, right_, y_.low, y_.high,
        bottom_, kTop, y_.is_log ? "log" : "linear");
  }

  double x(double value) const { return left_ + x_.at(value) * (right_ - left_); }
  double y(double value) const { return bottom_ - y_.at(value) * (bottom_ - kTop); }
  double left() const { return left_; }
  double right() const { return right_; }
  double bottom() const { return bottom_; }

  void add(const std::string& piece) { text_ += piece; }

  void write(double at_x, double at_y, const char* anchor, const std::string& what,
             const std::string& colour) {
    add(fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\" class=\"{}\">{}</text>",
                    number(at_x), number(at_y), anchor, colour, html_text(what)));
  }

  void line(double x1, double y1, double x2, double y2, const char* kind,
            const std::string& title = {}) {
    add(fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{}\"", number(x1),
                    number(y1), number(x2), number(y2), kind));
    add(title.empty() ? "/>" : fmt::format("><title>{}</title></line>", html_text(title)));
  }

  void axis_x(const std::string& label) {
    for (const Tick& tick : x_.ticks) {
      line(x(tick.value), bottom_, x(tick.value), bottom_ + 4, "tick");
      write(x(tick.value), bottom_ + 25, "middle", tick.text, "soft");
    }
    line(left_, bottom_, right_, bottom_, "axis");
    write((left_ + right_) / 2, bottom_ + 46, "middle", label, "soft");
  }

  void axis_y(const std::string& label) {
    for (const Tick& tick : y_.ticks) {
      line(left_, y(tick.value), right_, y(tick.value), "grid");
      write(left_ - 8, y(tick.value) + 5, "end", tick.text, "soft");
    }
    write(4, 15, "start", label, "soft");
  }

  /// Texts beside the right edge, near these heights, none over another.
  void labels(std::vector<std::pair<double, const Series*>> wanted) {
    std::ranges::sort(wanted, {}, [](const auto& each) { return each.first; });
    double above = kTop - kLabelApart;
    for (auto& [height, series] : wanted) {
      height = std::max(height, above + kLabelApart);
      above = height;
    }
    double below = bottom_ - kAboveTicks + kLabelApart;
    for (auto each = wanted.rbegin(); each != wanted.rend(); ++each) {
      each->first = std::min(each->first, below - kLabelApart);
      below = each->first;
    }
    for (const auto& [height, series] : wanted) {
      if (height < kTop - kLabelApart) continue;  // more than there is room for
      write(right_ + 7, height + 5, "start", series->label, "label " + series->colour);
    }
  }

  std::string end() const { return text_ + "</svg>"; }

 private:
  Axis x_, y_;
  double left_, right_, bottom_;
  std::string text_;
};

/// Where there is no place for 0 and less, without these.
std::string points_text(const Canvas& canvas, const std::vector<PlotPoint>& points,
                        bool is_log = false) {
  std::string text;
  for (const PlotPoint& point : points) {
    if (is_log && !(point.y > 0)) continue;
    text += number(canvas.x(point.x)) + ',' + number(canvas.y(point.y)) + ' ';
  }
  if (!text.empty()) text.pop_back();
  return text;
}

void draw_series(Canvas& canvas, const Series& series, bool is_log) {
  if (series.look == Series::Look::kDots) {
    for (std::size_t i = 0; i < series.points.size(); ++i) {
      const std::string title = i < series.titles.size() ? series.titles[i] : "";
      canvas.add(
          fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"3.2\" class=\"dot {}\"><title>{}"
                      "</title></circle>",
                      number(canvas.x(series.points[i].x)), number(canvas.y(series.points[i].y)),
                      series.colour, html_text(title)));
    }
  }
  const char* const look = series.look == Series::Look::kFaint ? "faint" : "line";
  canvas.add(fmt::format("<polyline class=\"{} {}\" points=\"{}\"/>", look, series.colour,
                         points_text(canvas, series.points, is_log)));
}

/// Room beside the plot for the longest label.
double right_edge(const std::vector<std::string>& labels) {
  const bool has_words =
      std::ranges::any_of(labels, [](const std::string& label) { return label.size() > 2; });
  return kWidth - (has_words ? kWide : kNarrow);
}

}  // namespace

std::string draw(const LinePlot& plot) {
  Range xs, ys;
  std::vector<std::string> labels;
  for (const Series& series : plot.series) {
    for (const PlotPoint& point : series.points) {
      xs.take(point.x);
      if (!plot.is_log || point.y > 0) ys.take(point.y);
    }
    labels.push_back(series.label);
  }
  if (xs.is_empty() || ys.is_empty()) return {};
  if (plot.from_zero) ys.take(0);
  const Axis y = plot.is_log ? log_axis(ys.low, ys.high, kMostTicks)
                             : linear_axis(ys.low, ys.high, kMostTicks, true);
  Canvas canvas(plot.name, linear_axis(xs.low, xs.high, kMostTicks, false), y, kLeft,
                right_edge(labels), kBottom);
  canvas.axis_y(plot.y_label);
  canvas.axis_x(plot.x_label);
  for (const Mark& mark : plot.marks) {
    if (mark.x < xs.low || mark.x > xs.high) continue;
    canvas.line(canvas.x(mark.x), kTop, canvas.x(mark.x), kBottom, "mark", mark.title);
  }
  std::vector<std::pair<double, const Series*>> ends;
  for (const Series& series : plot.series) {
    if (series.points.empty()) continue;
    draw_series(canvas, series, plot.is_log);
    if (!series.label.empty()) ends.emplace_back(canvas.y(series.points.back().y), &series);
  }
  canvas.labels(std::move(ends));
  return canvas.end();
}

std::string draw(const AreaPlot& plot) {
  if (plot.layers.empty() || plot.layers.front().points.empty()) return {};
  std::vector<PlotPoint> below;
  for (const PlotPoint& point : plot.layers.front().points) below.push_back({point.x, 0});
  std::vector<std::vector<PlotPoint>> tops;
  Range ys;
  ys.take(0);
  for (const Layer& layer : plot.layers) {
    std::vector<PlotPoint> top = tops.empty() ? below : tops.back();
    for (std::size_t i = 0; i < std::min(top.size(), layer.points.size()); ++i) {
      top[i].y += std::max(0.0, layer.points[i].y);
      ys.take(top[i].y);
    }
    tops.push_back(std::move(top));
  }
  Canvas canvas(plot.name, linear_axis(below.front().x, below.back().x, kMostTicks, false),
                linear_axis(0, ys.high, kMostTicks, true), kLeft, kWidth - kWide, kBottom);
  canvas.axis_y(plot.y_label);
  std::vector<Series> labels;
  for (std::size_t i = 0; i < plot.layers.size(); ++i) {
    const std::vector<PlotPoint>& under = i == 0 ? below : tops[i - 1];
    std::vector<PlotPoint> outline = tops[i];
    outline.insert(outline.end(), under.rbegin(), under.rend());
    canvas.add(fmt::format("<polygon class=\"area {}\" points=\"{}\"/>", plot.layers[i].colour,
                           points_text(canvas, outline)));
    labels.push_back({plot.layers[i].label, plot.layers[i].colour, Series::Look::kLine, {}});
  }
  canvas.axis_x(plot.x_label);
  std::vector<std::pair<double, const Series*>> ends;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const double under = i == 0 ? 0 : tops[i - 1].back().y;
    ends.emplace_back(canvas.y((under + tops[i].back().y) / 2), &labels[i]);
  }
  canvas.labels(std::move(ends));
  return canvas.end();
}

std::string draw(const LanePlot& plot) {
  const double bottom = kTop + kLane * static_cast<double>(plot.lanes.size());
  Canvas canvas(plot.name, linear_axis(plot.low, plot.high, kMostTicks, false), Axis(), kLaneLeft,
                kWidth - kLaneRight, bottom);
  for (std::size_t i = 0; i < plot.lanes.size(); ++i) {
    const Lane& lane = plot.lanes[i];
    const double middle = kTop + kLane * (static_cast<double>(i) + 0.5);
    canvas.line(canvas.left(), middle, canvas.right(), middle, "grid");
    canvas.write(canvas.left() - 10, middle + 5, "end", lane.label, "soft");
    for (const Mark& mark : lane.marks) {
      canvas.add(fmt::format(
          "<rect x=\"{}\" y=\"{}\" width=\"3\" height=\"16\" rx=\"1\" "
          "class=\"event {}\"><title>{}</title></rect>",
          number(canvas.x(mark.x) - 1.5), number(middle - 8), lane.colour, html_text(mark.title)));
    }
    canvas.write(canvas.right() + 8, middle + 5, "start",
                 number_text(static_cast<double>(lane.count)), "soft");
  }
  canvas.axis_x(plot.x_label);
  return canvas.end();
}

}  // namespace cllm::report
