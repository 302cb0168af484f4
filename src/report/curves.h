#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cllm/report/plot.h"
#include "cllm/report/run_record.h"

namespace cllm::report {

/// A run as a report draws it.
struct DrawnRun {
  const RunRecord* run;
  std::string colour;  ///< a class of plots
  std::string key;     ///< what stands beside its curves; empty where it is one of many, or alone
};

/// What curves can be drawn against.
struct Against {
  std::string id;     ///< of the choice, "steps"
  std::string label;  ///< of the axis
  std::function<double(const Place&)> of;
};

/// Those that all runs know: steps always. Times are in the unit that suits the longest run.
std::vector<Against> choices_for(const std::vector<DrawnRun>& runs);

/// So many points a curve may have where so many are drawn over each other.
std::size_t points_for(std::size_t curves);

/// The mean around each point, over a fortieth of all on each side, and half of that near the ends;
/// nothing where there are too few for that to help.
std::vector<Point> smoothed(const std::vector<Point>& means);

/// Losses of runs, training and validation: of one run in one plot, of several in one each. With
/// `later_half` without what comes before the middle of the longest run.
std::vector<std::string> loss_figures(const std::vector<DrawnRun>& runs, const Against& against,
                                      bool later_half);

/// Learning rate, norm of the gradient, speed, and the part of the time that communication takes,
/// over steps.
std::vector<std::string> course_figures(const std::vector<DrawnRun>& runs);

/// What the time of a step goes into, and how much communication is hidden.
std::vector<std::string> time_figures(const RunRecord& run);

/// Norms of gradient and update by groups of tensors; nothing where the run doesn't log them.
std::vector<std::string> group_figures(const RunRecord& run);

/// When checkpoints, evaluations, resumes and what else happened; empty where nothing did.
std::string events_figure(const RunRecord& run);

}  // namespace cllm::report
