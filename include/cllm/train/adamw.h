#pragma once

#include <memory>

#include "cllm/train/optimizer.h"

namespace cllm::train {

/// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019) of all
/// tensors: one pass over parameter, means and gradient.
class AdamW : public Optimizer {
 public:
  /// The means of gradients and of their squares.
  static constexpr BufferSpec kBuffers[] = {{"/adam/m", model::every_role},
                                            {"/adam/v", model::every_role}};
  static const OptimizerKind kKind;

  /// The references in `parts` must outlive it.
  AdamW(const OptimizerParts& parts, const OptimizerOptions& options)
      : parts_(parts), options_(options) {}

  void update(const SummedGradient& gradient, double learning_rate, double scale,
              State& state) override;

 private:
  OptimizerParts parts_;
  OptimizerOptions options_;
};

inline constexpr OptimizerKind AdamW::kKind = {
    "adamw", kBuffers, [](const OptimizerParts& parts, const OptimizerOptions& options) {
      return std::unique_ptr<Optimizer>(std::make_unique<AdamW>(parts, options));
    }};

}  // namespace cllm::train
