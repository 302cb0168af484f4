#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/data/token_file.h"
#include "cllm/model/model.h"

namespace cllm::compress {

/// How much errors of a matrix W (out, in) cost: the loss, in nats per position, grows by about
/// half the sum over rows r of weights[r] e_r H e_rᵀ, e the error, H the covariance.
struct MatrixStatistics {
  AlignedBuffer<double> covariance;  ///< (in, in): the mean over positions of x xᵀ, x the inputs
  std::vector<double> weights;       ///< (out): the mean of the squared gradient by a row's output
};

/// Note [Sensitivity]
///
/// That is the Fisher information with the curvature of a matrix factored into one of its inputs
/// and one of its outputs (Martens and Grosse, "Optimizing Neural Networks with Kronecker-factored
/// Approximate Curvature", ICML 2015), of which the latter is taken as diagonal. The outputs'
/// factor comes from the gradients of micro-batches, which backward hands over anyway: if dy and x
/// are independent, the squared gradient of a row of W is the sum over positions of weights[r]
/// times the trace of H. The token embedding is used twice. As the head its inputs are the last
/// norm's; as the embedding of inputs an error e of row v adds to the residual stream wherever v
/// stands, which costs e G eᵀ, G being the mean of g gᵀ, g the gradient by the stream. Both terms
/// have a weight for each row; they are joined into one covariance, H times the sum of the head's
/// weights plus G, and one weight for each row, its share of the trace. The position embedding has
/// G, and the same weight for all rows. Of a factorised embedding, codes are such an embedding, in
/// the coordinates of the basis; the basis counts as the matrix that the last norm's outputs are
/// multiplied with, or, where the head has one of its own, as a table that the stream is looked up
/// in: with G of the band's tokens. Rows that the text hardly used get a share of the mean weight:
/// what was not seen in it can be seen in another.

/// What the statistics of all matrices take, all at a time.
std::uint64_t statistics_bytes(const model::Layout& layout);

/// For each tensor of the layout; empty for vectors. Takes `sequences`
/// windows of the context, evenly spread over the text (0: all), through the model and back. The
/// same bits for any number of threads. Tells now and then the share that is done. Throws
/// std::bad_alloc, and Error where the text is too short.
std::vector<MatrixStatistics> measure_sensitivity(const model::Model& model,
                                                  const float* parameters, data::TokenView tokens,
                                                  std::uint64_t sequences, int threads,
                                                  const std::function<void(double)>& progress = {});

}  // namespace cllm::compress
