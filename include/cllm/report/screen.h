#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cllm/report/run_record.h"

namespace cllm::report {

/// What a terminal shows.
struct ScreenSize {
  std::size_t columns = 80;  ///< no line is longer
  std::size_t rows = 0;      ///< there are no more lines; 0 for any number
  bool utf8 = false;         ///< else all is ASCII
};

/// What is known of a run's job beside its files: "RUNNING, 3:12:01 left"; empty for nothing.
using JobState = std::string;

/// A run as lines of text: how far it is, loss and speed as plots, checkpoints, warnings, hosts.
/// `now`: seconds since 1970.
std::vector<std::string> run_screen(const RunRecord& run, const JobState& job, std::int64_t now,
                                    const ScreenSize& size);

/// Several as a table, in their order. `jobs`: of each. Where there are more than the screen has
/// rows, those that are complete are left out first, and the last line says how many.
std::vector<std::string> runs_screen(const std::vector<RunRecord>& runs,
                                     const std::vector<JobState>& jobs, std::int64_t now,
                                     const ScreenSize& size);

}  // namespace cllm::report
