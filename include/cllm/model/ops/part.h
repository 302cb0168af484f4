#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include "cllm/base/team.h"
#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"
#include "cllm/kernels/product.h"
#include "cllm/model/activations.h"
#include "cllm/model/arrivals.h"
#include "cllm/model/gradient.h"
#include "cllm/model/layout.h"
#include "cllm/model/micro_batch.h"
#include "cllm/model/view.h"
#include "cllm/model/workspace.h"

namespace cllm::model {

/// What parts work with: one member of a team that takes one micro-batch through the model.
struct Context {
  const Layout& layout;
  const Tiling& tiling;
  const kernels::Kernels& kernels;
  const float* parameters;
  const MicroBatch& micro_batch;
  const Workspace& workspace;
  const Scratch& scratch;
  const Member& member;
  /// Threads that share this member's products, of few rows; null: it has them to itself.
  ThreadPool* helpers = nullptr;
  /// Of parameters that are still on their way; null: all are there.
  Arrivals* arrivals = nullptr;

  const float* parameter(std::size_t tensor) const { return parameters + layout[tensor].offset; }
  bool trains(std::size_t tensor) const { return layout[tensor].is_trained; }
  /// Null where there is no such tensor.
  const float* parameter_or_null(const std::optional<std::size_t>& tensor) const {
    return tensor ? parameter(*tensor) : nullptr;
  }
  ConstView matrix(std::size_t tensor) const {
    return {parameter(tensor), layout[tensor].columns, layout[tensor].columns};
  }
  View operator[](Buffer buffer) const { return workspace[buffer]; }
  /// y (rows, out) = x (rows, in) · weight (out, in)ᵀ.
  void multiply(const ConstView& x, std::size_t rows, const ConstView& weight, std::size_t out,
                float* y, std::size_t stride) const;
  /// Rows that go through: all but those of the past.
  std::size_t first_row() const { return micro_batch.past; }
  std::size_t rows() const { return micro_batch.rows() - micro_batch.past; }

  /// Calls work(rows) for each token block of this member.
  template <typename Work>
  void for_own_rows(const Work& work) const {
    for_own_rows(first_row(), rows(), workspace.token_block(), work);
  }
  template <typename Work>
  void for_own_rows(std::size_t first, std::size_t count, std::size_t block,
                    const Work& work) const {
    for (std::size_t b = 0; b * block < count; ++b) {
      if (member.takes(b)) work(Rows{first + b * block, std::min(block, count - b * block), b});
    }
  }
};

/// A matrix, and the activations that it is multiplied with.
struct MatrixInput {
  std::size_t tensor;
  Buffer x;
};

/// A step of the model from some activations to others: it has its tensors and buffers, its way
/// forward and its way back.
///
/// Note [Teams]
///
/// Row-wise work (products with weights, norms, activations) is dealt to a team's members by token
/// blocks, each member's own from one end of the model to the other; attention by heads of
/// sequences, of which a member takes one whole, so that no sum is shared; weight gradients by
/// tiles, each over all rows. Members therefore wait for each other only before and after
/// attention (and once more on the way back where queries and keys are normed or rotated), where
/// the head's logits change hands, and before the embeddings' gradient.
///
/// Immutable once it is made, and so thread-safe.
class Part {
 public:
  virtual ~Part() = default;

  /// Whether a row's output needs other rows: then the team waits before and after it, and it deals
  /// the work to members itself; `rows` is all of them.
  virtual bool crosses_rows() const { return false; }

  /// Whether its backward completes what matrices' gradients of the same layer are computed of:
  /// then the team waits behind it.
  virtual bool completes_gradients() const { return false; }

  virtual void forward(const Context& context, const Rows& rows) const = 0;
  /// What of forward is to be done again where what it left for backward has been overwritten.
  virtual void forward_again(const Context& context, const Rows& rows) const {
    forward(context, rows);
  }
  /// From the gradient by its outputs to that by its inputs; leaves the gradients of `vectors`,
  /// summed over the rows, in the workspace's sums of the block.
  virtual void backward(const Context& context, const Rows& rows) const = 0;
  /// Tensors that are vectors, such as biases; trained or not.
  virtual std::vector<std::size_t> vectors() const { return {}; }
  virtual std::vector<MatrixInput> matrices() const { return {}; }
  /// This member's tiles of the gradients of its matrices, once all rows are through `backward`.
  virtual void give_weights(const Context&, GradientSink&) const {}
};

/// Rows that go through several row-wise kernels one after the other while they are in the cache.
inline constexpr std::size_t kChunkRows = 32;

/// Calls work(first, count) for the rows, a few at a time.
template <typename Work>
void for_chunks(const Rows& rows, const Work& work) {
  for (std::size_t i = 0; i < rows.count; i += kChunkRows) {
    work(rows.first + i, std::min(kChunkRows, rows.count - i));
  }
}

/// The block's sum for a vector's gradient, which begins at 0; null where there is no such vector.
/// Of one that isn't trained too: kernels of norms compute it in any case.
float* begin_vector_sum(const Context& context, const std::optional<std::size_t>& tensor,
                        const Rows& rows);
/// The same for a bias; null also where it isn't trained.
float* begin_bias_sum(const Context& context, const std::optional<std::size_t>& bias,
                      const Rows& rows);

}  // namespace cllm::model
