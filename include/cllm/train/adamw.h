#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cllm/train/optimizer.h"

namespace cllm::train {

/// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019) of the tensors
/// of some roles: one pass over parameter, means and gradient. What optimizers that have another
/// rule for some tensors do with the rest.
class AdamWPass {
 public:
  /// `has`: whether it is for the tensors of a role. The references in `parts` must outlive it.
  AdamWPass(const OptimizerParts& parts, const OptimizerOptions& options, bool (*has)(model::Role))
      : parts_(parts),
        options_(options),
        chunks_(parts.rows.of(parts.layout, has, parts.ownership)) {}

  /// As Optimizer::update. m and v: the means of gradients and of their squares, of the same roles.
  void update(const SummedGradient& gradient, double learning_rate, double scale, State& state,
              StateBuffer& m, StateBuffer& v);

 private:
  OptimizerParts parts_;
  OptimizerOptions options_;
  std::vector<RowChunks::Chunk> chunks_;
};

/// AdamW of all tensors.
class AdamW : public Optimizer {
 public:
  /// The means of gradients and of their squares.
  static constexpr BufferSpec kBuffers[] = {{"/adam/m", model::every_role},
                                            {"/adam/v", model::every_role}};
  static const OptimizerKind kKind;

  /// The references in `parts` must outlive it.
  AdamW(const OptimizerParts& parts, const OptimizerOptions& options)
      : pass_(parts, options, model::every_role) {}

  void update(const SummedGradient& gradient, double learning_rate, double scale,
              State& state) override {
    pass_.update(gradient, learning_rate, scale, state, state.buffers[0], state.buffers[1]);
  }

 private:
  AdamWPass pass_;
};

inline constexpr OptimizerKind AdamW::kKind = {
    .name = "adamw",
    .buffers = kBuffers,
    .keeps_whole = [](model::Role) { return false; },
    .work_bytes = [](const model::Layout&, int, const Ownership&,
                     const ranks::ProcessGroup&) -> std::uint64_t { return 0; },
    .make = [](const OptimizerParts& parts, const OptimizerOptions& options)
        -> std::unique_ptr<Optimizer> { return std::make_unique<AdamW>(parts, options); }};

}  // namespace cllm::train
