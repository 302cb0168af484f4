#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cllm/cli/run/request.h"
#include "cllm/cli/run/training_data.h"
#include "cllm/data/mixed_data.h"
#include "cllm/ranks/placement.h"
#include "cllm/train/trainer.h"

namespace cllm::cli {

/// What to change so that every thread has something to do, a sentence each.
std::vector<std::string> sharing_notes(const TrainSettings& settings,
                                       const std::vector<ranks::Site>& sites);

/// What a run is, and what it runs on.
struct RunFacts {
  const Request& request;
  const std::filesystem::path& directory;
  const data::MixedData& data;
  const TrainingData& training;
  const std::vector<ranks::Site>& sites;
  std::uint64_t parameters;  ///< of the model
  std::uint64_t trained;     ///< those of them that aren't frozen
  std::string budget;        ///< of memory
};

/// The lines that are told before the first step.
std::vector<std::string> run_summary(const RunFacts& facts);

}  // namespace cllm::cli
