#include "cllm/cli/run/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cllm/base/quantities.h"
#include "cllm/cli/option_values.h"
#include "cllm/train/progress.h"

namespace cllm::cli {
namespace {

using nlohmann::ordered_json;
using plan::BucketTime;
using plan::HostsPlan;
using plan::StepTime;

constexpr double kHour = 3600;

/// A line of the table.
constexpr const char* kRow =
    "{:>5} {:>5} {:>5} {:>5} {:>8} {:>10} {:>8} {:>10} {:>6} {:>9} {:>8} {:>10}";

/// Columns of a line's label, and of the widest line that is wrapped.
constexpr std::size_t kLabel = 10, kColumns = 100;

std::string seconds_text(double seconds) {
  if (seconds >= 100) return fmt::format("{:.0f} s", seconds);
  return seconds >= 1 ? fmt::format("{:.3g} s", seconds) : fmt::format("{:.3g} ms", 1e3 * seconds);
}

std::string bytes_text(double bytes) {
  return bytes >= 1e9 ? fmt::format("{:.2f} GB", bytes / 1e9)
                      : fmt::format("{:.3g} MB", bytes / 1e6);
}

std::string hours_text(double hours) {
  return hours >= 100 ? count_text(hours) : fmt::format("{:.3g}", hours);
}

/// Lines that begin with a label, or as much space, and hold the words' texts with commas between.
void add_wrapped(std::string_view label, const std::vector<std::string>& texts,
                 std::vector<std::string>& lines) {
  std::string line = fmt::format("{:<{}}", label, kLabel);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) line += ',';
    if (i > 0 && line.size() + 1 + texts[i].size() > kColumns) {
      lines.push_back(std::move(line));
      line = std::string(kLabel, ' ');
    } else if (i > 0) {
      line += ' ';
    }
    line += texts[i];
  }
  if (!texts.empty()) lines.push_back(std::move(line));
}

std::string pattern_text(collectives::Pattern pattern) {
  return pattern == collectives::Pattern::kRing ? "the ring" : "halving";
}

std::string ways_text(const plan::Ways& ways) {
  if (ways.forced) return fmt::format("all by {}", pattern_text(*ways.forced));
  return ways.choice.halving_below == 0
             ? "all by the ring"
             : fmt::format("by halving below {}, else by the ring",
                           bytes_text(static_cast<double>(ways.choice.halving_below)));
}

ordered_json json_of(const HostsPlan& plan) {
  const StepTime& step = plan.step;
  ordered_json buckets = ordered_json::array();
  for (const BucketTime& bucket : step.buckets) {
    if (plan.hosts * plan.ranks_per_host == 1) break;
    buckets.push_back({{"groups", bucket.name},
                       {"bytes", bucket.bytes},
                       {"by", pattern_text(bucket.pattern)},
                       {"ready", bucket.ready},
                       {"begin", bucket.begin},
                       {"end", bucket.end}});
  }
  const train::MemoryBudget& memory = plan.memory;
  return {
      {"hosts", plan.hosts},
      {"ranks_per_host", plan.ranks_per_host},
      {"threads", plan.options.threads},
      {"batch", plan.options.batch},
      {"micro_batch", plan.options.micro_batch},
      {"token_block", plan.options.token_block},
      {"step_seconds", step.seconds()},
      {"compute_seconds", step.compute},
      {"update_seconds", step.update},
      {"exposed_seconds", step.communication()},
      {"exposed", {{"buckets", step.exposed}, {"small", step.small}, {"updates", step.gathering}}},
      {"hidden_seconds", step.hidden},
      {"sent_bytes_per_rank", step.bytes},
      {"tokens_per_s", plan.tokens_per_second},
      {"efficiency", plan.efficiency},
      {"memory_bytes_per_rank", memory.total()},
      {"memory",
       {{"parameters", memory.parameters},
        {"optimizer", memory.optimizer},
        {"sums", memory.sums},
        {"threads", memory.threads},
        {"evaluation", memory.evaluation},
        {"communication", memory.communication},
        {"checkpoint", memory.checkpoint},
        {"statistics", memory.statistics},
        {"program", memory.program}}},
      {"sums",
       {{"halving_below_bytes", plan.ways.choice.halving_below},
        {"bucket_bytes", plan.ways.worthwhile_bytes()}}},
      {"buckets", buckets}};
}

}  // namespace

double PlanRow::hours(const PlanReport& report) const {
  const CheckpointTimes& checkpoint = report.checkpoint;
  return report.tokens / plan.tokens_per_second / kHour * (1 + checkpoint.pause / checkpoint.every);
}

std::vector<std::string> head_lines(const PlanReport& report) {
  std::vector<std::string> lines = {
      fmt::format("plan      {}", report.model),
      fmt::format(
          "          {} parameters, {}; {} sequences of {} tokens a host and step; {} tokens",
          count_text(report.parameters), report.optimizer, report.host_batch, report.context,
          count_text(report.tokens))};
  add_wrapped("measured", report.figures.texts(Origin::kMeasured), lines);
  add_wrapped("given", report.figures.texts(Origin::kGiven), lines);
  std::vector<std::string> assumed = report.figures.texts(Origin::kAssumed);
  assumed.insert(assumed.end(), report.assumptions.begin(), report.assumptions.end());
  add_wrapped("assumed", assumed, lines);
  lines.emplace_back("computed  all that follows; sums by the code itself, on a virtual clock");
  const std::string wanted = fmt::format("{:.0f} %", 100 * report.efficiency);
  lines.push_back(fmt::format(fmt::runtime(kRow), "", "ranks", "micro", "token", "", "", "", "",
                              "GB per", "batch for", "", "node-"));
  lines.push_back(fmt::format(fmt::runtime(kRow), "hosts", "each", "batch", "block", "step",
                              "tokens/s", "exposed", "efficiency", "rank", wanted, "hours",
                              "hours"));
  return lines;
}

std::string table_line(const PlanReport& report, const PlanRow& row) {
  const HostsPlan& plan = row.plan;
  const double hours = row.hours(report);
  return fmt::format(fmt::runtime(kRow), plan.hosts, plan.ranks_per_host, plan.options.micro_batch,
                     plan.options.token_block, seconds_text(plan.step.seconds()),
                     count_text(plan.tokens_per_second),
                     fmt::format("{:.1f} %", 100 * plan.step.communication() / plan.step.seconds()),
                     fmt::format("{:.1f} %", 100 * plan.efficiency),
                     fmt::format("{:.2f}", static_cast<double>(plan.memory.total()) / 1e9),
                     row.host_batch ? fmt::format("{}", *row.host_batch) : "none",
                     hours_text(hours), hours_text(hours * static_cast<double>(plan.hosts)));
}

std::vector<std::string> foot_lines(const PlanReport& report, const PlanRow& last) {
  const HostsPlan& plan = last.plan;
  const StepTime& step = plan.step;
  std::vector<std::string> lines;
  const CheckpointTimes& checkpoint = report.checkpoint;
  lines.push_back(fmt::format(
      "pauses    a checkpoint of {} stops training for {} every {}, and is written in {}",
      bytes_text(checkpoint.bytes), seconds_text(checkpoint.pause),
      write_duration(checkpoint.every), seconds_text(checkpoint.write)));
  if (plan.hosts * plan.ranks_per_host == 1) return lines;
  lines.push_back(fmt::format(
      "step      {} hosts compute for {} and update for {}, with {} of sums behind it", plan.hosts,
      seconds_text(step.compute), seconds_text(step.update), seconds_text(step.hidden)));
  lines.push_back(fmt::format("exposed   sums of buckets {}, small sums {}, others' updates {}",
                              seconds_text(step.exposed), seconds_text(step.small),
                              seconds_text(step.gathering)));
  const BucketTime& bucket = step.buckets.back();
  lines.push_back(fmt::format(
      "sums      {} buckets; the last, {} of {}, takes {} when nothing is left to compute",
      step.buckets.size(), bytes_text(bucket.bytes), bucket.name,
      seconds_text(bucket.end - bucket.begin)));
  lines.push_back("          " + ways_text(plan.ways));
  return lines;
}

std::string plan_json(const PlanReport& report, const std::vector<PlanRow>& rows) {
  ordered_json all = {{"model", report.model},
                      {"parameters", report.parameters},
                      {"optimizer", report.optimizer},
                      {"context", report.context},
                      {"host_batch", report.host_batch},
                      {"tokens", report.tokens},
                      {"wanted_efficiency", report.efficiency},
                      {"figures", ordered_json::parse(report.figures.json())},
                      {"measured", report.figures.texts(Origin::kMeasured)},
                      {"given", report.figures.texts(Origin::kGiven)},
                      {"assumed", report.figures.texts(Origin::kAssumed)}};
  for (const std::string& text : report.assumptions) all["assumed"].push_back(text);
  all["checkpoint"] = {{"bytes", report.checkpoint.bytes},
                       {"every_seconds", report.checkpoint.every},
                       {"pause_seconds", report.checkpoint.pause},
                       {"write_seconds", report.checkpoint.write}};
  all["plan"] = ordered_json::array();
  for (const PlanRow& row : rows) {
    ordered_json each = json_of(row.plan);
    each["host_batch_for_efficiency"] =
        row.host_batch ? ordered_json(*row.host_batch) : ordered_json();
    each["hours"] = row.hours(report);
    each["node_hours"] = row.hours(report) * static_cast<double>(row.plan.hosts);
    all["plan"].push_back(std::move(each));
  }
  return all.dump();
}

}  // namespace cllm::cli
