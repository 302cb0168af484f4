#pragma once

#include <cstddef>

namespace cllm::train {

/// Consecutive units, or sequences, first to first + count - 1.
struct Share {
  std::size_t first;
  std::size_t count;
};

/// The share of part `index` when `total` things are dealt to `parts` in contiguous blocks whose
/// sizes differ by at most one.
Share share_of(std::size_t total, std::size_t index, std::size_t parts);

/// The micro-batch that is taken when none is asked for: a function of batch and context alone, so
/// that results don't depend on ranks and threads. The most sequences that divide the batch, leave
/// at least four units, and have no more than 256 positions: enough rows for BLAS to be fast.
std::size_t default_micro_batch(std::size_t batch, std::size_t context);

/// Throws Error with the numbers to use unless the micro-batch divides the batch.
void check_micro_batch(std::size_t batch, std::size_t micro_batch);

}  // namespace cllm::train
