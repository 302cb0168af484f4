#include "curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cllm/report/text.h"
#include "page.h"

namespace cllm::report {
namespace {

/// Points of all curves of a plot, and of one of them.
constexpr std::size_t kMostInPlot = 20'000, kMostInCurve = 2 * Curve::kBuckets, kFewest = 200;

/// Fewer points are shown as they are.
constexpr std::size_t kFewestToSmooth = 60;

/// So many runs may show every number behind their smoothed curve, before it is a tangle.
constexpr std::size_t kMostWithNoise = 3;

constexpr std::size_t kLayers = 250;

std::vector<PlotPoint> placed(const std::vector<Point>& points, const Against& against,
                              double from) {
  std::vector<PlotPoint> placed;
  for (const Point& point : points) {
    const double x = against.of(point.at);
    if (x >= from) placed.push_back({x, point.value});
  }
  return placed;
}

const Against kSteps = {"steps", "steps",
                        [](const Place& at) { return static_cast<double>(at.step); }};

/// The best are drawn last, over the others.
std::vector<DrawnRun> last_first(const std::vector<DrawnRun>& runs) {
  return {runs.rbegin(), runs.rend()};
}

/// Adds a noisy curve: smoothed, over its numbers where `has_noise`.
void add_noisy(std::vector<Series>& series, const Curve& curve, const Against& against, double from,
               const DrawnRun& run, const std::string& label, bool has_noise, std::size_t most) {
  const std::vector<Point> smooth = smoothed(curve.means(most / 2));
  if (smooth.empty()) {
    series.push_back(
        {label, run.colour, Series::Look::kLine, placed(curve.points(most), against, from)});
    return;
  }
  if (has_noise) {
    series.push_back(
        {"", run.colour, Series::Look::kFaint, placed(curve.points(most), against, from)});
  }
  series.push_back({label, run.colour, Series::Look::kLine, placed(smooth, against, from)});
}

void add_dots(std::vector<Series>& series, const Curve& curve, const Against& against, double from,
              const std::string& colour, const std::string& label, std::size_t most) {
  Series dots{label, colour, Series::Look::kDots, {}, {}};
  for (const Point& point : curve.points(most)) {
    const double x = against.of(point.at);
    if (x < from) continue;
    dots.points.push_back({x, point.value});
    dots.titles.push_back(fmt::format("step {}: {}", point.at.step, point.value));
  }
  series.push_back(std::move(dots));
}

/// Where the run went on after a stop.
std::vector<Mark> resume_marks(const RunRecord& run, const Against& against) {
  std::vector<Mark> marks;
  if (against.id != kSteps.id) return marks;
  bool is_first = true;
  for (const Sitting& each : run.metrics().sittings.all()) {
    if (!each.start || std::exchange(is_first, false)) continue;
    marks.push_back(
        {static_cast<double>(each.start->step),
         fmt::format("resumed at step {}, {}", each.start->step, time_text(each.start->time))});
  }
  return marks;
}

/// One plot of a noisy curve of each run.
std::string overlay(const char* title, const char* unit, const std::vector<DrawnRun>& runs,
                    const std::function<const Curve&(const Metrics&)>& curve_of, bool is_log) {
  LinePlot plot{.name = title,
                .x_label = kSteps.label,
                .y_label = unit,
                .is_log = is_log,
                .from_zero = !is_log,
                .series = {}};
  const bool has_noise = runs.size() <= kMostWithNoise;
  for (const DrawnRun& run : last_first(runs)) {
    add_noisy(plot.series, curve_of(run.run->metrics()), kSteps, 0, run, run.key, has_noise,
              points_for(runs.size()));
  }
  if (runs.size() == 1) plot.marks = resume_marks(*runs.front().run, kSteps);
  return figure(title, draw(plot));
}

/// Rates have no noise.
std::string rates(const std::vector<DrawnRun>& runs) {
  LinePlot plot{.name = "Learning rate",
                .x_label = kSteps.label,
                .y_label = "",
                .from_zero = true,
                .series = {}};
  for (const DrawnRun& run : last_first(runs)) {
    plot.series.push_back(
        {run.key, run.colour, Series::Look::kLine,
         placed(run.run->metrics().rate.points(points_for(runs.size())), kSteps, 0)});
  }
  return figure(plot.name, draw(plot));
}

/// The last place of all.
double end_of(const std::vector<DrawnRun>& runs, const Against& against) {
  double end = 0;
  for (const DrawnRun& run : runs) end = std::max(end, against.of(run.run->metrics().at));
  return end;
}

Lane lane_of(const char* label, const char* colour) { return {label, colour, {}, 0}; }

void add_mark(Lane& lane, std::uint64_t step, const std::string& title) {
  lane.marks.push_back({static_cast<double>(step), title});
  ++lane.count;
}

}  // namespace

std::vector<Against> choices_for(const std::vector<DrawnRun>& runs) {
  std::vector<Against> choices = {kSteps,
                                  {"tokens", "tokens", [](const Place& at) { return at.tokens; }}};
  const double seconds = end_of(runs, {"", "", [](const Place& at) { return at.seconds; }});
  if (seconds > 0) {
    const auto [unit, name] = seconds >= 2 * 86400.0  ? std::pair(86400.0, "days")
                              : seconds >= 2 * 3600.0 ? std::pair(3600.0, "hours")
                              : seconds >= 2 * 60.0   ? std::pair(60.0, "minutes")
                                                      : std::pair(1.0, "seconds");
    choices.push_back({"time", fmt::format("{} in steps and evaluations", name),
                       [unit = unit](const Place& at) { return at.seconds / unit; }});
  }
  if (std::ranges::all_of(runs,
                          [](const DrawnRun& run) { return run.run->metrics().has_node_hours; })) {
    choices.push_back({"node-hours", "node-hours", [](const Place& at) { return at.node_hours; }});
  }
  return choices;
}

std::size_t points_for(std::size_t curves) {
  return std::clamp(kMostInPlot / std::max<std::size_t>(curves, 1), kFewest, kMostInCurve);
}

std::vector<Point> smoothed(const std::vector<Point>& means) {
  if (means.size() < kFewestToSmooth) return {};
  const std::size_t reach = std::max<std::size_t>(1, means.size() / 40);
  std::vector<double> sums = {0};
  for (const Point& point : means) sums.push_back(sums.back() + point.value);
  std::vector<Point> result;
  for (std::size_t i = 0; i < means.size(); ++i) {
    // As far on both sides, so that a curve that falls isn't drawn too high at its end; where that
    // is not far, the mean is as noisy as the numbers.
    const std::size_t side = std::min({reach, i, means.size() - 1 - i});
    if (2 * side < reach) continue;
    const double sum = sums[i + side + 1] - sums[i - side];
    result.push_back({means[i].at, sum / static_cast<double>(2 * side + 1)});
  }
  return result;
}

std::vector<std::string> loss_figures(const std::vector<DrawnRun>& runs, const Against& against,
                                      bool later_half) {
  const double from = later_half ? end_of(runs, against) / 2 : 0;
  const char* const part = later_half ? ", later half" : "";
  const std::size_t most = points_for(runs.size());
  LinePlot plot{.name = fmt::format("Loss{} against {}", part, against.label),
                .x_label = against.label,
                .y_label = "nats per token",
                .series = {}};
  const bool has_noise = runs.size() <= kMostWithNoise;
  if (runs.size() == 1) {
    const DrawnRun& run = runs.front();
    const Metrics& metrics = run.run->metrics();
    add_noisy(plot.series, metrics.loss, against, from, run, "training", true, most);
    add_dots(plot.series, metrics.validation, against, from, "c1", "validation", most);
    plot.marks = resume_marks(*run.run, against);
    return {figure(fmt::format("Loss{}", part), draw(plot))};
  }
  LinePlot validation = plot;
  for (const DrawnRun& run : last_first(runs)) {
    const Metrics& metrics = run.run->metrics();
    add_noisy(plot.series, metrics.loss, against, from, run, run.key, has_noise, most);
    add_dots(validation.series, metrics.validation, against, from, run.colour, run.key, most);
  }
  return {figure(fmt::format("Training loss{}", part), draw(plot)),
          figure(fmt::format("Validation loss{}", part), draw(validation))};
}

std::vector<std::string> course_figures(const std::vector<DrawnRun>& runs) {
  const auto norm = [](const Metrics& m) -> const Curve& { return m.norm; };
  const auto speed = [](const Metrics& m) -> const Curve& { return m.speed; };
  return {overlay("Speed", "tokens/s", runs, speed, false),
          overlay("Gradient norm", "before clipping", runs, norm, true), rates(runs)};
}

std::vector<std::string> time_figures(const RunRecord& run) {
  const Metrics& m = run.metrics();
  const auto layer = [](const char* label, const char* colour, const Curve& curve) {
    return Layer{label, colour, placed(curve.means(kLayers), kSteps, 0)};
  };
  const AreaPlot phases{
      .name = "Where the time of a step goes",
      .x_label = kSteps.label,
      .y_label = "seconds per step",
      .layers = {layer("compute", "c0", m.compute), layer("update", "c2", m.update),
                 layer("waiting", "c1", m.communication)}};
  LinePlot communication{.name = "Communication",
                         .x_label = kSteps.label,
                         .y_label = "seconds per step",
                         .from_zero = true,
                         .series = {}};
  const auto line = [&](const char* label, const char* colour, const Curve& curve) {
    communication.series.push_back(
        {label, colour, Series::Look::kLine, placed(curve.means(kLayers), kSteps, 0)});
  };
  line("hidden", "c0", m.hidden_communication);
  line("waited for", "c1", m.communication);
  return {figure("Where the time of a step goes", draw(phases),
                 "waiting: for other ranks' gradients; means over neighbouring steps"),
          figure("Communication", draw(communication),
                 "hidden: behind the computation of the same step")};
}

std::vector<std::string> group_figures(const RunRecord& run) {
  constexpr std::size_t kMostLines = 6;
  const std::vector<GroupNorms>& groups = run.metrics().groups;
  const std::size_t lines = std::min(groups.size(), kMostLines);
  LinePlot gradient{.name = "Gradient norm by part of the model",
                    .x_label = kSteps.label,
                    .y_label = "before clipping",
                    .is_log = true,
                    .series = {}};
  LinePlot update{.name = "Norm of the update by part of the model",
                  .x_label = kSteps.label,
                  .y_label = "of all its weights",
                  .is_log = true,
                  .series = {}};
  for (std::size_t i = 0; i < lines; ++i) {
    // The first, the last, and some between them.
    const GroupNorms& group = groups[lines == 1 ? 0 : i * (groups.size() - 1) / (lines - 1)];
    const auto line = [&](const Curve& curve) {
      return Series{clipped(group.group, 10), fmt::format("c{}", i), Series::Look::kLine,
                    placed(curve.means(kLayers), kSteps, 0)};
    };
    gradient.series.push_back(line(group.gradient));
    update.series.push_back(line(group.update));
  }
  const std::string note =
      groups.size() > lines ? fmt::format("{} of {} parts", lines, groups.size()) : "";
  return {figure(gradient.name, draw(gradient), note), figure(update.name, draw(update), note)};
}

std::string events_figure(const RunRecord& run) {
  const Metrics& m = run.metrics();
  std::vector<Lane> lanes = {lane_of("evaluations", "c0"), lane_of("checkpoints", "c2"),
                             lane_of("resumes", "c7"),     lane_of("spikes", "c1"),
                             lane_of("rollbacks", "c3"),   lane_of("warnings", "c4")};
  for (const Point& point : m.validation.points(Newest<Event>::kMost)) {
    add_mark(lanes[0], point.at.step, fmt::format("step {}: {:.4f}", point.at.step, point.value));
  }
  for (const SavedLine& saved : m.saved.all()) {
    add_mark(lanes[1], saved.step, fmt::format("step {}: {}", saved.step, saved.name));
  }
  lanes[1].count = m.saved.count();
  for (const Mark& mark : resume_marks(run, kSteps)) {
    lanes[2].marks.push_back(mark);
    ++lanes[2].count;
  }
  for (const Event& event : m.events.all()) {
    const std::size_t lane = event.kind == "spike" || event.kind == "overflow" ? 3
                             : event.kind == "rollback"                        ? 4
                                                                               : 5;
    add_mark(lanes[lane], event.step, fmt::format("step {}: {}", event.step, event.text));
  }
  std::erase_if(lanes, [](const Lane& lane) { return lane.marks.empty(); });
  if (lanes.empty()) return {};
  const auto end = static_cast<double>(std::max<std::uint64_t>(m.at.step, 1));
  return figure("What happened when", draw(LanePlot{.name = "Events",
                                                    .x_label = kSteps.label,
                                                    .low = 0,
                                                    .high = end,
                                                    .lanes = std::move(lanes)}));
}

}  // namespace cllm::report
