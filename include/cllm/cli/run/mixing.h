#pragma once

#include <string>
#include <vector>

#include "cllm/cli/run/starting_point.h"
#include "cllm/data/mixed_data.h"
#include "cllm/data/mixture.h"

namespace cllm::cli {

/// How a run mixes its sources.
struct Mixing {
  data::Mixture mixture;
  /// For checkpoints, a JSON object (docs/checkpoint_format.md); empty where all of one source was
  /// read from the run's beginning.
  std::string facts;
  std::vector<std::string> lines;  ///< what is not as it was when the checkpoint was written
};

/// The mixture of a run that begins, or goes on. One with other sources or weights than before goes
/// on with them from its next sequence, and each source that it had before, known by its tokens,
/// behind what was read of it. Throws Error naming the checkpoint where that says nothing sensible.
Mixing find_mixing(const StartingPoint& start, const data::PreparedMixture& data);

}  // namespace cllm::cli
