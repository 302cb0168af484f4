#include "run_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cllm/base/quantities.h"
#include "cllm/report/text.h"
#include "curves.h"
#include "page.h"

namespace cllm::report {
namespace {

/// Rows of a table, the newest.
constexpr std::size_t kMostRows = 20;
constexpr std::size_t kMostSamples = 6;

using Rows = std::vector<std::vector<Cell>>;

Cell step_cell(std::uint64_t step) { return {decimal_text(static_cast<double>(step), 0), true}; }

/// Of what may be unknown.
Cell count_cell(std::uint64_t count) { return count == 0 ? Cell{"", true} : step_cell(count); }

/// A heading and a table; nothing where it has no row. Says where rows are left out.
std::string titled(const char* title, const std::vector<Cell>& head, const Rows& rows,
                   std::size_t of = 0) {
  if (rows.empty()) return {};
  std::string note;
  if (of > rows.size()) {
    note = element("p", "note", fmt::format("The newest {} of {}.", rows.size(), of));
  }
  return element("h3", "", title) + note + table(head, rows);
}

std::string evaluations(const Metrics& m) {
  const std::vector<Point> points = m.validation.points();
  std::vector<Cell> head = {{"step", true}, {"loss", true}, {"tokens", true}, {"time", true}};
  for (const auto& [name, curve] : m.sources) head.push_back({html_text(name), true});
  Rows rows;
  for (auto point = points.rbegin(); point != points.rend() && rows.size() < kMostRows; ++point) {
    std::vector<Cell> row = {step_cell(point->at.step),
                             {exact_loss(point->value), true},
                             {number_text(point->at.tokens), true},
                             {duration_text(point->at.seconds), true}};
    for (const auto& [name, curve] : m.sources) {
      const std::vector<Point> all = curve.points();
      const auto same =
          std::ranges::find(all, point->at.step, [](const Point& each) { return each.at.step; });
      row.push_back({same == all.end() ? "" : exact_loss(same->value), true});
    }
    rows.push_back(std::move(row));
  }
  return titled("Evaluations", head, rows, points.size());
}

std::string event_table(const Metrics& m) {
  Rows rows;
  const auto& all = m.events.all();
  for (auto event = all.rbegin(); event != all.rend() && rows.size() < kMostRows; ++event) {
    rows.push_back({step_cell(event->step), {html_text(event->kind)}, {html_text(event->text)}});
  }
  return titled("Warnings and spikes", {{"step", true}, {"what"}, {""}}, rows, m.events.count());
}

std::string sample_list(const Metrics& m) {
  if (m.samples.empty()) return {};
  std::string html = element("h3", "", "Samples");
  const auto& all = m.samples.all();
  std::size_t shown = 0;
  for (auto sample = all.rbegin(); sample != all.rend() && shown < kMostSamples;
       ++sample, ++shown) {
    html += element("p", "note",
                    fmt::format("step {}", decimal_text(static_cast<double>(sample->step), 0)));
    html +=
        element("pre", "", element("b", "", html_text(sample->prompt)) + html_text(sample->text));
  }
  return html;
}

std::string checkpoint_table(const RunRecord& run) {
  Rows rows;
  const auto& files = run.checkpoints();
  for (auto file = files.rbegin(); file != files.rend() && rows.size() < kMostRows; ++file) {
    const auto& lines = run.metrics().saved.all();
    const auto line = std::find_if(lines.rbegin(), lines.rend(),
                                   [&](const SavedLine& each) { return each.name == file->name; });
    const bool is_known = line != lines.rend();
    rows.push_back({step_cell(file->step),
                    {html_text(file->name)},
                    {bytes_text(file->bytes), true},
                    {is_known ? fmt::format("{:.2g} s", line->pause) : "", true},
                    {is_known ? fmt::format("{:.2g} s", line->write) : "", true},
                    {time_text(file->time)}});
  }
  return titled(
      "Checkpoints that are there",
      {{"step", true}, {"file"}, {"size", true}, {"pause", true}, {"writing", true}, {"when"}},
      rows, run.checkpoint_count());
}

std::string hosts_text(const Start& start) {
  std::string text = fmt::format("{}", fmt::join(start.names, ", "));
  if (start.hosts > start.names.size()) {
    text += fmt::format(" and {} more", start.hosts - start.names.size());
  }
  return text;
}

std::string sitting_table(const Metrics& m) {
  Rows rows;
  for (const Sitting& each : m.sittings.all()) {
    if (each.start) {
      const Start& s = *each.start;
      rows.push_back({{time_text(s.time)},
                      {"start"},
                      step_cell(s.step),
                      count_cell(s.ranks),
                      count_cell(s.threads),
                      {html_text(hosts_text(s))},
                      {html_text(s.job)},
                      {html_text(s.version)}});
    } else {
      rows.push_back({{time_text(each.stop->time)},
                      {"stop"},
                      step_cell(each.stop->step),
                      {},
                      {},
                      {html_text(each.stop->why)},
                      {},
                      {}});
    }
  }
  return titled("Starts and stops",
                {{"when"},
                 {""},
                 {"at step", true},
                 {"ranks", true},
                 {"threads", true},
                 {"hosts, or why"},
                 {"Slurm job"},
                 {"version"}},
                rows, m.sittings.count());
}

std::string option_list(const RunRecord& run) {
  std::string items;
  for (const RunOption& option : run.options()) {
    const char* const look = option.is_derived ? "soft" : "";
    items += element("li", "",
                     element("code", look, html_text(option.name)) +
                         element("code", look, html_text(option.value))) +
             '\n';
  }
  if (items.empty()) return {};
  return element("h3", "", "Configuration") +
         element("p", "note", "Grey is what followed from other options.") +
         element("ul", "options", items);
}

}  // namespace

std::string status_html(const RunRecord& run) {
  const char* const word = status_word(run.status());
  return element("span", word, word);
}

std::string run_section(const RunRecord& run) {
  const Metrics& m = run.metrics();
  std::vector<std::string> plots = time_figures(run);
  for (std::string& plot : group_figures(run)) plots.push_back(std::move(plot));
  plots.push_back(events_figure(run));
  return figures(plots) + evaluations(m) + event_table(m) + sample_list(m) + checkpoint_table(run) +
         sitting_table(m) + option_list(run);
}

}  // namespace cllm::report
