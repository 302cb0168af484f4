#pragma once

#include <cstddef>
#include <cstdint>

#include "tiles.h"

/// Products for one width of vectors, in the order of Note [Order of products].
///
/// How (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3),
/// 2008): kProductBlock columns of op(A) and as many rows of op(B) are packed, so that a tile of C
/// reads both from one end to the other: of A a panel of kTileRows rows, which stays in the first
/// cache level while B's panels of kTileColumns columns come from the second.
namespace cllm::kernels {
namespace {

/// Panels that are not packed, since they are read no more often.
constexpr std::size_t kFewPanels = 4;

/// Panels of A or B: the rows of one (k, kTileRows or kTileColumns) lie `ld` apart, and the next
/// one is `step` times its width further.
struct Panels {
  const float* data;
  std::size_t ld, step;
};

/// C (mc, nc) from panels.
inline void multiply_panels(std::size_t mc, std::size_t nc, std::size_t k, const Panels& a,
                            const Panels& b, float alpha, float beta, const Place& c,
                            float* spare) {
  for (std::size_t row = 0; row < mc; row += kTileRows) {
    const std::size_t rows = least(kTileRows, mc - row);
    const MultiplyTile multiply_rows = kTiles<Side::kColumn>.of_rows[rows];
    for (std::size_t column = 0; column < nc; column += kTileColumns) {
      const Place place{c.data + row * c.stride + column, c.stride};
      const float* const a_panel = a.data + row * a.step;
      const float* const b_panel = b.data + column * b.step;
      if (nc - column >= kTileColumns) {
        multiply_rows(k, a_panel, a.ld, b_panel, b.ld, alpha, beta, place);
        continue;
      }
      // A tile at the right end of C, of which only some columns are.
      multiply_rows(k, a_panel, a.ld, b_panel, b.ld, 1, 0, {spare, kTileColumns});
      place_columns(spare, rows, nc - column, alpha, beta, place);
    }
  }
}

/// Rows of A with rows of B: C (m, n), m <= kFewRows, each element in kProductLanes chains.
inline void multiply_few_rows(const Product& p) {
  constexpr std::size_t kChains = kProductLanes / kLaneFloats;
  for (std::size_t j = 0; j < p.n; ++j) {
    for (std::size_t i = 0; i < p.m; ++i) {
      const float *const a = p.a + i * p.lda, *const b = p.b + j * p.ldb;
      Lane chains[kChains];
#pragma GCC unroll 32
      for (std::size_t c = 0; c < kChains; ++c) chains[c] = Lanes::broadcast(0.0f);
      std::size_t l = 0;
      for (; l + kProductLanes <= p.k; l += kProductLanes) {
#pragma GCC unroll 32
        for (std::size_t c = 0; c < kChains; ++c) {
          chains[c] = Lanes::fma(Lanes::load(a + l + c * kLaneFloats),
                                 Lanes::load(b + l + c * kLaneFloats), chains[c]);
        }
      }
      float sums[kProductLanes];
#pragma GCC unroll 32
      for (std::size_t c = 0; c < kChains; ++c) Lanes::store(sums + c * kLaneFloats, chains[c]);
      for (std::size_t rest = 0; l < p.k; ++l, ++rest) {
        sums[rest] = __builtin_fmaf(a[l], b[l], sums[rest]);
      }
      for (std::size_t half = kProductLanes / 2; half > 0; half /= 2) {
        for (std::size_t c = 0; c < half; ++c) sums[c] += sums[c + half];
      }
      float& element = p.c[i * p.ldc + j];
      element = combined(sums[0], p.alpha, p.beta, &element);
    }
  }
}

inline void multiply_product(const Product& p, float* workspace) {
  const bool a_is_transposed = p.transpose_a == Transpose::kYes;
  const bool b_is_transposed = p.transpose_b == Transpose::kYes;
  if (p.m <= kFewRows && !a_is_transposed && b_is_transposed) return multiply_few_rows(p);
  float* const a = workspace;
  float* const b = a + kPackedRows * kProductBlock;
  float* const spare = b + kPackedColumns * kProductBlock;
  for (std::size_t row = 0; row < p.m; row += kPackedRows) {
    const std::size_t mc = least(kPackedRows, p.m - row);
    // Once also where k is 0, for beta's sake.
    for (std::size_t first = 0; first == 0 || first < p.k; first += kProductBlock) {
      const std::size_t k = least(kProductBlock, p.k - first);
      // What is read only now and then is not worth packing, but for a panel of B that is not
      // whole.
      Panels rows{a, kTileRows, k};
      if (!a_is_transposed) {
        pack_rows<kTileRows>(p.a + row * p.lda + first, p.lda, mc, k, a);
      } else if (p.n > kFewPanels * kTileColumns) {
        pack_columns<kTileRows>(p.a + first * p.lda + row, p.lda, mc, k, a);
      } else {
        rows = {p.a + first * p.lda + row, p.lda, 1};
      }
      const float beta = first == 0 ? p.beta : 1;
      const std::size_t as_it_lies =
          b_is_transposed || p.m > kFewPanels * kTileRows ? 0 : p.n / kTileColumns * kTileColumns;
      multiply_panels(mc, as_it_lies, k, rows, {p.b + first * p.ldb, p.ldb, 1}, p.alpha, beta,
                      {p.c + row * p.ldc, p.ldc}, spare);
      for (std::size_t column = as_it_lies; column < p.n; column += kPackedColumns) {
        const std::size_t nc = least(kPackedColumns, p.n - column);
        if (b_is_transposed) {
          pack_rows<kTileColumns>(p.b + column * p.ldb + first, p.ldb, nc, k, b);
        } else {
          pack_columns<kTileColumns>(p.b + first * p.ldb + column, p.ldb, nc, k, b);
        }
        multiply_panels(mc, nc, k, rows, {b, kTileColumns, k}, p.alpha, beta,
                        {p.c + row * p.ldc + column, p.ldc}, spare);
      }
    }
  }
}

/// Fused multiply-adds in registers, as many at once as keep every unit of a processor busy.
inline std::uint64_t burst(std::uint64_t rounds) {
  constexpr std::size_t kChains = 12;
  Lane chains[kChains];
#pragma GCC unroll 12
  for (std::size_t i = 0; i < kChains; ++i) chains[i] = Lanes::broadcast(static_cast<float>(i));
  const Lane factor = Lanes::broadcast(0.5f), term = Lanes::broadcast(0.5f);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (std::size_t i = 0; i < kChains; ++i) chains[i] = Lanes::fma(chains[i], factor, term);
  }
  float results[kLaneFloats];
  for (std::size_t i = 0; i < kChains; ++i) {
    Lanes::store(results, chains[i]);
    asm volatile("" : : "r"(results) : "memory");  // somebody may look at them
  }
  return rounds * 2 * kChains * kLaneFloats;
}

}  // namespace
}  // namespace cllm::kernels
