#pragma once

#include <optional>

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// Layer norm of the residual stream, y = norm(x) · gain + shift, and, in one pass over the memory,
/// the addition of a branch to the stream before it: sum = x + (branch + bias).
class Norm final : public Part {
 public:
  struct Tensors {
    std::size_t gain, shift;
    std::optional<std::size_t> branch_bias = {};
  };
  struct Buffers {
    Buffer x;                           ///< the stream as it comes
    std::optional<Buffer> branch = {};  ///< what is added to it; nothing before the first layer
    Buffer sum;                         ///< the stream as it goes on; x where nothing is added
    Buffer y, mean, rstd;
    Buffer dy;
    std::optional<Buffer> dnext = {};  ///< gradient by `sum` as it comes from the next addition
    Buffer dsum;                       ///< gradient by `sum`, and by x and branch alike
  };
  Norm(const Tensors& tensors, const Buffers& buffers) : t_(tensors), b_(buffers) {}

  void forward(const Context& context, const Rows& rows) const override;
  void backward(const Context& context, const Rows& rows) const override;
  std::vector<std::size_t> vectors() const override;

 private:
  Tensors t_;
  Buffers b_;
};

}  // namespace cllm::model
