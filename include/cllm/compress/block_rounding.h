#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "cllm/compress/calibration.h"
#include "cllm/io/formats/element_type.h"
#include "cllm/model/layout.h"

namespace cllm::compress {

/// Note [Rounding to blocks]
///
/// Q8_0 and Q4_0 store 32 weights of a row with one scale: points of a cubic lattice whose spacing
/// is chosen anew for each block. Where plain rounding takes each weight by itself, this goes
/// through a row's blocks from the last to the first, and in each through the weights from the last
/// to the first, as Babai's nearest plane does (Note [Weight lattices] in
/// lattice/weight_lattice.h): each makes up for what the errors of those before it cost, by the
/// covariance of the matrix' inputs. The largest weight of a block keeps the code that ggml gives
/// it, at the end of the range, so that the block's scale can be told from its weights, and they
/// stay what they are when they are stored. Of a few smaller scales, with which the largest weight
/// is cut off, the one that costs least is taken.

/// Moves the matrices of a model to weights that `type` (kQ8_0 or kQ4_0) stores exactly.
/// `statistics` of measure_sensitivity; `parameters`, a flat buffer of the layout. What a file of
/// that type keeps otherwise stays: vectors, positions, matrices whose rows aren't whole blocks,
/// and the factors of a factorised embedding, which is stored multiplied out. The same bits for any
/// number of threads. Tells which tensor it is at. Throws Error where a covariance is not finite.
void round_to_blocks(io::ElementType type, const model::Layout& layout,
                     std::span<const MatrixStatistics> statistics, int threads,
                     std::span<float> parameters,
                     const std::function<void(const std::string&)>& progress = {});

/// The same of one matrix (rows, columns) with the covariance (columns, columns) of its inputs.
/// Throws Error, a clause without a subject, where that is not finite.
void round_to_blocks(io::ElementType type, std::span<const double> covariance, std::size_t columns,
                     int threads, std::span<float> weights);

}  // namespace cllm::compress
