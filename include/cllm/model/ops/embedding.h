#pragma once

#include <optional>
#include <span>
#include <vector>

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// x = the token's row of the embedding, and the position's where positions are learned. A
/// factorised band has codes, whose product with a basis is the row (docs/lattice.md).
///
/// Note [Rows by bands]
///
/// A band's product is one of the rows whose token is in the band, and of no others: so bands cost
/// what their tokens cost. Those rows of the micro-batch stand together in buffers of their own,
/// band after band, in their order: a row's slot there is the number of rows before it in that
/// order. It depends on the micro-batch alone; each member of a team finds those of its token
/// blocks, and the products' shapes, and with them their bits, don't depend on the team. Where
/// there is one band a row's slot is the row itself, and the buffers are the usual ones.
class Embedding final : public Part {
 public:
  struct Tensors {
    std::span<const TableBand> bands;      ///< of the layout's embedding
    std::optional<std::size_t> positions;  ///< (T, C)
  };
  struct Buffers {
    Buffer x, dx;
    Buffer banded, dbanded;  ///< x and dx by slots; the same buffers where there is one band
    /// The inputs' codes by slots, and the gradient by them, as wide as the widest: where a band is
    /// factorised.
    std::optional<Buffer> codes, dcodes;
    /// Of a tied embedding, by bands: what the head multiplies each basis with, and the gradient by
    /// that product.
    std::optional<Buffer> head_x = {};
    std::vector<std::optional<Buffer>> dprojected = {};
  };
  Embedding(const Tensors& tensors, const Buffers& buffers) : t_(tensors), b_(buffers) {}

  /// The gradient by x.
  Buffer gradient() const { return b_.dx; }
  /// The rows of a micro-batch whose tokens are in a band, as slots, and the buffers that have the
  /// gradient there by x, and by the band's matrix or codes.
  struct BandRows {
    std::size_t first, count;
    Buffer dx, drows;
  };
  BandRows band_rows(const MicroBatch& micro_batch, std::size_t band) const;

  void forward(const Context& context, const Rows& rows) const override;
  /// To the gradients by the inputs' rows.
  void backward(const Context& context, const Rows& rows) const override;
  /// Sorts the micro-batch's inputs for `give_weights`: one member alone, before the team waits.
  void sort_tokens(const Context& context) const;
  /// This member's part of the gradients of tokens, positions, and bases, which of a tied embedding
  /// are the head's too.
  void give_weights(const Context& context, GradientSink& sink) const override;

 private:
  /// The gradient by the rows of the band's matrix or codes, by slots.
  View row_gradient(const Context& context, const TableBand& band) const;
  void give_tokens(const Context& context, GradientSink& sink) const;
  void give_positions(const Context& context, GradientSink& sink) const;
  void give_basis(const Context& context, std::size_t band, GradientSink& sink) const;

  Tensors t_;
  Buffers b_;
};

}  // namespace cllm::model
