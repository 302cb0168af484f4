#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"
#include "cllm/model/layout.h"
#include "cllm/train/integer_sums.h"
#include "cllm/train/ownership.h"

namespace cllm::train {

/// The gradient of the global batch, as a flat buffer of the layout: floats, or integers that stand
/// for i * 2^-exponent with an exponent for each row of the tiling. A view.
struct SummedGradient {
  const float* floats = nullptr;
  IntegerSums* integers = nullptr;  ///< counts where floats is null
  std::span<const std::int32_t> exponents = {};
};

/// visit(first, values, count, factor) for the elements of a settled row of the gradient from the
/// `first` on: `scale` times the gradient is values[i] * factor, and `values` points to floats or
/// to int32. One call for the whole row where its integers have 32 bits.
template <typename Visit>
void visit_row(const SummedGradient& gradient, const SumRow& row, double scale,
               const Visit& visit) {
  if (gradient.floats != nullptr) {
    return visit(std::size_t{0}, gradient.floats + row.at, row.size, static_cast<float>(scale));
  }
  const auto factor = static_cast<float>(std::ldexp(scale, -gradient.exponents[row.index]));
  if (const std::int32_t* const integers = gradient.integers->narrow(row)) {
    return visit(std::size_t{0}, integers, row.size, factor);
  }
  std::array<float, 1024> floats;
  for (std::size_t first = 0; first < row.size; first += floats.size()) {
    const std::size_t count = std::min(floats.size(), row.size - first);
    gradient.integers->to_floats(row, first, {floats.data(), count});
    visit(first, static_cast<const float*>(floats.data()), count, factor);
  }
}

/// The rows of the gradient, and which of them a thread takes at a time. These chunks are fixed, so
/// that partial sums don't depend on the threads. Immutable, so thread-safe.
struct RowChunks {
  struct Chunk {
    std::size_t tensor, first_row, end_row;
  };

  explicit RowChunks(const model::Layout& layout);

  /// What this rank owns of the tensors of some roles.
  std::vector<Chunk> of(const model::Layout& layout, bool (*has)(model::Role),
                        const Ownership& ownership) const;

  std::vector<SumRow> rows;
  std::vector<Chunk> chunks;
};

/// What the gradient is multiplied with, so that its norm is at most `clip`.
double clip_scale(double norm, double clip);

class RowExchange;

/// The Euclidean norm of gradients: the same bits for any number of threads and ranks. Allocates
/// nothing after construction.
class GradientNorm {
 public:
  /// The references must outlive it.
  GradientNorm(const model::Layout& layout, const RowChunks& rows, const kernels::Kernels& kernels,
               ThreadPool& pool, const Ownership& ownership, RowExchange& exchange);

  /// The norm, of which each rank looks at what it owns. Settles integers, which an optimizer's
  /// `update` needs.
  double of(const SummedGradient& gradient);
  /// The bits of each row's integers, as the last `of` found them; see bits_of_row.
  std::span<const int> bits() const { return bits_; }
  /// Of each chunk of rows, the sum of squares that the last `of` found.
  std::span<const double> parts() const { return parts_; }

 private:
  const RowChunks& rows_;
  const kernels::Kernels& kernels_;
  ThreadPool& pool_;
  RowExchange& exchange_;
  std::vector<RowChunks::Chunk> own_;
  std::vector<double> squares_;  // sum of them, per row
  std::vector<double> parts_;    // per chunk
  std::vector<int> bits_;        // per row
};

}  // namespace cllm::train
