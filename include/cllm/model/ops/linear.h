#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "cllm/model/ops/adapter.h"
#include "cllm/model/ops/part.h"

namespace cllm::model {

/// y (rows, out) = x (rows, in) · weightᵀ of the rows.
void multiply(const Context& context, Buffer x, std::size_t weight, Buffer y, const Rows& rows);
/// x (rows, in) = y (rows, out) · weight of the rows, plus `beta` times what x is.
void multiply_back(const Context& context, Buffer y, std::size_t weight, Buffer x, const Rows& rows,
                   float beta = 0.0f);
/// This member's tiles of dyᵀ · x, with dy (count, out) and x (count, in), to the sink, as pass
/// `pass` of the weight's gradient.
void give_product(const Context& context, Activity activity, ConstView dy, ConstView x,
                  std::size_t count, std::size_t weight, std::size_t pass, GradientSink& sink);

/// y = x · weightᵀ + bias, and what adapters add. Where the part that follows adds the bias, this
/// one has none.
class Linear final : public Part {
 public:
  struct Buffers {
    Buffer x, y;
    Buffer dy, dx;
    bool y_is_kept = true;  ///< else it is part of a sum that is kept, and not computed again
  };
  Linear(std::size_t weight, std::optional<std::size_t> bias, const Buffers& buffers,
         std::vector<Adapter> adapters = {})
      : weight_(weight), bias_(bias), b_(buffers), adapters_(std::move(adapters)) {}

  /// That of an adapter is computed of what `backward` makes.
  bool completes_gradients() const override { return !adapters_.empty(); }

  void forward(const Context& context, const Rows& rows) const override;
  void forward_again(const Context& context, const Rows& rows) const override;
  void backward(const Context& context, const Rows& rows) const override;
  std::vector<std::size_t> vectors() const override;
  std::vector<MatrixInput> matrices() const override;
  void give_weights(const Context& context, GradientSink& sink) const override;

 private:
  std::size_t weight_;
  std::optional<std::size_t> bias_;
  Buffers b_;
  std::vector<Adapter> adapters_;
};

}  // namespace cllm::model
