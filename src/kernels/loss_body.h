#pragma once

#include "cllm/kernels/kernels.h"
#include "functions.h"

namespace cllm::kernels {
namespace {

/// A row of logits is as long as the vocabulary: it fills the second cache level, or more. It is
/// therefore walked in chunks that stay in the first, each with its own maximum, so that the row is
/// read once for its log-sum-exp and once more for its gradient ("online softmax": Milakov and
/// Gimelshein, arXiv 1805.02867). The chunks depend on the vocabulary alone.
struct Chunks {
  static constexpr std::size_t kMost = 64;
  static constexpr std::size_t kShortest = 1024;

  explicit Chunks(std::size_t vocabulary) : row(vocabulary) {
    const std::size_t fair = (vocabulary + kMost - 1) / kMost;
    length = fair < kShortest ? kShortest : (fair + 31) / 32 * 32;
    count = (vocabulary + length - 1) / length;
  }

  std::size_t start(std::size_t chunk) const { return chunk * length; }
  std::size_t size(std::size_t chunk) const {
    const std::size_t rest = row - start(chunk);
    return rest < length ? rest : length;
  }

  std::size_t row;
  std::size_t length;
  std::size_t count;
};

/// What the first walk along a row leaves behind.
struct RowSum {
  float top;                     ///< the largest logit
  float total;                   ///< sum of exp(logit - top)
  float factors[Chunks::kMost];  ///< exp(the chunk's largest logit - top)
};

/// The logits as they are.
struct Plain {
  const float* logits;

  float largest(std::size_t start, std::size_t size) const { return row_max(logits + start, size); }
  template <typename Part>
  auto value(std::size_t i, const Part& part) const {
    return part.load(logits + i);
  }
};

/// softcap(logits). `largest` comes first, and leaves tanh(logits / cap) in their place, so that
/// nothing later computes it again.
struct Capped {
  float* logits;
  float cap;

  float largest(std::size_t start, std::size_t size) const {
    float* x = logits + start;
    const float inverse = 1 / cap;
    return cap * row_max(size, [=](std::size_t i, auto part) {
             const auto result = tanh_any(part.load(x + i) * inverse);
             part.store(x + i, result);
             return result;
           });
  }
  template <typename Part>
  auto value(std::size_t i, const Part& part) const {
    return part.load(logits + i) * cap;
  }
};

/// `finish(position, part, exp(value - the chunk's largest))` is called for every eight values.
template <typename Values, typename Finish>
inline RowSum sum_row(const Values& values, const Chunks& chunks, const Finish& finish) {
  RowSum result;
  float sums[Chunks::kMost];
  // Finite, so that a chunk of -inf (tokens that can't occur) adds 0 and not inf - inf.
  constexpr float kLowest = -__FLT_MAX__;
  result.top = kLowest;
  for (std::size_t c = 0; c < chunks.count; ++c) {
    const std::size_t start = chunks.start(c);
    const float max = values.largest(start, chunks.size(c));
    const float highest = max > kLowest ? max : kLowest;
    sums[c] = row_sum(chunks.size(c), [&](std::size_t i, auto part) {
      const auto power = exp_or_zero(values.value(start + i, part) - highest);
      finish(start + i, part, power);
      return part.keep(power, 0);
    });
    result.factors[c] = highest;
    result.top = highest > result.top ? highest : result.top;
  }
  double total = 0;
  for (std::size_t c = 0; c < chunks.count; ++c) {
    result.factors[c] = first_of(exp_or_zero(Vector(result.factors[c] - result.top)));
    total += static_cast<double>(result.factors[c]) * static_cast<double>(sums[c]);
  }
  result.total = static_cast<float>(total);
  return result;
}

float loss_of(const RowSum& sum, float target_logit) {
  return (sum.top - target_logit) + log_any(sum.total);
}

[[gnu::flatten]] void cross_entropy(const float* logits, const std::uint32_t* targets,
                                    float* losses, std::size_t rows, std::size_t vocabulary) {
  const Chunks chunks(vocabulary);
  for (std::size_t row = 0; row < rows; ++row) {
    if (targets[row] == kNoTarget) {
      losses[row] = 0;
      continue;
    }
    const float* x = logits + row * vocabulary;
    const RowSum sum = sum_row(Plain{x}, chunks, [](std::size_t, auto, const auto&) {});
    losses[row] = loss_of(sum, x[targets[row]]);
  }
}

[[gnu::flatten]] void cross_entropy_backward(float* logits, const std::uint32_t* targets,
                                             float* losses, float scale, std::size_t rows,
                                             std::size_t vocabulary) {
  const Chunks chunks(vocabulary);
  for (std::size_t row = 0; row < rows; ++row) {
    float* x = logits + row * vocabulary;
    if (targets[row] == kNoTarget) {
      losses[row] = 0;
      for_each_pack<4>(vocabulary, [=](std::size_t i, auto part) { part.store(x + i, 0); });
      continue;
    }
    const float target_logit = x[targets[row]];
    const RowSum sum = sum_row(Plain{x}, chunks, [=](std::size_t i, auto part, const auto& power) {
      part.store(x + i, power);
    });
    losses[row] = loss_of(sum, target_logit);
    const float share = scale / sum.total;
    for (std::size_t c = 0; c < chunks.count; ++c) {
      float* chunk = x + chunks.start(c);
      const float factor = share * sum.factors[c];
      for_each_pack<4>(chunks.size(c), [=](std::size_t i, auto part) {
        part.store(chunk + i, part.load(chunk + i) * factor);
      });
    }
    x[targets[row]] -= scale;
  }
}

[[gnu::flatten]] void softcap(float* x, float cap, std::size_t n) {
  const float inverse = 1 / cap;
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    part.store(x + i, tanh_any(part.load(x + i) * inverse) * cap);
  });
}

[[gnu::flatten]] void capped_cross_entropy_backward(float* logits, const std::uint32_t* targets,
                                                    float* losses, float cap, float scale,
                                                    std::size_t rows, std::size_t vocabulary) {
  const Chunks chunks(vocabulary);
  for (std::size_t row = 0; row < rows; ++row) {
    float* x = logits + row * vocabulary;
    if (targets[row] == kNoTarget) {
      losses[row] = 0;
      for_each_pack<4>(vocabulary, [=](std::size_t i, auto part) { part.store(x + i, 0); });
      continue;
    }
    const RowSum sum = sum_row(Capped{x, cap}, chunks, [](std::size_t, auto, const auto&) {});
    const float target_tanh = x[targets[row]];
    losses[row] = loss_of(sum, target_tanh * cap);
    const float share = scale / sum.total;
    const float top = sum.top;
    for_each_pack<4>(vocabulary, [=](std::size_t i, auto part) {
      using V = typename decltype(part)::Value;
      const V t = part.load(x + i);
      const V slope = subtract_product(t, t, V(1));
      part.store(x + i, exp_or_zero(t * cap - top) * share * slope);
    });
    x[targets[row]] -= scale * __builtin_fmaf(-target_tanh, target_tanh, 1);
  }
}

inline void set_loss(Kernels& table) {
  table.cross_entropy = cross_entropy;
  table.cross_entropy_backward = cross_entropy_backward;
  table.softcap = softcap;
  table.capped_cross_entropy_backward = capped_cross_entropy_backward;
}

}  // namespace
}  // namespace cllm::kernels
