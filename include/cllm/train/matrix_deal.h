#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cllm/model/layout.h"
#include "cllm/ranks/process_group.h"

namespace cllm::train {

/// A matrix between activations: a tensor's, or one of those that stand one below the other in it.
struct HiddenMatrix {
  std::size_t tensor;
  std::size_t begin;  ///< its first element in flat buffers of the layout
  std::size_t rows, columns;

  std::size_t size() const { return rows * columns; }
};

/// All of a layout that are trained, tensor by tensor.
std::vector<HiddenMatrix> hidden_matrices(const model::Layout& layout);

/// Which rank orthogonalises which matrices, and where their updates lie in a buffer that has those
/// of all ranks: by ranks, and of a rank by waves, which are sent one after the other. Matrices go,
/// the largest first, to the rank that has least to do, so that ranks end at about the same time:
/// nothing but shapes and the number of ranks decides. No rank has less to do than the largest
/// matrix takes; ranks beyond the number of matrices have nothing.
struct MatrixDeal {
  /// At most `most_waves`: no rank is without a matrix in a wave for want of them alone.
  MatrixDeal(std::span<const HiddenMatrix> matrices, int ranks, std::size_t most_waves);

  struct Place {
    std::size_t owner;  ///< a rank
    std::size_t wave;
    std::size_t at;  ///< its first element in the buffer
  };
  std::vector<Place> places;  ///< of each matrix
  /// waves[w][r]: what rank r sends in wave w, and the matrices in it, the largest first.
  struct Share {
    ranks::Part part;
    std::vector<std::size_t> matrices;
  };
  std::vector<std::vector<Share>> waves;
  std::size_t size = 0;  ///< floats of the buffer

  /// The parts of a wave, by ranks.
  std::vector<ranks::Part> parts(std::size_t wave) const;
};

}  // namespace cllm::train
