#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "cllm/model/layout.h"

/// Matrices and the linear operations on them, for any scalar T: float, double, or
/// std::complex<double>. Written like the mathematics, slowly.
namespace cllm::support {

/// Rows × columns values of its own, row after row; zero at first. A vector is one column.
template <typename T>
struct Matrix {
  Matrix() = default;
  Matrix(std::size_t rows_, std::size_t columns_)
      : rows(rows_), columns(columns_), values(rows_ * columns_) {}

  T& operator()(std::size_t i, std::size_t j) { return values[i * columns + j]; }
  const T& operator()(std::size_t i, std::size_t j) const { return values[i * columns + j]; }

  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<T> values;
};

/// The tensor `index` of a flat buffer.
template <typename T>
Matrix<T> tensor_of(const model::Layout& layout, std::span<const T> buffer, std::size_t index) {
  const model::Tensor& tensor = layout[index];
  Matrix<T> result(tensor.rows, tensor.columns);
  const std::span<const T> values = buffer.subspan(tensor.offset, tensor.size());
  result.values.assign(values.begin(), values.end());
  return result;
}

template <typename T>
Matrix<T> transposed(const Matrix<T>& a) {
  Matrix<T> y(a.columns, a.rows);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) y(j, i) = a(i, j);
  }
  return y;
}

/// a·b: a (N, K), b (K, M)
template <typename T>
Matrix<T> product(const Matrix<T>& a, const Matrix<T>& b) {
  Matrix<T> y(a.rows, b.columns);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t k = 0; k < a.columns; ++k) {
      for (std::size_t j = 0; j < b.columns; ++j) y(i, j) += a(i, k) * b(k, j);
    }
  }
  return y;
}

/// a·bᵀ: a (N, K), b (M, K)
template <typename T>
Matrix<T> product_transposed(const Matrix<T>& a, const Matrix<T>& b) {
  Matrix<T> y(a.rows, b.rows);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < b.rows; ++j) {
      T total{};
      for (std::size_t k = 0; k < a.columns; ++k) total += a(i, k) * b(j, k);
      y(i, j) = total;
    }
  }
  return y;
}

/// a + b
template <typename T>
Matrix<T> sum(Matrix<T> a, const Matrix<T>& b) {
  for (std::size_t i = 0; i < a.values.size(); ++i) a.values[i] += b.values[i];
  return a;
}

/// Elements of a times those of b.
template <typename T>
Matrix<T> times(Matrix<T> a, const Matrix<T>& b) {
  for (std::size_t i = 0; i < a.values.size(); ++i) a.values[i] *= b.values[i];
  return a;
}

template <typename T>
Matrix<T> scaled(Matrix<T> a, double factor) {
  for (T& value : a.values) value *= T(factor);
  return a;
}

/// Each row of a (N, C) plus v (C).
template <typename T>
Matrix<T> plus_row(Matrix<T> a, const Matrix<T>& v) {
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) a(i, j) += v(j, 0);
  }
  return a;
}

/// Each row of a (N, C) times v (C), element by element.
template <typename T>
Matrix<T> times_row(Matrix<T> a, const Matrix<T>& v) {
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) a(i, j) *= v(j, 0);
  }
  return a;
}

/// The sum of all rows (N, C), as a vector (C).
template <typename T>
Matrix<T> row_sum(const Matrix<T>& a) {
  Matrix<T> y(a.columns, 1);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) y(j, 0) += a(i, j);
  }
  return y;
}

/// The rows of a table whose numbers are listed.
template <typename T>
Matrix<T> rows_of(const Matrix<T>& table, const std::vector<std::size_t>& rows) {
  Matrix<T> y(rows.size(), table.columns);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j < table.columns; ++j) y(i, j) = table(rows[i], j);
  }
  return y;
}

/// Where a block lies in a matrix.
struct Block {
  std::size_t row, rows;
  std::size_t column, columns;
};

template <typename T>
Matrix<T> block_of(const Matrix<T>& a, const Block& block) {
  Matrix<T> y(block.rows, block.columns);
  for (std::size_t i = 0; i < block.rows; ++i) {
    for (std::size_t j = 0; j < block.columns; ++j) {
      y(i, j) = a(block.row + i, block.column + j);
    }
  }
  return y;
}

template <typename T>
void add_block(Matrix<T>& a, const Block& block, const Matrix<T>& b) {
  for (std::size_t i = 0; i < block.rows; ++i) {
    for (std::size_t j = 0; j < block.columns; ++j) {
      a(block.row + i, block.column + j) += b(i, j);
    }
  }
}

/// Blocks put together to a matrix (rows, columns) without gaps.
template <typename T>
Matrix<T> assembled(const std::vector<std::pair<Block, Matrix<T>>>& blocks, std::size_t rows,
                    std::size_t columns) {
  Matrix<T> y(rows, columns);
  for (const auto& [block, a] : blocks) add_block(y, block, a);
  return y;
}

}  // namespace cllm::support
