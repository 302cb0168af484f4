#pragma once

#include <optional>

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// x = the token's row of the embedding, and the position's where positions are learned. A
/// factorised embedding has codes, whose product with a basis is the row (docs/lattice.md).
class Embedding final : public Part {
 public:
  struct Tensors {
    std::size_t tokens;                    ///< (V, C), or codes (V, r)
    std::optional<std::size_t> basis;      ///< (r, C) of a factorised one
    std::optional<std::size_t> positions;  ///< (T, C)
  };
  struct Buffers {
    std::optional<Buffer> codes;  ///< the inputs' rows of a factorised one
    Buffer x;
    Buffer dx;
    Buffer drows;  ///< gradient by the inputs' rows of `tokens`; dx unless it is factorised
    /// What the head multiplies the basis with, and the gradient by the product.
    std::optional<Buffer> head_x = {}, dprojected = {};
  };
  Embedding(const Tensors& tensors, const Buffers& buffers) : t_(tensors), b_(buffers) {}

  /// The gradient by x, and by the inputs' rows of the tokens' tensor.
  Buffer gradient() const { return b_.dx; }
  Buffer row_gradient() const { return b_.drows; }

  void forward(const Context& context, const Rows& rows) const override;
  /// To the gradients by the inputs' rows.
  void backward(const Context& context, const Rows& rows) const override;
  /// Sorts the micro-batch's inputs for `give_weights`: one member alone, before the team waits.
  void sort_tokens(const Context& context) const;
  /// This member's part of the gradients of tokens, positions, and the basis, which is the head's
  /// too.
  void give_weights(const Context& context, GradientSink& sink) const override;

 private:
  void give_tokens(const Context& context, GradientSink& sink) const;
  void give_positions(const Context& context, GradientSink& sink) const;
  void give_basis(const Context& context, GradientSink& sink) const;

  Tensors t_;
  Buffers b_;
};

}  // namespace cllm::model
