#pragma once

#include <optional>

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// Logits = x · weightᵀ, and the cross-entropy of the targets. Of a factorised embedding,
/// x · basisᵀ · codesᵀ. With a softcap they become cap tanh(logit / cap). Logits become their
/// gradients in place, some rows at a time: (rows, V) never exists as a whole.
class LmHead {
 public:
  struct Tensors {
    std::size_t weight;  ///< (V, C), or codes (V, r); the embedding's where they are tied
    std::optional<std::size_t> basis;  ///< (r, C)
  };
  struct Buffers {
    Buffer x;
    Buffer projected;  ///< what the weight is multiplied with: x unless it is factorised
    Buffer dx;
    Buffer dprojected;
  };
  /// `softcap`: 0 for none.
  LmHead(const Tensors& tensors, double softcap, const Buffers& buffers)
      : t_(tensors), softcap_(static_cast<float>(softcap)), b_(buffers) {}

  std::vector<MatrixInput> matrices() const;

  /// logits (rows, V) of the rows.
  void predict(const Context& context, const Rows& rows, float* logits) const;
  /// The losses of all positions, each member its own rows'.
  void losses(const Context& context) const;
  /// The losses, the gradient of `scale` times their sum by x, and of the weight its tiles.
  void backward(const Context& context, float scale, GradientSink& sink) const;

 private:
  /// The logits before the softcap.
  void multiply_weight(const Context& context, const Rows& rows, float* logits) const;

  Tensors t_;
  float softcap_;
  Buffers b_;
};

}  // namespace cllm::model
