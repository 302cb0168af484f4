#include "cllm/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

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
  if (!(options.embedding_learning_rate > 0) || !std::isfinite(options.embedding_learning_rate)) {
    fail("--embedding-rate {}: give a number above 0", options.embedding_learning_rate);
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
                     const AdamWOptions& options, ThreadPool& pool)
    : layout_(layout), kernels_(kernels), options_(options), pool_(pool) {
  validate(options);
  const model::Tiling tiling(layout);
  rows_ = rows_of(layout, tiling);
  for (const model::Tile& tile : tiling.tiles()) {
    const std::size_t rows = std::max(kChunk / tile.columns, std::size_t{1});
    for (std::size_t first = 0; first < tile.rows; first += rows) {
      const std::size_t end = std::min(first + rows, tile.rows);
      chunks_.push_back({tile.tensor, tile.first_row + first, tile.first_row + end});
    }
  }
  parts_.resize(chunks_.size());
  bits_.resize(rows_.size());
}

double Optimizer::norm(const SummedGradient& gradient) {
  pool_.share(chunks_.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    double& sum = parts_[i] = 0;
    for (std::size_t row = chunks_[i].first_row; row < chunks_[i].end_row; ++row) {
      const SumRow& place = rows_[row];
      if (gradient.floats != nullptr) {
        sum += kernels_.sum_of_squares(gradient.floats + place.at, place.size);
      } else {
        const double squares = gradient.integers->settle(place);
        bits_[row] = bits_of_row(squares, place.size);
        sum += std::ldexp(squares, -2 * gradient.exponents[row]);
      }
    }
  });
  return std::sqrt(std::accumulate(parts_.begin(), parts_.end(), 0.0));
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
  pool_.share(chunks_.size(), [&](std::size_t i, Recorder& recorder) {
    const Span span(recorder, Activity::kUpdate);
    const Chunk& chunk = chunks_[i];
    kernels::AdamWStep step = common;
    if (chunk.tensor == layout_.embedding()) {
      step.learning_rate = static_cast<float>(rate * options_.embedding_learning_rate);
    }
    if (layout_[chunk.tensor].is_matrix()) {
      step.weight_decay = static_cast<float>(options_.weight_decay);
    }
    for (std::size_t row = chunk.first_row; row < chunk.end_row; ++row) {
      const SumRow& place = rows_[row];
      float* const parameters = state.parameters.data() + place.at;
      float* const m = state.m.data() + place.at;
      float* const v = state.v.data() + place.at;
      if (gradient.floats != nullptr) {
        kernels_.adamw(parameters, m, v, gradient.floats + place.at, place.size, step);
        continue;
      }
      step.gradient_scale = static_cast<float>(std::ldexp(scale, -gradient.exponents[row]));
      if (const std::int32_t* const integers = gradient.integers->narrow(place)) {
        kernels_.adamw_integers(parameters, m, v, integers, place.size, step);
        continue;
      }
      std::array<float, 1024> floats;
      for (std::size_t first = 0; first < place.size; first += floats.size()) {
        const std::size_t count = std::min(floats.size(), place.size - first);
        gradient.integers->to_floats(place, first, {floats.data(), count});
        kernels_.adamw(parameters + first, m + first, v + first, floats.data(), count, step);
      }
    }
  });
}

}  // namespace cllm::train
