#pragma once

#include <cstdint>
#include <span>

#include "cllm/kernels/kernels.h"
#include "cllm/model/layout.h"
#include "cllm/train/state.h"

namespace cllm::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;  ///< of matrices; vectors don't decay
  double clip = 1.0;          ///< the most that the gradient's norm may be; 0 for no limit
};

/// Throws Error, naming the option, for values that make no sense.
void validate(const AdamWOptions& options);

/// How many partial sums gradient_norm makes of a slab.
std::size_t norm_parts(std::size_t slab_size);

/// The Euclidean norm of a slab, with `threads` threads: the same bits for any number of them.
/// `parts` has room for norm_parts(gradient.size()).
double gradient_norm(const kernels::Kernels& kernels, std::span<const float> gradient, int threads,
                     std::span<double> parts);

/// What the gradient is multiplied with, so that its norm is at most `clip`.
double clip_scale(double norm, double clip);

/// One AdamW step with learning rate `rate` and the gradient times `gradient_scale`, on `threads`
/// threads; `state.step` is the number of steps that were taken before. The same bits for any
/// number of threads.
void update(const model::Layout& layout, const kernels::Kernels& kernels,
            const AdamWOptions& options, double rate, double gradient_scale,
            std::span<const float> gradient, State& state, int threads);

}  // namespace cllm::train
