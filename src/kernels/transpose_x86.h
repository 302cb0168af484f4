#pragma once

#include <immintrin.h>

#include <cstddef>

/// Transposing for lanes.h, with the instructions that AVX2 and AVX-512 share.
namespace cllm::kernels {
namespace {

struct Transposing {
  static constexpr std::size_t kSquare = 8;

  /// y(j, i) = x(i, j) for i < rows <= 8, j < 8. Of fewer than 8 rows the others are not read, and
  /// nothing is written for them.
  static void transpose(const float* x, std::size_t ld, std::size_t rows, float* y,
                        std::size_t ldy) {
    __m256 row[8];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) row[i] = _mm256_loadu_ps(x + (i < rows ? i : 0) * ld);
    __m256 pair[8];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 8; i += 2) {
      pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
      pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    __m256 four[8];
#pragma GCC unroll 2
    for (std::size_t i = 0; i < 8; i += 4) {
      four[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
      four[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xEE);
      four[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
      four[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xEE);
    }
    const auto put = [=](std::size_t j, __m256 column) {
      float* const place = y + j * ldy;
      if (rows == 8) {
        _mm256_storeu_ps(place, column);
      } else if (rows == 6) {  // what the tiles leave of their rows
        const __m128 upper = _mm256_extractf128_ps(column, 1);
        _mm_storeu_ps(place, _mm256_castps256_ps128(column));
        _mm_storel_pi(reinterpret_cast<__m64*>(place + 4), upper);
      } else {
        float all[8];
        _mm256_storeu_ps(all, column);
        for (std::size_t i = 0; i < rows; ++i) place[i] = all[i];
      }
    };
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      put(j, _mm256_permute2f128_ps(four[j], four[j + 4], 0x20));
      put(j + 4, _mm256_permute2f128_ps(four[j], four[j + 4], 0x31));
    }
  }
};

}  // namespace
}  // namespace cllm::kernels
