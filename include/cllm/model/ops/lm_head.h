#pragma once

#include <optional>
#include <span>
#include <vector>

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// Logits = x · weightᵀ, and the cross-entropy of the targets: band by band, each its columns. Of a
/// factorised band, x · basisᵀ · codesᵀ. With a softcap they become cap tanh(logit / cap). Logits
/// become their gradients in place, some rows at a time: (rows, V) never exists as a whole.
class LmHead {
 public:
  struct Tensors {
    std::span<const TableBand> bands;  ///< of the layout's head
    /// Whether bases are the head's own, whose gradients it gives; else the embedding does.
    bool owns_bases;
  };
  struct Buffers {
    Buffer x, dx;
    /// By bands: x · basisᵀ of a factorised one, and the gradient by that.
    std::vector<std::optional<Buffer>> projected, dprojected;
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
  std::size_t vocabulary() const { return t_.bands.back().first_row + t_.bands.back().rows; }
  /// What a band's matrix or codes are multiplied with.
  Buffer input_of(std::size_t band) const { return b_.projected[band].value_or(b_.x); }
  /// The logits before the softcap.
  void multiply_weight(const Context& context, const Rows& rows, float* logits) const;
  /// From the gradient by the rows' logits to that by x.
  void multiply_weight_back(const Context& context, const Rows& rows, const float* dlogits) const;

  Tensors t_;
  float softcap_;
  Buffers b_;
};

}  // namespace cllm::model
