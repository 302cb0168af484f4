#pragma once

#include "cllm/model/layout.h"
#include "cllm/model/ops/part.h"

namespace cllm::model {

/// A low-rank adapter of a matrix, or of some of its rows: adds scale (x Aᵀ) Bᵀ to their part of y.
/// What a `Linear` does beside its own product. Immutable, so thread-safe.
class Adapter {
 public:
  struct Buffers {
    Buffer x, y;    ///< of the matrix
    Buffer dy, dx;  ///< the same
    Buffer low;     ///< (rows, r): scale x Aᵀ
    Buffer dlow;    ///< (rows, r): the gradient by x Aᵀ
  };
  Adapter(const AdapterTensors& tensors, double scale, const Buffers& buffers)
      : t_(tensors), scale_(static_cast<float>(scale)), b_(buffers) {}

  /// Adds to y, which has the matrix' own product.
  void forward(const Context& context, const Rows& rows) const;
  /// Adds to dx, which has the matrix' own part.
  void backward(const Context& context, const Rows& rows) const;
  /// A and B, with what each is multiplied with.
  void add_matrices(std::vector<MatrixInput>& matrices) const;
  /// This member's tiles of the gradients of A and B, once all rows are through `backward`.
  void give_weights(const Context& context, GradientSink& sink) const;

 private:
  /// The columns of y, or dy, that the adapter is for.
  View part_of(const View& y) const { return y.columns_from(t_.first_row, t_.rows); }

  AdapterTensors t_;
  float scale_;
  Buffers b_;
};

}  // namespace cllm::model
