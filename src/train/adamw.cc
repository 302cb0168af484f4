#include "cllm/train/adamw.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace cllm::train {
namespace {

/// Their places in AdamW::kBuffers.
enum : std::size_t { kM, kV };

}  // namespace

void AdamW::update(const SummedGradient& gradient, double learning_rate, double scale,
                   State& state) {
  const double taken = static_cast<double>(state.updates) + 1;
  const kernels::AdamWStep common{
      .learning_rate = static_cast<float>(learning_rate),
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .epsilon = static_cast<float>(options_.epsilon),
      .weight_decay = 0.0f,
      .bias_correction1 = static_cast<float>(1 - std::pow(options_.beta1, taken)),
      .bias_correction2 = static_cast<float>(1 - std::pow(options_.beta2, taken)),
      .gradient_scale = static_cast<float>(scale)};
  parts_.pool.share(parts_.rows.chunks.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    const RowChunks::Chunk& chunk = parts_.rows.chunks[i];
    const model::Tensor& tensor = parts_.layout[chunk.tensor];
    kernels::AdamWStep step = common;
    if (chunk.tensor == parts_.layout.embedding()) {
      step.learning_rate = static_cast<float>(learning_rate * options_.embedding_learning_rate);
    }
    if (tensor.role != model::Role::kVector) {
      step.weight_decay = static_cast<float>(options_.weight_decay);
    }
    float* const means = state.buffers[kM].of(chunk.tensor);
    float* const squares = state.buffers[kV].of(chunk.tensor);
    for (std::size_t row = chunk.first_row; row < chunk.end_row; ++row) {
      const SumRow& place = parts_.rows.rows[row];
      float* const parameters = state.parameters.data() + place.at;
      float* const m = means + (place.at - tensor.offset);
      float* const v = squares + (place.at - tensor.offset);
      if (gradient.floats != nullptr) {
        parts_.kernels.adamw(parameters, m, v, gradient.floats + place.at, place.size, step);
        continue;
      }
      step.gradient_scale = static_cast<float>(std::ldexp(scale, -gradient.exponents[row]));
      if (const std::int32_t* const integers = gradient.integers->narrow(place)) {
        parts_.kernels.adamw_integers(parameters, m, v, integers, place.size, step);
        continue;
      }
      std::array<float, 1024> floats;
      for (std::size_t first = 0; first < place.size; first += floats.size()) {
        const std::size_t count = std::min(floats.size(), place.size - first);
        gradient.integers->to_floats(place, first, {floats.data(), count});
        parts_.kernels.adamw(parameters + first, m + first, v + first, floats.data(), count, step);
      }
    }
  });
}

}  // namespace cllm::train
