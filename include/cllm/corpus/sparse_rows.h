#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/thread_pool.h"
#include "cllm/kernels/kernels.h"
#include "cllm/ranks/process_group.h"

namespace cllm::corpus {

/// A square matrix or its transpose.
enum class Side { kMatrix, kTransposed };

/// Some rows of a sparse square matrix, and the same rows of its transpose, which have elements in
/// the same places: what one thread multiplies at a time.
class SparseBlock {
 public:
  /// Appends an element to the row that is being filled, and that of the transpose; one of the two
  /// may be 0. Columns come in the order in which products are to be summed.
  void add(std::size_t column, float value, float transposed) {
    columns_.push_back(static_cast<std::uint32_t>(column));
    values_[0].push_back(value);
    values_[1].push_back(transposed);
  }
  /// Ends the row that was being filled. The whole matrix has it at `row`.
  void end_row(std::size_t row);
  /// Empties it, and keeps its memory for other rows.
  void clear();

  /// Places of elements, and the bytes that each takes.
  std::size_t places() const { return columns_.size(); }
  static constexpr std::uint64_t kBytes = sizeof(std::uint32_t) + 2 * sizeof(float);
  /// Elements of the matrix that are not 0.
  std::size_t nonzeros() const;
  /// The sum of the squares of each row's elements goes to squares[row].
  void add_squares(std::span<double> squares) const;
  /// y[row] (N) = row · x (N), for the columns [first, first + count) of x and y, which have rows
  /// of `ld` elements.
  void multiply(const kernels::Kernels& kernels, Side side, const float* x, float* y,
                std::size_t ld, std::size_t first, std::size_t count) const;

 private:
  struct Row {
    std::size_t index;
    std::size_t begin;
    std::size_t end;
  };
  std::vector<Row> rows_;
  std::vector<std::uint32_t> columns_;
  std::array<std::vector<float>, 2> values_;  // by side
};

/// A rank's share of the rows of a sparse matrix.
using SparseRows = std::vector<SparseBlock>;

/// y (rows, N) = matrix · x, on every rank, from each rank's share of the matrix' rows. Each row is
/// summed in its own order by one thread, so the bits are the same however rows are dealt. x has as
/// many rows as the matrix has columns; both are without gaps. To be called by all ranks.
void multiply(ranks::ProcessGroup& process_group, ThreadPool& pool, const kernels::Kernels& kernels,
              const SparseRows& share, Side side, const AlignedBuffer<float>& x,
              AlignedBuffer<float>& y, std::size_t columns);

}  // namespace cllm::corpus
