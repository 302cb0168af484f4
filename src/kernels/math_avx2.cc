#include "avx2.h"
#include "functions_avx2.h"

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

__m256d add_squares(__m256d sum, __m128 x) {
  const __m256d wide = _mm256_cvtps_pd(x);
  return _mm256_fmadd_pd(wide, wide, sum);
}

[[gnu::flatten]] double sum_of_squares(const float* x, std::size_t n) {
  __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                     _mm256_setzero_pd()};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    sums[0] = add_squares(sums[0], _mm_loadu_ps(x + i));
    sums[1] = add_squares(sums[1], _mm_loadu_ps(x + i + 4));
    sums[2] = add_squares(sums[2], _mm_loadu_ps(x + i + 8));
    sums[3] = add_squares(sums[3], _mm_loadu_ps(x + i + 12));
  }
  for_each_pack<1>(n - i, [&](std::size_t j, auto part) {
    const Vector last = part.load(x + i + j);
    sums[0] = add_squares(sums[0], _mm256_castps256_ps128(last.v[0]));
    sums[1] = add_squares(sums[1], _mm256_extractf128_ps(last.v[0], 1));
  });
  const __m256d sum =
      _mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3]));
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
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

}  // namespace

void avx2::set_math(Kernels& table) {
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
