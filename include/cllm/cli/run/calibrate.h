#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cllm/cli/run/checkpoints.h"
#include "cllm/compress/calibration.h"

namespace cllm::cli {

/// One line that is written over on a terminal; nothing elsewhere.
class LiveLine {
 public:
  LiveLine();
  void show(const std::string& text);
  void clear();

 private:
  bool live_;
  bool painted_ = false;
};

/// Throws Error unless this host has memory for `bytes` more; `what` takes them, a plural.
void require_memory(std::uint64_t bytes, const char* what);

/// What errors of the matrices of `model`, which has the parameters of `loaded`, cost on `text`, a
/// text or token file: compress's measure_sensitivity on `sequences` evenly spaced windows (0:
/// all), after saying what was read, and warning where it is little. Throws Error, naming the file.
std::vector<compress::MatrixStatistics> calibrate(const LoadedModel& loaded,
                                                  const model::Model& model,
                                                  const std::string& text, std::uint64_t sequences,
                                                  int threads, LiveLine& line);

}  // namespace cllm::cli
