#include "cllm/train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16;

void check_beta(const char* option, double beta) {
  if (!(beta >= 0 && beta < 1)) fail("{} {}: give a number from 0 to below 1", option, beta);
}

}  // namespace

void validate(const AdamWOptions& options) {
  check_beta("--beta1", options.beta1);
  check_beta("--beta2", options.beta2);
  if (!(options.table_rate > 0) || !std::isfinite(options.table_rate)) {
    fail("--embedding-rate {}: give a number above 0", options.table_rate);
  }
  if (!(options.weight_decay >= 0) || !std::isfinite(options.weight_decay)) {
    fail("--weight-decay {}: give a number from 0 upward", options.weight_decay);
  }
  if (!(options.clip >= 0) || !std::isfinite(options.clip)) {
    fail("--clip {}: give the largest gradient norm, or 0 for no limit", options.clip);
  }
}

double clip_scale(double norm, double clip) { return clip > 0 && norm > clip ? clip / norm : 1.0; }

Optimizer::Optimizer(const model::Layout& layout, const kernels::Kernels& kernels,
                     const AdamWOptions& options, Crew& crew)
    : layout_(layout),
      kernels_(kernels),
      options_(options),
      crew_(crew),
      largest_(layout.tensors().size()) {
  validate(options);
  for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
    const model::Tensor& tensor = layout[index];
    for (std::size_t first = 0; first < tensor.size(); first += kChunk) {
      chunks_.push_back({index, tensor.offset + first, std::min(kChunk, tensor.size() - first)});
    }
  }
  parts_.resize(chunks_.size());
}

double Optimizer::norm(const SummedGradient& gradient) {
  crew_.share(chunks_.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    const Chunk& chunk = chunks_[i];
    if (gradient.floats != nullptr) {
      parts_[i] = {kernels_.sum_of_squares(gradient.floats + chunk.offset, chunk.size), 0};
    } else {
      parts_[i] = kernels_.integer_norm(gradient.integers + chunk.offset, chunk.size);
      const int exponent = -2 * gradient.exponents[chunk.tensor];
      parts_[i].squares = std::ldexp(parts_[i].squares, exponent);
    }
  });
  std::ranges::fill(largest_, 0u);
  double sum = 0;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    sum += parts_[i].squares;
    std::uint32_t& largest = largest_[chunks_[i].tensor];
    largest = std::max(largest, parts_[i].largest);
  }
  return std::sqrt(sum);
}

void Optimizer::update(const SummedGradient& gradient, double rate, double scale, State& state) {
  const double taken = static_cast<double>(state.updates) + 1;
  const kernels::AdamWStep common{
      .learning_rate = static_cast<float>(rate),
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .epsilon = static_cast<float>(options_.epsilon),
      .weight_decay = 0.0f,
      .bias_correction1 = static_cast<float>(1 - std::pow(options_.beta1, taken)),
      .bias_correction2 = static_cast<float>(1 - std::pow(options_.beta2, taken)),
      .gradient_scale = static_cast<float>(scale)};
  crew_.share(chunks_.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    const Chunk& chunk = chunks_[i];
    kernels::AdamWStep step = common;
    if (chunk.tensor == layout_.table()) {
      step.learning_rate = static_cast<float>(rate * options_.table_rate);
    }
    if (layout_[chunk.tensor].is_matrix) {
      step.weight_decay = static_cast<float>(options_.weight_decay);
    }
    float* const parameters = state.parameters.data() + chunk.offset;
    float* const m = state.m.data() + chunk.offset;
    float* const v = state.v.data() + chunk.offset;
    if (gradient.floats != nullptr) {
      kernels_.adamw(parameters, m, v, gradient.floats + chunk.offset, chunk.size, step);
    } else {
      step.gradient_scale =
          static_cast<float>(std::ldexp(scale, -gradient.exponents[chunk.tensor]));
      kernels_.adamw_integers(parameters, m, v, gradient.integers + chunk.offset, chunk.size, step);
    }
  });
}

}  // namespace cllm::train
