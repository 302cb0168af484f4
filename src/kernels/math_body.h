#pragma once

#include "cllm/kernels/kernels.h"
#include "functions.h"

namespace cllm::kernels {
namespace {

[[gnu::flatten]] void exp(const float* x, float* y, std::size_t n) {
  for_each_pack<4>(n,
                   [=](std::size_t i, auto part) { part.store(y + i, exp_any(part.load(x + i))); });
}

[[gnu::flatten]] void log(const float* x, float* y, std::size_t n) {
  for_each_pack<4>(n,
                   [=](std::size_t i, auto part) { part.store(y + i, log_any(part.load(x + i))); });
}

[[gnu::flatten]] void tanh(const float* x, float* y, std::size_t n) {
  for_each_pack<4>(
      n, [=](std::size_t i, auto part) { part.store(y + i, tanh_any(part.load(x + i))); });
}

[[gnu::flatten]] void add(const float* x, float* y, std::size_t n) {
  for_each_pack<4>(
      n, [=](std::size_t i, auto part) { part.store(y + i, part.load(y + i) + part.load(x + i)); });
}

[[gnu::flatten]] void add_bias(const float* bias, float* x, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    add(bias, x + row * columns, columns);
  }
}

/// sums (N) += kRows rows of x, in order.
template <std::size_t kRows>
void add_rows(const float* x, float* sums, std::size_t columns) {
  for_each_pack<2>(columns, [=](std::size_t i, auto part) {
    auto sum = part.load(sums + i);
    for (std::size_t row = 0; row < kRows; ++row) {
      sum = sum + part.load(x + row * columns + i);
    }
    part.store(sums + i, sum);
  });
}

[[gnu::flatten]] void add_column_sums(const float* x, float* sums, std::size_t rows,
                                      std::size_t columns) {
  // Eight rows for each time that the sums are loaded and stored.
  std::size_t row = 0;
  for (; row + 8 <= rows; row += 8) {
    add_rows<8>(x + row * columns, sums, columns);
  }
  for (; row < rows; ++row) {
    add_rows<1>(x + row * columns, sums, columns);
  }
}

[[gnu::flatten]] double sum_of_squares(const float* x, std::size_t n) {
  SquareSums sums;
  for_each_pack<2>(n, [&](std::size_t i, auto part) {
    const auto values = part.load(x + i);
    for_each_eight(values, [&](std::size_t k, const auto& eight) { sums.add(k, eight); });
  });
  return sums.total();
}

[[gnu::flatten]] void sparse_row(const std::uint32_t* columns, const float* values,
                                 std::size_t count, const float* x, std::size_t ld, float* y,
                                 std::size_t n) {
  // The sums of 64 columns stay in registers while the row is walked.
  for_each_pack<8>(n, [=](std::size_t i, auto part) {
    typename decltype(part)::Value sum = 0;
    for (std::size_t e = 0; e < count; ++e) {
      sum = fma(typename decltype(part)::Value(values[e]), part.load(x + columns[e] * ld + i), sum);
    }
    part.store(y + i, sum);
  });
}

inline void set_math(Kernels& table) {
  table.exp = exp;
  table.log = log;
  table.tanh = tanh;
  table.add = add;
  table.add_bias = add_bias;
  table.add_column_sums = add_column_sums;
  table.sum_of_squares = sum_of_squares;
  table.sparse_row = sparse_row;
}

}  // namespace
}  // namespace cllm::kernels
