#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cllm/compress/calibration.h"
#include "cllm/io/compressed_model.h"
#include "cllm/lattice/weight_lattice.h"
#include "cllm/model/layout.h"

namespace cllm::compress {

struct CompressOptions {
  lattice::Method method = lattice::Method::kE8;
  lattice::Spacing spacing = lattice::Spacing::kShaped;
  double bits = 4;  ///< most that a weight of a matrix takes on average, steps included
  int threads = 1;
};

/// What came out for one matrix.
struct MatrixReport {
  std::string name;
  std::size_t weights = 0;
  double bits = 0;  ///< that a weight takes, steps included, certificates not
  double loss = 0;  ///< what the errors should add to the loss, in nats, by the statistics
};

struct CompressedParameters {
  io::CompressedMatrices matrices;
  std::vector<MatrixReport> reports;  ///< of each matrix, in the layout's order
};

/// What the statistics and lattices of all matrices take, all at a time.
std::uint64_t compress_bytes(const model::Layout& layout);

/// Moves every matrix of a model to a lattice. With shaped spacing, the whole model is one lattice,
/// whose cells have one side in the metric of the statistics, so that bits go where they matter;
/// with equal spacing each matrix has a step of its own, and each takes the same bits for a weight.
/// `parameters` is a flat buffer of the layout, `statistics` of measure_sensitivity. The same bits
/// for any number of threads. Tells in a word or two what it is at. Throws Error where a matrix or
/// the bits allow for no code.
CompressedParameters compress(const model::Layout& layout, std::span<const float> parameters,
                              std::span<const MatrixStatistics> statistics,
                              const CompressOptions& options,
                              const std::function<void(const std::string&)>& progress = {});

}  // namespace cllm::compress
