#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "cllm/kernels/kernels.h"
#include "cllm/model/layout.h"
#include "cllm/train/gradient_norm.h"
#include "cllm/train/row_exchange.h"

namespace cllm::train {

/// The Euclidean norms of a step's gradient and of what it changed, by groups of tensors: the head,
/// each layer, the embeddings. Sums are by the rows of the gradient, each taken by one thread, and
/// then over rows in their order: the same bits on any number of threads and ranks. Allocates
/// nothing after construction.
class GroupNorms {
 public:
  /// The references must outlive it.
  GroupNorms(const model::Layout& layout, const RowChunks& rows, const kernels::Kernels& kernels,
             RowExchange& exchange);

  /// Whether the update that follows is to be measured.
  void begin(bool measures);
  bool measures() const { return measures_; }

  /// update(first, count) changes `parameters` from the `first` of `count` elements on, some that
  /// lie in this row: all at once, or, where the update is measured, in pieces. Threads may call it
  /// at once for different rows.
  template <typename Update>
  void watch(const SumRow& row, const float* parameters, std::size_t count, const Update& update) {
    if (!measures_) return update(std::size_t{0}, count);
    std::array<float, 1024> change;
    for (std::size_t first = 0; first < count; first += change.size()) {
      const std::size_t size = std::min(change.size(), count - first);
      std::copy_n(parameters + first, size, change.data());
      update(first, size);
      for (std::size_t i = 0; i < size; ++i) change[i] = parameters[first + i] - change[i];
      changes_[row.index] += kernels_.sum_of_squares(change.data(), size);
    }
  }

  /// To be called when all is updated, on all ranks alike. `gradient`: of each chunk, the sum of
  /// squares.
  void end(std::span<const double> gradient);

  /// Names of groups that are trained: "head", "h.11", …, "embeddings".
  const std::vector<std::string>& names() const { return names_; }
  /// Of these, what the last measured step had; the gradient before clipping.
  std::span<const double> gradient() const { return gradient_; }
  std::span<const double> update() const { return update_; }

 private:
  /// norms = the roots of sums of squares_of(chunk).
  template <typename SquaresOf>
  void add_up(const SquaresOf& squares_of, std::span<double> norms) const;

  const RowChunks& rows_;
  const kernels::Kernels& kernels_;
  RowExchange& exchange_;
  bool measures_ = false;
  std::vector<std::string> names_;
  std::vector<std::size_t> group_of_chunk_;  // in names_
  std::vector<double> changes_;              // of rows, sums of squares
  std::vector<double> gradient_, update_;
};

}  // namespace cllm::train
