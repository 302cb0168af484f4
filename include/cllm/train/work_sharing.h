#pragma once

#include <cstddef>
#include <vector>

namespace cllm::train {

/// Consecutive micro-batches, or sequences, first to first + count - 1.
struct Share {
  std::size_t first;
  std::size_t count;
};

/// The share of part `index` when `total` things are dealt to `parts` in contiguous blocks whose
/// sizes differ by at most one.
Share share_of(std::size_t total, std::size_t index, std::size_t parts);

/// The micro-batches of a batch; the last one may have fewer sequences than the others.
std::size_t count_micro_batches(std::size_t batch, std::size_t micro_batch);
/// The sequences of the batch that a micro-batch has.
Share sequences_of(std::size_t index, std::size_t batch, std::size_t micro_batch);

/// The micro-batch that is taken when none is asked for: a function of batch and context alone, so
/// that results don't depend on ranks and threads. The most sequences that have at most 512
/// positions and leave four micro-batches to share out; but where that makes micro-batches of under
/// 192 positions, which are slow, as few sequences as make that many. Where a number near to it
/// divides the batch, that one; else micro-batches are as even as can be.
std::size_t default_micro_batch(std::size_t batch, std::size_t context);

/// The token block that is taken when none is asked for, from the positions of the batch and of a
/// micro-batch alone: the larger, the faster on one thread, the smaller, the more threads can share
/// a micro-batch. Half of the batch's positions, at least 128 and at most a micro-batch's or 1024.
std::size_t default_token_block(std::size_t batch_positions, std::size_t micro_batch_positions);

/// Throws Error, naming --token-block, for 0.
void check_token_block(std::size_t token_block);

/// How a rank's threads share its micro-batches: the sizes of its teams, which take one micro-batch
/// at a time. `team`: threads of a team, 0 for the choice that ends soonest when a micro-batch has
/// `blocks` token blocks. There are at most as many teams as micro-batches, and at least one.
std::vector<int> plan_teams(int threads, std::size_t micro_batches, std::size_t blocks, int team);

/// What `teams` of `size` threads take for so many micro-batches of `blocks` token blocks, as
/// plan_teams reckons: in units of what one thread takes for one micro-batch.
double relative_time(std::size_t teams, std::size_t size, std::size_t micro_batches,
                     std::size_t blocks);

/// With the largest number of steps, sequences are still counted in 64 bits.
inline constexpr std::size_t kLargestBatch = 1'000'000;

/// Throws Error with the numbers to use unless 1 <= micro_batch <= batch.
void check_micro_batch(std::size_t batch, std::size_t micro_batch);

}  // namespace cllm::train
