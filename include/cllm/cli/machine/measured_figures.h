#pragma once

#include <optional>
#include <string>

#include "cllm/cli/machine/machine.h"
#include "cllm/cli/machine/step_bench.h"
#include "cllm/cli/run/figures.h"
#include "cllm/cli/run/settings.h"
#include "cllm/ranks/process_group.h"

namespace cllm::cli {

/// What a plan for these hosts needs to know, from training steps of `settings`: with all ranks,
/// which took `step`, and of each rank alone, which are measured here. `costs`: of messages, where
/// there are any; `disk`: bytes per second. All ranks call it alike, and get the same. Throws
/// ReplicatedError.
FigureTable measure_figures(const TrainSettings& settings, const StepSeconds& step,
                            const Machine& machine, const std::optional<ranks::Costs>& costs,
                            double disk, ranks::ProcessGroup& process_group);

/// The figures as `plan --figures` reads them, and what they were measured with.
std::string figures_file(const FigureTable& figures, const TrainSettings& settings,
                         const Machine& machine);

}  // namespace cllm::cli
