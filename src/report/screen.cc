#include "cllm/report/screen.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cllm/base/quantities.h"
#include "cllm/report/text.h"
#include "cllm/report/text_plot.h"

namespace cllm::report {
namespace {

constexpr std::size_t kPlotRows = 6;

/// Columns of the words at the left of lines, and between two plots.
constexpr std::size_t kWords = 12, kBetween = 2;

/// Points that a plot of characters has use for.
constexpr std::size_t kPlotPoints = 400;

std::string ago(std::int64_t time, std::int64_t now) {
  return duration_text(static_cast<double>(std::max<std::int64_t>(0, now - time))) + " ago";
}

double part_done(const RunRecord& run) {
  const std::uint64_t steps = run.steps();
  if (steps == 0) return 0;
  return static_cast<double>(run.metrics().at.step) / static_cast<double>(steps);
}

/// Text at the left and at the right of a line.
std::string spread(const std::string& left, const std::string& right, std::size_t columns) {
  const std::size_t used = columns_of(left) + columns_of(right);
  if (used + 1 > columns) return left + "  " + right;
  return left + std::string(columns - used, ' ') + right;
}

std::string padded(std::string text, std::size_t columns) {
  const std::size_t used = columns_of(text);
  return used >= columns ? text : text + std::string(columns - used, ' ');
}

/// "loss        …".
std::string line_of(const char* word, const std::string& text) {
  return padded(word, kWords) + text;
}

std::vector<PlotPoint> plot_points(const Curve& curve) {
  std::vector<PlotPoint> points;
  for (const Point& point : curve.means(kPlotPoints)) {
    points.push_back({static_cast<double>(point.at.step), point.value});
  }
  return points;
}

/// How the loss goes, by the means of the last tenth of the steps and of the tenth before.
std::string trend_text(const Metrics& m) {
  const std::vector<Point> means = m.loss.means(kPlotPoints);
  const std::size_t part = means.size() / 10;
  if (part == 0) return {};
  const auto mean = [&](std::size_t from) {
    double sum = 0;
    for (std::size_t i = from; i < from + part; ++i) sum += means[i].value;
    return sum / static_cast<double>(part);
  };
  const std::size_t last = means.size() - part;
  const double change = mean(last) - mean(last - part);
  return fmt::format("{:+.4f} over the last {} steps", change,
                     whole_text(means.back().at.step - means[last - 1].at.step));
}

std::string loss_line(const Metrics& m) {
  if (!m.loss.last()) return "no step yet";
  std::string text = fmt::format("{:.4f}", m.recent_loss());
  const std::string trend = trend_text(m);
  return trend.empty() ? text : text + "  " + trend;
}

std::string validation_line(const Metrics& m) {
  if (!m.validation.last()) return "not yet";
  const Point& last = *m.validation.last();
  const Point& best = *m.validation.least();
  std::string text = fmt::format("{:.4f} at step {}", last.value, whole_text(last.at.step));
  if (best.at.step == last.at.step) return text + ", the best";
  return text + fmt::format("; best {:.4f} at {}", best.value, whole_text(best.at.step));
}

std::string speed_line(const Metrics& m) {
  if (!m.speed.last()) return "";
  std::string text = number_text(std::round(m.speed.last()->value)) + " tokens/s";
  if (m.norm.last()) text += fmt::format("  norm {:.3g}", m.norm.last()->value);
  if (m.rate.last()) text += fmt::format("  lr {:.3g}", m.rate.last()->value);
  return text;
}

std::string checkpoint_line(const RunRecord& run, std::int64_t now) {
  if (run.checkpoints().empty()) return "none yet";
  const CheckpointFile& newest = run.checkpoints().back();
  return fmt::format("{}, {}, {}", newest.name, bytes_text(newest.bytes), ago(newest.time, now));
}

std::string place_line(const Start& start, std::size_t resumes) {
  std::string text = fmt::format("{} rank{}, {} thread{}", start.ranks, start.ranks == 1 ? "" : "s",
                                 start.threads, start.threads == 1 ? "" : "s");
  if (!start.names.empty()) {
    text += " on " + start.names.front();
    if (start.hosts > 1) text += fmt::format(" and {} more", start.hosts - 1);
  }
  if (resumes > 0) text += fmt::format("; resumed {} time{}", resumes, resumes == 1 ? "" : "s");
  return text;
}

/// Starts of the same job before its newest one.
std::size_t requeues(const RunRecord& run) {
  const auto& all = run.metrics().sittings.all();
  const std::string& job = run.start()->job;
  const auto starts = std::ranges::count_if(
      all, [&](const Sitting& each) { return each.start && each.start->job == job; });
  return static_cast<std::size_t>(starts) - 1;
}

std::string job_line(const RunRecord& run, const JobState& job) {
  std::string text = "job " + run.start()->job + ": ";
  text += job.empty() ? "squeue doesn't know it" : job;
  const std::size_t count = requeues(run);
  if (count > 0) text += fmt::format("; requeued {} time{}", count, count == 1 ? "" : "s");
  return text;
}

/// A run that stopped and whose job waits is in the queue.
const char* state_word(const RunRecord& run, const JobState& job) {
  const bool waits = run.status() == Status::kStopped && job.starts_with("PENDING");
  return waits ? "queued" : status_word(run.status());
}

/// The state, and what it means where that is not plain.
std::string state_text(const RunRecord& run, const JobState& job, std::int64_t now) {
  const char* const word = state_word(run, job);
  if (run.status() == Status::kSilent) {
    return fmt::format("{} for {}", word,
                       duration_text(static_cast<double>(now - run.last_sign())));
  }
  if (run.status() == Status::kStopped && run.last_sign() > 0) {
    return fmt::format("{} {}", word, ago(run.last_sign(), now));
  }
  return word;
}

std::vector<std::string> plots(const Metrics& m, const ScreenSize& size) {
  const std::size_t columns = (size.columns - kBetween) / 2;
  const auto left = text_plot(plot_points(m.loss), {columns, kPlotRows}, size.utf8);
  const auto right = text_plot(plot_points(m.speed), {columns, kPlotRows}, size.utf8);
  const std::string between(kBetween, ' ');
  std::vector<std::string> lines = {padded("         loss", columns) + between +
                                    "         tokens/s"};
  for (std::size_t i = 0; i < kPlotRows; ++i) lines.push_back(left[i] + between + right[i]);
  return lines;
}

/// Fit for the terminal, whatever the files said.
std::vector<std::string> fitted(const std::vector<std::string>& lines, const ScreenSize& size) {
  std::vector<std::string> result;
  for (const std::string& line : lines) {
    if (size.rows > 0 && result.size() == size.rows) break;
    std::string text = clipped(terminal_text(line, size.utf8), size.columns);
    text.erase(text.find_last_not_of(' ') + 1);
    result.push_back(std::move(text));
  }
  return result;
}

std::string row_of(const RunRecord& run, const JobState& job, std::int64_t now,
                   std::size_t name_columns) {
  const Metrics& m = run.metrics();
  const auto loss = [](const std::optional<Point>& point) {
    return point ? fmt::format("{:.4f}", point->value) : std::string("-");
  };
  const bool runs = run.status() == Status::kRunning;
  const std::string left =
      runs && run.seconds_left() ? duration_text(*run.seconds_left()) : std::string("-");
  const std::string sign =
      run.last_sign() == 0
          ? "-"
          : duration_text(static_cast<double>(std::max<std::int64_t>(0, now - run.last_sign())));
  return fmt::format(
      "{} {:<8} {:>7} {:>4.0f}% {:>8} {:>8} {:>9} {:>7} {:>7}",
      padded(clipped(run.name(), name_columns), name_columns), state_word(run, job),
      clipped(number_text(static_cast<double>(m.at.step)), 7), 100 * part_done(run),
      m.loss.empty() ? "-" : fmt::format("{:.4f}", m.recent_loss()), loss(m.validation.least()),
      m.speed.last() ? number_text(std::round(m.speed.last()->value)) : "-", left, sign);
}

}  // namespace

std::vector<std::string> run_screen(const RunRecord& run, const JobState& job, std::int64_t now,
                                    const ScreenSize& size) {
  const Metrics& m = run.metrics();
  const double part = part_done(run);
  std::string steps = "step " + whole_text(m.at.step);
  if (run.steps() > 0) steps += " of " + whole_text(run.steps());
  std::vector<std::string> lines = {
      spread(run.directory().string(), state_text(run, job, now), size.columns)};
  std::string progress = run.steps() > 0 ? fmt::format(" {:.1f} %", 100 * part) : "";
  if (run.status() == Status::kRunning && run.seconds_left()) {
    progress += "  " + duration_text(*run.seconds_left()) + " left";
  }
  const std::size_t bar =
      size.columns - std::min(size.columns / 2, columns_of(steps + progress) + 2);
  if (run.steps() > 0) steps += fmt::format(" {}", text_bar(part, bar, size.utf8));
  lines.push_back(steps + progress);
  lines.push_back("");
  for (std::string& line : plots(m, size)) lines.push_back(std::move(line));
  lines.push_back("");
  lines.push_back(line_of("loss", loss_line(m)));
  lines.push_back(line_of("validation", validation_line(m)));
  lines.push_back(line_of("speed", speed_line(m)));
  lines.push_back(line_of("checkpoint", checkpoint_line(run, now)));
  if (run.start() != nullptr)
    lines.push_back(line_of("runs on", place_line(*run.start(), run.resumes())));
  if (run.start() != nullptr && !run.start()->job.empty()) {
    lines.push_back(line_of("slurm", job_line(run, job)));
  }
  if (run.stop() != nullptr) lines.push_back(line_of("stopped", run.stop()->why));
  if (!run.completion().empty()) lines.push_back(line_of("complete", run.completion()));
  if (!m.events.empty()) {
    const Event& last = m.events.all().back();
    lines.push_back(line_of(
        "warning", fmt::format("step {}: {}: {}", whole_text(last.step), last.kind, last.text)));
  }
  if (run.last_sign() > 0) lines.push_back(line_of("last line", ago(run.last_sign(), now)));
  return fitted(lines, size);
}

std::vector<std::string> runs_screen(const std::vector<RunRecord>& runs,
                                     const std::vector<JobState>& jobs, std::int64_t now,
                                     const ScreenSize& size) {
  constexpr std::size_t kFigures = 67;
  const std::size_t name_columns =
      size.columns > kFigures + 8 ? std::min<std::size_t>(size.columns - kFigures, 40) : 8;
  std::vector<std::string> lines = {
      fmt::format("{} {:<8} {:>7} {:>5} {:>8} {:>8} {:>9} {:>7} {:>7}", padded("run", name_columns),
                  "state", "step", "done", "loss", "best val", "tokens/s", "left", "silent")};
  std::vector<std::size_t> order(runs.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const std::size_t room =
      size.rows == 0 ? runs.size() : size.rows - std::min<std::size_t>(size.rows, 2);
  if (runs.size() > room) {
    std::ranges::stable_sort(order, {},
                             [&](std::size_t i) { return runs[i].status() == Status::kComplete; });
  }
  for (std::size_t i = 0; i < std::min(room, order.size()); ++i) {
    lines.push_back(row_of(runs[order[i]], jobs[order[i]], now, name_columns));
  }
  if (runs.size() > room) {
    const auto complete = std::ranges::count(runs, Status::kComplete, &RunRecord::status);
    lines.push_back(fmt::format("and {} more; {} of {} are complete", runs.size() - room, complete,
                                runs.size()));
  }
  return fitted(lines, size);
}

}  // namespace cllm::report
