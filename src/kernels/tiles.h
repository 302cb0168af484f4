#pragma once

#include <cstddef>

#include "lanes.h"
#include "products.h"

/// What products are made of: tiles of C whose sums stay in registers, and the packing that lets
/// them read A and B from one end to the other.
namespace cllm::kernels {
namespace {

using Lane = Lanes::Lane;
constexpr std::size_t kLaneFloats = Lanes::kWidth, kTileRows = Lanes::kTileRows;
constexpr std::size_t kVectors = 2;  // of a row of a tile
constexpr std::size_t kTileColumns = kVectors * kLaneFloats;
static_assert(kPackedRows % kTileRows == 0 && kPackedColumns % kTileColumns == 0);
static_assert(kTileRows * kTileColumns <= kLargestTile);

constexpr std::size_t kCacheLine = 16;  // in floats

constexpr std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }

/// A tile of C, in memory.
struct Place {
  float* data;
  std::size_t stride;
};

/// How the elements of a tile's A lie: those of a row side by side, or those of a column.
enum class Side { kRow, kColumn };

/// c = alpha sum + beta c, as Note [Order of products] has it.
inline Lane combined(Lane sum, float alpha, float beta, const float* c) {
  const Lane scaled = Lanes::multiply(Lanes::broadcast(alpha), sum);
  if (beta == 0) return scaled;
  return beta == 1 ? Lanes::add(Lanes::load(c), scaled)
                   : Lanes::fma(Lanes::broadcast(beta), Lanes::load(c), scaled);
}
inline float combined(float sum, float alpha, float beta, const float* c) {
  const float scaled = alpha * sum;
  if (beta == 0) return scaled;
  return beta == 1 ? *c + scaled : __builtin_fmaf(beta, *c, scaled);
}

/// C's tile (kCount, kTileColumns) from A (kCount, k), whose rows or columns lie lda apart, and a
/// panel of B (k, kTileColumns), whose rows lie ldb apart.
template <std::size_t kCount, Side kSide>
void multiply_tile(std::size_t k, const float* a, std::size_t lda, const float* b, std::size_t ldb,
                   float alpha, float beta, const Place& c) {
  // While the sums are taken, what they are added to comes near.
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kTileColumns; j += kCacheLine) {
      __builtin_prefetch(c.data + i * c.stride + j, 1);
    }
  }
  Lane sums[kCount][kVectors];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kVectors; ++j) sums[i][j] = Lanes::broadcast(0.0f);
  }
  // Rows that lie apart are reached from every third of them: so many addresses there are
  // registers for.
  constexpr std::size_t kThirds = kSide == Side::kRow ? (kCount + 2) / 3 : 1;
  const float* from[kThirds];
#pragma GCC unroll 16
  for (std::size_t third = 0; third < kThirds; ++third) from[third] = a + third * 3 * lda;
  const std::size_t step = kSide == Side::kRow ? 1 : lda;
  for (std::size_t p = 0; p < k; ++p, b += ldb) {
    Lane row[kVectors];
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kVectors; ++j) row[j] = Lanes::load(b + j * kLaneFloats);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kCount; ++i) {
      const Lane x =
          Lanes::broadcast(kSide == Side::kRow ? from[i / 3 % kThirds][i % 3 * lda] : from[0][i]);
#pragma GCC unroll 4
      for (std::size_t j = 0; j < kVectors; ++j) sums[i][j] = Lanes::fma(x, row[j], sums[i][j]);
    }
#pragma GCC unroll 16
    for (std::size_t third = 0; third < kThirds; ++third) from[third] += step;
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kVectors; ++j) {
      float* const place = c.data + i * c.stride + j * kLaneFloats;
      Lanes::store(place, combined(sums[i][j], alpha, beta, place));
    }
  }
}

using MultiplyTile = void (*)(std::size_t k, const float* a, std::size_t lda, const float* b,
                              std::size_t ldb, float alpha, float beta, const Place& c);

/// By the number of rows: a tile at the lower end of C has fewer.
template <Side kSide>
struct Tiles {
  MultiplyTile of_rows[kTileRows + 1] = {};

  template <std::size_t kCount>
  constexpr void fill() {
    of_rows[kCount] = multiply_tile<kCount, kSide>;
    if constexpr (kCount < kTileRows) fill<kCount + 1>();
  }
  constexpr Tiles() { fill<1>(); }
};

template <Side kSide>
constexpr Tiles<kSide> kTiles;

/// The first `columns` of a tile's `rows`, which `sums` holds side by side, to where they belong.
inline void place_columns(const float* sums, std::size_t rows, std::size_t columns, float alpha,
                          float beta, const Place& c) {
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      float& element = c.data[i * c.stride + j];
      element = combined(sums[i * kTileColumns + j], alpha, beta, &element);
    }
  }
}

/// Packs `count` rows of x, of which each has k elements in a row of memory, as panels of kPanel
/// rows: (k, kPanel) each. What the last panel has no rows for stays as it was.
template <std::size_t kPanel>
void pack_rows(const float* x, std::size_t ld, std::size_t count, std::size_t k, float* y) {
  for (std::size_t first = 0; first < count; first += kPanel, y += kPanel * k) {
    for (std::size_t part = 0; part < kPanel; part += Lanes::kSquare) {
      const std::size_t row = first + part;
      const std::size_t rows =
          least(least(Lanes::kSquare, kPanel - part), row < count ? count - row : 0);
      const float* const from = x + row * ld;
      std::size_t p = 0;
      if (rows > 1) {
        for (; p + Lanes::kSquare <= k; p += Lanes::kSquare) {
          Lanes::transpose(from + p, ld, rows, y + p * kPanel + part, kPanel);
        }
      }
      for (; p < k; ++p) {
        for (std::size_t i = 0; i < rows; ++i) y[p * kPanel + part + i] = from[i * ld + p];
      }
    }
  }
}

/// The same of x (k, count), whose rows of memory have the elements of a panel side by side.
template <std::size_t kPanel>
void pack_columns(const float* x, std::size_t ld, std::size_t count, std::size_t k, float* y) {
  for (std::size_t first = 0; first < count; first += kPanel, y += kPanel * k) {
    const std::size_t columns = least(kPanel, count - first);
    const float* from = x + first;
    if (columns == kPanel) {
      for (std::size_t p = 0; p < k; ++p, from += ld) {
        __builtin_memcpy(y + p * kPanel, from, kPanel * sizeof(float));
      }
    } else {
      for (std::size_t p = 0; p < k; ++p, from += ld) {
        __builtin_memcpy(y + p * kPanel, from, columns * sizeof(float));
      }
    }
  }
}

}  // namespace
}  // namespace cllm::kernels
