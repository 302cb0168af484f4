#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/layout.h"
#include "cllm/train/integer_sums.h"
#include "cllm/train/scales.h"
#include "cllm/train/state.h"

namespace cllm::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;  ///< of matrices; vectors don't decay
  double embedding_learning_rate =
      1.0;            ///< learning rate of the token table (its codes), as a factor
  double clip = 1.0;  ///< the most that the gradient's norm may be; 0 for no limit
};

/// Throws Error, naming the option, for values that make no sense.
void validate(const AdamWOptions& options);

/// The gradient of the global batch, as a flat buffer of the layout: floats, or integers that stand
/// for i * 2^-exponent with an exponent for each row of the tiling. A view.
struct SummedGradient {
  const float* floats = nullptr;
  IntegerSums* integers = nullptr;  ///< counts where floats is null
  std::span<const std::int32_t> exponents = {};
};

/// What the gradient is multiplied with, so that its norm is at most `clip`.
double clip_scale(double norm, double clip);

/// Norm and AdamW update of the whole model. Results are the same bits for any number of threads.
/// Allocates nothing after construction.
class Optimizer {
 public:
  /// The references must outlive it. Throws Error for options that make no sense.
  Optimizer(const model::Layout& layout, const kernels::Kernels& kernels,
            const AdamWOptions& options, ThreadPool& pool);

  /// The gradient's Euclidean norm. Settles integers, which `update` needs.
  double norm(const SummedGradient& gradient);
  /// The bits of each row's integers, as the last `norm` found them; see bits_of_row.
  std::span<const int> bits() const { return bits_; }

  /// One AdamW step with learning rate `rate` and the gradient times `scale`. `state.updates` is
  /// the number of those that were taken before.
  void update(const SummedGradient& gradient, double rate, double scale, State& state);

 private:
  /// The rows of a tensor that a thread takes at a time. Fixed, so that partial sums don't depend
  /// on the threads.
  struct Chunk {
    std::size_t tensor, first_row, end_row;
  };

  const model::Layout& layout_;
  const kernels::Kernels& kernels_;
  AdamWOptions options_;
  ThreadPool& pool_;
  std::vector<SumRow> rows_;
  std::vector<Chunk> chunks_;
  std::vector<double> parts_;  // per chunk
  std::vector<int> bits_;      // per row
};

}  // namespace cllm::train
