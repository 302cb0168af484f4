#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/train/adamw.h"
#include "cllm/train/matrix_deal.h"
#include "cllm/train/optimizer.h"
#include "cllm/train/orthogonalise.h"
#include "cllm/train/wave_sender.h"

namespace cllm::train {

/// Note [Muon]
///
/// Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) of every
/// matrix between activations, queries, keys and values each for themselves, and AdamW of
/// embeddings, output layer and vectors. With g the gradient and μ the momentum,
///
///     m ← μ m + g        G = g + μ m (Nesterov's)        O = orthogonal(G)
///
///     W ← W − rate (0.2 √max(out, in) O + decay W)
///
/// with O as Note [Orthogonal updates] has it.
///
/// The factor gives an update the root mean square that AdamW's have, so that its rate and decay
/// serve for both ("Muon is Scalable for LLM Training", arXiv 2502.16982); Note [Width] adds to it.
/// μ grows in a line from kFirstMomentum to what was asked for over the first kMomentumWarmup
/// updates, because the first gradients soon are of a model that is no more; a smaller one stays as
/// it is. The gradient's scale (clipping) changes m alone: of a gradient by itself, O doesn't
/// depend on its size.
///
/// Without shards every rank keeps all m, and computes them alike. What is costly, the products, is
/// shared: a matrix has one rank (MatrixDeal) that orthogonalises it and sends the result to all,
/// in a few waves, while it goes on with the next. With shards (Note [Sharded state]) a matrix has
/// one owner for all of it. Who computes what changes no sum: results are the same bits on any
/// number of ranks and threads.
class Muon : public Optimizer {
 public:
  static constexpr bool is_hidden(model::Role role) { return role == model::Role::kHidden; }
  static constexpr bool is_other(model::Role role) { return !is_hidden(role); }

  /// m, and of the other tensors AdamW's means.
  static constexpr BufferSpec kBuffers[] = {
      {"/muon/m", is_hidden}, {"/adam/m", is_other}, {"/adam/v", is_other}};
  static const OptimizerKind kKind;

  static constexpr double kFirstMomentum = 0.85;
  static constexpr std::uint64_t kMomentumWarmup = 300;  ///< updates
  static constexpr double kUpdateSize = 0.2;

  /// μ of an update, when so many were taken before.
  static double momentum_at(double momentum, std::uint64_t updates);

  /// The references in `parts` must outlive it. Made by all ranks together.
  Muon(const OptimizerParts& parts, const OptimizerOptions& options);

  void update(const SummedGradient& gradient, double learning_rate, double scale,
              State& state) override;
  Communication communication() const override;

  /// Which of so many ranks orthogonalises which matrices.
  static MatrixDeal deal(std::span<const HiddenMatrix> matrices, int ranks);
  /// What it allocates on this rank.
  static std::uint64_t work_bytes(const model::Layout& layout, int threads,
                                  const Ownership& ownership,
                                  const ranks::ProcessGroup& process_group);

 private:
  template <typename Visit>
  void for_each_row(const RowChunks::Chunk& chunk, const Visit& visit) const;
  void find_directions(const SummedGradient& gradient, float momentum, double scale, State& state);
  void apply(double learning_rate, AlignedBuffer<float>& parameters);

  OptimizerParts parts_;
  OptimizerOptions options_;
  AdamWPass others_;
  ranks::SingleProcess alone_;
  ranks::ProcessGroup& sharers_;        // of the products: all ranks, or with shards nobody
  std::vector<HiddenMatrix> matrices_;  // with shards, this rank's
  MatrixDeal deal_;
  std::vector<RowChunks::Chunk> chunks_;      // of matrices
  std::vector<std::size_t> first_of_tensor_;  // in matrices_; of tensors that are none, anything
  AlignedBuffer<float> updates_;   // of deal_: directions, and then updates, of all ranks
  Orthogonaliser orthogonaliser_;  // of this rank's matrices; its calls are waves
  WaveSender sender_;
};

inline constexpr OptimizerKind Muon::kKind = {
    .name = "muon",
    .buffers = kBuffers,
    .keeps_whole = Muon::is_hidden,
    .work_bytes = Muon::work_bytes,
    .make = [](const OptimizerParts& parts, const OptimizerOptions& options)
        -> std::unique_ptr<Optimizer> { return std::make_unique<Muon>(parts, options); }};

}  // namespace cllm::train
