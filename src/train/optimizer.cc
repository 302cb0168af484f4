#include "cllm/train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

/// Floats that a thread takes at a time. Fixed, so that partial sums don't depend on the threads.
constexpr std::size_t kChunk = std::size_t{1} << 16;

std::size_t chunks_of(std::size_t size) { return (size + kChunk - 1) / kChunk; }

void check_beta(const char* option, double beta) {
  if (!(beta >= 0 && beta < 1)) fail("{} {}: give a number from 0 to below 1", option, beta);
}

}  // namespace

void validate(const AdamWOptions& options) {
  check_beta("--beta1", options.beta1);
  check_beta("--beta2", options.beta2);
  if (!(options.weight_decay >= 0) || !std::isfinite(options.weight_decay)) {
    fail("--weight-decay {}: give a number from 0 upward", options.weight_decay);
  }
  if (!(options.clip >= 0) || !std::isfinite(options.clip)) {
    fail("--clip {}: give the largest gradient norm, or 0 for no limit", options.clip);
  }
}

std::size_t norm_parts(std::size_t slab_size) { return chunks_of(slab_size); }

double gradient_norm(const kernels::Kernels& kernels, std::span<const float> gradient, int threads,
                     std::span<double> parts) {
  const std::size_t chunks = chunks_of(gradient.size());
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::size_t i = 0; i < chunks; ++i) {
    const std::size_t first = i * kChunk;
    parts[i] =
        kernels.sum_of_squares(gradient.data() + first, std::min(kChunk, gradient.size() - first));
  }
  double sum = 0;
  for (const double part : parts.first(chunks)) sum += part;
  return std::sqrt(sum);
}

double clip_scale(double norm, double clip) { return clip > 0 && norm > clip ? clip / norm : 1.0; }

void update(const model::Layout& layout, const kernels::Kernels& kernels,
            const AdamWOptions& options, double rate, double gradient_scale,
            std::span<const float> gradient, State& state, int threads) {
  const double taken = static_cast<double>(state.step) + 1;
  kernels::AdamWStep step{
      .learning_rate = static_cast<float>(rate),
      .beta1 = static_cast<float>(options.beta1),
      .beta2 = static_cast<float>(options.beta2),
      .epsilon = static_cast<float>(options.epsilon),
      .weight_decay = 0.0f,
      .bias_correction1 = static_cast<float>(1 - std::pow(options.beta1, taken)),
      .bias_correction2 = static_cast<float>(1 - std::pow(options.beta2, taken)),
      .gradient_scale = static_cast<float>(gradient_scale)};

#pragma omp parallel num_threads(threads) firstprivate(step)
  for (const model::Tensor& tensor : layout.tensors()) {
    step.weight_decay = tensor.is_matrix ? static_cast<float>(options.weight_decay) : 0.0f;
    const std::size_t chunks = chunks_of(tensor.size());
#pragma omp for schedule(static) nowait
    for (std::size_t i = 0; i < chunks; ++i) {
      const std::size_t first = tensor.offset + i * kChunk;
      kernels.adamw(state.parameters.data() + first, state.m.data() + first, state.v.data() + first,
                    gradient.data() + first, std::min(kChunk, tensor.size() - i * kChunk), step);
    }
  }
}

}  // namespace cllm::train
