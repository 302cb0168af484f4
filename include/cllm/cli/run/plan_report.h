#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cllm/cli/run/figures.h"
#include "cllm/model/layout.h"
#include "cllm/plan/planner.h"

namespace cllm::cli {

/// Tokens of a run for each parameter where nobody says (Hoffmann et al., arXiv 2203.15556).
inline constexpr double kTokensPerParameter = 20;

/// What a checkpoint takes.
struct CheckpointTimes {
  double every = 0;  ///< seconds between two
  double bytes = 0;
  double pause = 0;  ///< seconds that training stands still for the copy
  double write = 0;  ///< seconds that writing the copy takes, while training goes on
};

/// What a plan is of.
struct PlanReport {
  std::string model;  ///< "gpt2-124m (12 layers, …)"
  double parameters = 0;
  std::string optimizer;
  std::size_t context = 0, host_batch = 0;
  double tokens = 0;  ///< of the run
  double efficiency = 0;
  FigureTable figures;
  std::vector<std::string> assumptions;  ///< beside figures
  CheckpointTimes checkpoint;
};

/// A plan for so many hosts, and the host batch that keeps efficiency there, if there is one.
struct PlanRow {
  plan::HostsPlan plan;
  std::optional<std::size_t> host_batch;

  /// Of the run, with pauses for checkpoints.
  double hours(const PlanReport& report) const;
};

/// Lines for people: what is planned and what is known, with the head of the table; a line of it;
/// what there is to say about the row with most hosts.
std::vector<std::string> head_lines(const PlanReport& report);
std::string table_line(const PlanReport& report, const PlanRow& row);
std::vector<std::string> foot_lines(const PlanReport& report, const PlanRow& last);

/// The whole plan as a JSON object.
std::string plan_json(const PlanReport& report, const std::vector<PlanRow>& rows);

}  // namespace cllm::cli
