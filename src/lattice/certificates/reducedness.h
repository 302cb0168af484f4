#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace cllm::lattice {

using Wide = __int128;

/// A product of integer matrices, or a Gram matrix.
struct WideMatrix {
  WideMatrix(std::size_t rows, std::size_t n_columns)
      : columns(n_columns), values(rows * n_columns) {}
  Wide* row(std::size_t i) { return &values[i * columns]; }
  const Wide* row(std::size_t i) const { return &values[i * columns]; }

  std::size_t columns;
  std::vector<Wide> values;
};

/// Proves that a basis with this Gram matrix, whose lower triangle is read, is reduced, or says in
/// a sentence what is wrong or can't be proved.
std::optional<std::string> reduced_fault(const WideMatrix& gram, double delta, double eta);

}  // namespace cllm::lattice
