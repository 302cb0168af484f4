#pragma once

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// y = GELU(x + bias), in the tanh form of Hendrycks and Gimpel (2016). x keeps its sum with the
/// bias.
class Gelu final : public Part {
 public:
  struct Buffers {
    Buffer x, y;
    Buffer d;  ///< gradient by y, and in its place that by x
  };
  Gelu(std::size_t bias, const Buffers& buffers) : bias_(bias), b_(buffers) {}

  void forward(const Context& context, const Rows& rows) const override;
  void backward(const Context& context, const Rows& rows) const override;
  std::vector<std::size_t> vectors() const override { return {bias_}; }

 private:
  std::size_t bias_;
  Buffers b_;
};

}  // namespace cllm::model
