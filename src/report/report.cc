#include "cllm/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "cllm/base/quantities.h"
#include "cllm/report/text.h"
#include "curves.h"
#include "page.h"
#include "run_section.h"

namespace cllm::report {
namespace {

/// Runs that have curves; the first kColours of them have a colour each.
constexpr std::size_t kMostDrawn = 64;

/// Runs whose details are open at first.
constexpr std::size_t kMostOpen = 2;

/// Options in the table of differences.
constexpr std::size_t kMostDifferences = 16;

constexpr std::size_t kWidestValue = 60;

/// By validation loss, those without any at the end.
std::vector<const RunRecord*> best_first(const std::vector<RunRecord>& runs) {
  std::vector<const RunRecord*> order;
  for (const RunRecord& run : runs) order.push_back(&run);
  std::ranges::stable_sort(order, [](const RunRecord* a, const RunRecord* b) {
    const auto& left = a->metrics().validation.least();
    const auto& right = b->metrics().validation.least();
    if (left.has_value() != right.has_value()) return left.has_value();
    return left && left->value < right->value;
  });
  return order;
}

std::vector<DrawnRun> drawn(const std::vector<const RunRecord*>& order) {
  std::vector<DrawnRun> runs;
  for (std::size_t i = 0; i < std::min(order.size(), kMostDrawn); ++i) {
    const bool has_colour = i < kColours;
    runs.push_back({order[i], has_colour ? fmt::format("c{}", i) : "other",
                    order.size() > 1 && has_colour
                        ? std::string(1, static_cast<char>('A' + static_cast<int>(i)))
                        : ""});
  }
  return runs;
}

std::string key_html(const DrawnRun& run) {
  return run.key.empty() ? "" : element("span", "key " + run.colour, run.key);
}

std::string step_text(const RunRecord& run) {
  const std::string step = whole_text(run.metrics().at.step);
  return run.steps() == 0 ? step : fmt::format("{} of {}", step, whole_text(run.steps()));
}

/// What is known of a state beside the word.
std::string state_note(const RunRecord& run) {
  if (run.stop() != nullptr) return run.stop()->why;
  if (run.status() == Status::kSilent) return "since " + time_text(run.last_sign());
  const std::string usual = fmt::format("{} steps", run.metrics().at.step);
  return run.completion() == usual ? "all steps are taken" : run.completion();
}

std::string step_note(const RunRecord& run) {
  if (run.steps() == 0) return {};
  std::string note = "of " + whole_text(run.steps());
  if (run.status() != Status::kRunning || !run.seconds_left()) return note;
  return note + ", " + duration_text(*run.seconds_left()) + " left";
}

/// Tokens a second over all steps, without evaluations.
double mean_speed(const Metrics& m) {
  const double seconds = m.at.seconds - m.evaluation_seconds;
  return seconds > 0 ? m.at.tokens / seconds : 0;
}

std::string node_hours_text(const Metrics& m) {
  return m.has_node_hours ? fmt::format("{:.3g}", m.at.node_hours) : "";
}

std::string tiles(const RunRecord& run) {
  const Metrics& m = run.metrics();
  std::string html = tile("State", status_html(run), state_note(run));
  html += tile("Step", whole_text(m.at.step), step_note(run));
  if (const auto& best = m.validation.least()) {
    html += tile("Best validation loss", exact_loss(best->value),
                 fmt::format("at step {}", whole_text(best->at.step)));
  }
  if (m.loss.last()) {
    html += tile("Training loss", exact_loss(m.loss.last()->value),
                 fmt::format("{} over the newest steps", decimal_text(m.recent_loss(), 4)));
  }
  html += tile("Speed", number_text(mean_speed(m)), "tokens/s, without evaluations");
  html += tile("Time", duration_text(m.at.seconds), "in steps and evaluations");
  html += tile("Tokens", number_text(m.at.tokens));
  if (m.has_node_hours) html += tile("Node-hours", node_hours_text(m), "of the steps that count");
  return element("div", "tiles", html) + '\n';
}

std::string run_table(const std::vector<const RunRecord*>& order,
                      const std::vector<DrawnRun>& runs) {
  std::vector<std::vector<Cell>> rows;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const RunRecord& run = *order[i];
    const Metrics& m = run.metrics();
    const auto& best = m.validation.least();
    rows.push_back({{(i < runs.size() ? key_html(runs[i]) : "") + html_text(run.name())},
                    {status_html(run)},
                    {best ? exact_loss(best->value) : "", true},
                    {best ? whole_text(best->at.step) : "", true},
                    {m.loss.last() ? exact_loss(m.loss.last()->value) : "", true},
                    {step_text(run), true},
                    {number_text(mean_speed(m)), true},
                    {duration_text(m.at.seconds), true},
                    {number_text(m.at.tokens), true},
                    {node_hours_text(m), true}});
  }
  return table({{"run"},
                {"state"},
                {"best validation", true},
                {"at step", true},
                {"training loss", true},
                {"step", true},
                {"tokens/s", true},
                {"time", true},
                {"tokens", true},
                {"node-hours", true}},
               rows);
}

/// "3 running, 5 complete".
std::string states_text(const std::vector<RunRecord>& runs) {
  std::string text;
  for (const Status status : {Status::kRunning, Status::kStarting, Status::kSilent,
                              Status::kStopped, Status::kComplete}) {
    const auto count = std::ranges::count(runs, status, &RunRecord::status);
    if (count == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, status_word(status));
  }
  return text;
}

/// Names of options that somebody gave in one run and that differ between them, in the order of
/// the runs' files.
std::vector<std::string> different_options(const std::vector<const RunRecord*>& runs) {
  std::vector<std::string> order;
  std::map<std::string, std::set<std::string>> values;
  std::set<std::string> given;
  std::map<std::string, std::size_t> present;
  for (const RunRecord* const run : runs) {
    for (const RunOption& option : run->options()) {
      if (!present.contains(option.name)) order.push_back(option.name);
      ++present[option.name];
      values[option.name].insert(option.value);
      if (!option.is_derived) given.insert(option.name);
    }
  }
  std::erase_if(order, [&](const std::string& name) {
    const bool is_same = values[name].size() == 1 && present[name] == runs.size();
    return is_same || !given.contains(name) || name == "out";
  });
  return order;
}

std::string differences(const std::vector<const RunRecord*>& order,
                        const std::vector<DrawnRun>& runs) {
  std::vector<std::string> names = different_options(order);
  std::string html = element("h2", "", "What differs");
  if (names.empty()) return html + element("p", "soft", "No option but where the runs are.");
  if (names.size() > kMostDifferences) {
    html += element(
        "p", "note",
        fmt::format("The first {} of {} options that differ.", kMostDifferences, names.size()));
    names.resize(kMostDifferences);
  }
  std::vector<Cell> head = {{"run"}, {"best validation", true}};
  for (const std::string& name : names) head.push_back({element("code", "", html_text(name))});
  std::vector<std::vector<Cell>> rows;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto& best = order[i]->metrics().validation.least();
    std::vector<Cell> row = {
        {(i < runs.size() ? key_html(runs[i]) : "") + html_text(order[i]->name())},
        {best ? exact_loss(best->value) : "", true}};
    for (const std::string& name : names) {
      row.push_back({html_text(clipped(order[i]->option(name), kWidestValue))});
    }
    rows.push_back(std::move(row));
  }
  return html + table(head, rows);
}

std::string legend(const std::vector<DrawnRun>& runs, std::size_t all) {
  std::string html;
  for (const DrawnRun& run : runs) {
    if (!run.key.empty()) html += element("li", "", key_html(run) + html_text(run.run->name()));
  }
  if (html.empty()) return {};
  html = element("ul", "legend", html);
  if (all > kColours) {
    html += element("p", "note",
                    fmt::format("The {} best by validation have colours, {} more are grey{}.",
                                kColours, runs.size() - kColours,
                                all > runs.size() ? "; the others have no curves" : ""));
  }
  return html + '\n';
}

/// The losses against what can be chosen, without a script: what isn't chosen is hidden.
std::string losses(const std::vector<DrawnRun>& runs) {
  const std::vector<Against> choices = choices_for(runs);
  std::string inputs, bodies;
  for (const Against& each : choices) {
    inputs += fmt::format(
        "<input type=\"radio\" name=\"against\" id=\"by-{0}\"{1}><label for=\"by-{0}\">"
        "{2}</label>",
        each.id, each.id == choices.front().id ? " checked" : "",
        each.id == "time" ? "time" : each.id);
    std::vector<std::string> plots = loss_figures(runs, each, false);
    for (std::string& plot : loss_figures(runs, each, true)) plots.push_back(std::move(plot));
    bodies += element("div", "by by-" + each.id, figures(plots)) + '\n';
  }
  std::string html = element("div", "axes", inputs + bodies) + '\n';
  if (choices.back().id != "node-hours") {
    html += element(
        "p", "note",
        "Not against node-hours: a metrics.jsonl that an older version began doesn't say on "
        "how many hosts.");
  }
  return html;
}

/// All that is drawn of runs over each other.
std::string curves(const std::vector<DrawnRun>& runs, std::size_t all) {
  const bool has_steps = std::ranges::any_of(
      runs, [](const DrawnRun& run) { return !run.run->metrics().loss.empty(); });
  if (!has_steps) return element("p", "soft", "No step is taken yet.");
  return element("h2", "", "Loss") + legend(runs, all) + losses(runs) +
         element("h2", "", "Course") + legend(runs, all) + figures(course_figures(runs));
}

std::string details(const std::vector<DrawnRun>& runs) {
  if (runs.size() == 1)
    return element("h2", "", "Time and events") + run_section(*runs.front().run);
  std::string html = element("h2", "", "Each run");
  for (std::size_t i = 0; i < std::min(runs.size(), kColours); ++i) {
    html +=
        fmt::format("<details{}><summary>{}{}</summary>{}{}</details>\n",
                    i < kMostOpen ? " open" : "", key_html(runs[i]), html_text(runs[i].run->name()),
                    tiles(*runs[i].run), run_section(*runs[i].run));
  }
  return html;
}

}  // namespace

std::string report_page(const std::vector<RunRecord>& runs, std::int64_t now,
                        std::string_view version) {
  const std::vector<const RunRecord*> order = best_first(runs);
  const std::vector<DrawnRun> shown = drawn(order);
  const bool is_one = runs.size() == 1;
  const std::string title = is_one ? runs.front().name() : fmt::format("{} runs", runs.size());
  std::string html = element("h1", "", html_text(title));
  const std::string below = is_one ? runs.front().directory().string() : states_text(runs);
  if (below != title) html += element("p", "soft", html_text(below));
  html += is_one ? tiles(runs.front())
                 : element("h2", "", "Best by validation") + run_table(order, shown);
  if (!is_one) html += differences(order, shown);
  html += curves(shown, runs.size());
  html += details(shown);
  html += element("footer", "",
                  fmt::format("Made by cllm-dist {} on {} from the runs' own files.",
                              html_text(version), time_text(now)));
  return page(title + " – cllm-dist", html);
}

bool is_report(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string beginning(200, '\0');
  file.read(beginning.data(), static_cast<std::streamsize>(beginning.size()));
  return beginning.find(kGenerator) != beginning.npos;
}

}  // namespace cllm::report
