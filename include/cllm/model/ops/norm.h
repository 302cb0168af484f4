#pragma once

#include <optional>
#include <vector>

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// A norm of the residual stream, and, in one pass over the memory, the addition of a branch to the
/// stream before it: sum = x + (branch + bias), y = norm(sum).
class Norm final : public Part {
 public:
  struct Tensors {
    NormTensors norm;
    std::optional<std::size_t> branch_bias = {};
  };
  struct Buffers {
    Buffer x;                           ///< the stream as it comes
    std::optional<Buffer> branch = {};  ///< what is added to it; nothing before the first layer
    Buffer sum;                         ///< the stream as it goes on; x where nothing is added
    Buffer y;
    std::optional<Buffer> mean;  ///< of layer norm alone
    Buffer rstd;
    Buffer dy;
    std::optional<Buffer> dnext = {};  ///< gradient by `sum` as it comes from the next addition
    Buffer dsum;                       ///< gradient by `sum`, and by x and branch alike
  };
  Norm(const Parts& parts, const Tensors& tensors, const Buffers& buffers)
      : kind_(parts.norm),
        epsilon_(static_cast<float>(parts.norm_epsilon)),
        t_(tensors),
        b_(buffers) {}

  void forward(const Context& context, const Rows& rows) const override;
  /// From `sum`, which is kept.
  void forward_again(const Context& context, const Rows& rows) const override;
  void backward(const Context& context, const Rows& rows) const override;
  std::vector<std::size_t> vectors() const override;

 private:
  void add_and_norm(const Context& context, const Rows& rows) const;
  void layer_backward(const Context& context, const Rows& rows) const;
  void rms_backward(const Context& context, const Rows& rows) const;

  NormKind kind_;
  float epsilon_;  // of RMS norm; layer norm has that of its kernels
  Tensors t_;
  Buffers b_;
};

}  // namespace cllm::model
