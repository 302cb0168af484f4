#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/crew.h"
#include "cllm/base/slab.h"
#include "cllm/kernels/kernels.h"
#include "cllm/train/collective.h"

namespace cllm::train {

/// Some rows of a sparse matrix: what one thread multiplies at a time.
class SparseBlock {
 public:
  /// Appends an element to the row that is being filled; columns in the order in which products
  /// are to be summed.
  void add(std::size_t column, float value) {
    columns_.push_back(static_cast<std::uint32_t>(column));
    values_.push_back(value);
  }
  /// Ends the row that was being filled. The whole matrix has it at `row`.
  void end_row(std::size_t row);
  /// Gives back the memory that more elements would have used.
  void finish();

  std::size_t nonzeros() const { return values_.size(); }
  /// What its elements take.
  std::uint64_t bytes() const {
    return nonzeros() * (sizeof(columns_.front()) + sizeof(values_.front()));
  }
  /// The sum of the squares of each row's elements goes to squares[row].
  void add_squares(std::span<double> squares) const;
  /// y[row] (N) = row · x (N), for the columns [first, first + count) of x and y, which have rows
  /// of `ld` elements.
  void multiply(const kernels::Kernels& kernels, const float* x, float* y, std::size_t ld,
                std::size_t first, std::size_t count) const;

 private:
  struct Row {
    std::size_t index;
    std::size_t begin;
    std::size_t end;
  };
  std::vector<Row> rows_;
  std::vector<std::uint32_t> columns_;
  std::vector<float> values_;
};

/// A rank's share of the rows of a sparse matrix.
using SparseRows = std::vector<SparseBlock>;

/// y (rows, N) = matrix · x, on every rank, from each rank's share of the matrix' rows. Each row is
/// summed in its own order by one thread, so the bits are the same however rows are dealt. x has as
/// many rows as the matrix has columns; both are without gaps. To be called by all ranks.
void multiply(Collective& collective, Crew& crew, const kernels::Kernels& kernels,
              const SparseRows& share, const Slab<float>& x, Slab<float>& y, std::size_t columns);

}  // namespace cllm::train
