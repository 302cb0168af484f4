#pragma once

#include <optional>
#include <vector>

#include "cllm/model/ops/part.h"

namespace cllm::model {

/// What stands between the MLP's matrices: y (rows, F) = f(x + bias), with x (rows, F), or
/// (rows, 2F) of SwiGLU. x keeps its sum with the bias.
class Activation final : public Part {
 public:
  struct Buffers {
    Buffer x, y;
    Buffer dy, dx;  ///< the same buffer where x is no wider than y
  };
  Activation(MlpKind kind, std::optional<std::size_t> bias, const Buffers& buffers)
      : kind_(kind), bias_(bias), b_(buffers) {}

  void forward(const Context& context, const Rows& rows) const override;
  void backward(const Context& context, const Rows& rows) const override;
  std::vector<std::size_t> vectors() const override;

 private:
  MlpKind kind_;
  std::optional<std::size_t> bias_;
  Buffers b_;
};

}  // namespace cllm::model
