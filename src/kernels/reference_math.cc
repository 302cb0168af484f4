#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

using reference::narrow;
using reference::wide;

// --- Functions -----------------------------------------------------------------------------------

void exp(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(std::exp(wide(x[i])));
  }
}

void log(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(std::log(wide(x[i])));
  }
}

void tanh(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = narrow(std::tanh(wide(x[i])));
  }
}

// --- Sums ----------------------------------------------------------------------------------------

void add(const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] += x[i];
  }
}

void add_bias(const float* bias, float* x, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    add(bias, x + row * columns, columns);
  }
}

void add_column_sums(const float* x, float* sums, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    add(x + row * columns, sums, columns);
  }
}

double sum_of_squares(const float* x, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    sum += wide(x[i]) * wide(x[i]);
  }
  return sum;
}

void sparse_row(const std::uint32_t* columns, const float* values, std::size_t count,
                const float* x, std::size_t ld, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (std::size_t e = 0; e < count; ++e) {
      sum += wide(values[e]) * wide(x[columns[e] * ld + i]);
    }
    y[i] = narrow(sum);
  }
}

}  // namespace

void reference::set_math(Kernels& table) {
  table.exp = exp;
  table.log = log;
  table.tanh = tanh;
  table.add = add;
  table.add_bias = add_bias;
  table.add_column_sums = add_column_sums;
  table.sum_of_squares = sum_of_squares;
  table.sparse_row = sparse_row;
}

}  // namespace cllm::kernels
