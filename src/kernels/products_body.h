#pragma once

#include <cstddef>
#include <cstdint>

#include "products.h"

/// Products for one width of vectors, in the order of Note [Order of products]. `V` says what a
/// vector is; it is a struct of an unnamed namespace, and so is what is made of it here (Note
/// [Files of an implementation] in tables.h says why):
///
///   Lane            a vector of kWidth floats
///   load, store     of one, at any address
///   broadcast       a float to all of it
///   fma, add, multiply
///   transpose(x, ld, rows, y, ldy): y(j, i) = x(i, j), i < rows <= kSquare, j < kSquare
///   kTileRows       rows of C whose sums stay in registers
///
/// How (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3),
/// 2008): kProductBlock columns of op(A) and as many rows of op(B) are packed, so that a tile of C
/// reads both from one end to the other: of A a panel of kTileRows rows, which stays in the first
/// cache level while B's panels of kTileColumns columns come from the second.
namespace cllm::kernels {
namespace {

constexpr std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }

constexpr std::size_t kCacheLine = 16;  // in floats

/// Panels that are not packed, since they are read no more often.
constexpr std::size_t kFewPanels = 4;

/// A tile of C, in memory.
struct Place {
  float* data;
  std::size_t stride;
};

/// Panels of A or B: the rows of one (k, kTileRows or kTileColumns) lie `ld` apart, and the next
/// one is `step` times its width further.
struct Panels {
  const float* data;
  std::size_t ld, step;
};

template <typename V>
class ProductCode {
  using Lane = typename V::Lane;
  static constexpr std::size_t kWidth = V::kWidth, kTileRows = V::kTileRows, kSquare = V::kSquare;
  static constexpr std::size_t kVectors = 2;
  static constexpr std::size_t kTileColumns = kVectors * kWidth;
  static_assert(kPackedRows % kTileRows == 0 && kPackedColumns % kTileColumns == 0);
  static_assert(kTileRows * kTileColumns <= kLargestTile);

  /// c = alpha sum + beta c, as Note [Order of products] has it.
  static Lane combined(Lane sum, float alpha, float beta, const float* c) {
    const Lane scaled = V::multiply(V::broadcast(alpha), sum);
    if (beta == 0) return scaled;
    return beta == 1 ? V::add(V::load(c), scaled) : V::fma(V::broadcast(beta), V::load(c), scaled);
  }
  static float combined(float sum, float alpha, float beta, const float* c) {
    const float scaled = alpha * sum;
    if (beta == 0) return scaled;
    return beta == 1 ? *c + scaled : __builtin_fmaf(beta, *c, scaled);
  }

  /// C's tile (kCount, kTileColumns) from a panel of A (k, kCount) and one of B (k, kTileColumns),
  /// whose rows lie lda and ldb apart.
  template <std::size_t kCount>
  static void multiply_tile(std::size_t k, const float* a, std::size_t lda, const float* b,
                            std::size_t ldb, float alpha, float beta, const Place& c) {
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
      for (std::size_t j = 0; j < kVectors; ++j) sums[i][j] = V::broadcast(0.0f);
    }
    for (std::size_t p = 0; p < k; ++p, a += lda, b += ldb) {
      Lane row[kVectors];
#pragma GCC unroll 4
      for (std::size_t j = 0; j < kVectors; ++j) row[j] = V::load(b + j * kWidth);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kCount; ++i) {
        const Lane x = V::broadcast(a[i]);
#pragma GCC unroll 4
        for (std::size_t j = 0; j < kVectors; ++j) sums[i][j] = V::fma(x, row[j], sums[i][j]);
      }
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
      for (std::size_t j = 0; j < kVectors; ++j) {
        float* const place = c.data + i * c.stride + j * kWidth;
        V::store(place, combined(sums[i][j], alpha, beta, place));
      }
    }
  }

  using MultiplyTile = void (*)(std::size_t k, const float* a, std::size_t lda, const float* b,
                                std::size_t ldb, float alpha, float beta, const Place& c);

  /// By the number of rows: a tile at the lower end of C has fewer.
  struct Tiles {
    MultiplyTile of_rows[kTileRows + 1] = {};

    template <std::size_t kCount>
    constexpr void fill() {
      of_rows[kCount] = multiply_tile<kCount>;
      if constexpr (kCount < kTileRows) fill<kCount + 1>();
    }
    constexpr Tiles() { fill<1>(); }
  };

  /// Packs `count` rows of x, of which each has k elements in a row of memory, as panels of kPanel
  /// rows: (k, kPanel) each. What the last panel has no rows for stays as it was.
  template <std::size_t kPanel>
  static void pack_rows(const float* x, std::size_t ld, std::size_t count, std::size_t k,
                        float* y) {
    for (std::size_t first = 0; first < count; first += kPanel, y += kPanel * k) {
      for (std::size_t part = 0; part < kPanel; part += kSquare) {
        const std::size_t row = first + part;
        const std::size_t rows =
            least(least(kSquare, kPanel - part), row < count ? count - row : 0);
        const float* const from = x + row * ld;
        std::size_t p = 0;
        if (rows > 1) {
          for (; p + kSquare <= k; p += kSquare) {
            V::transpose(from + p, ld, rows, y + p * kPanel + part, kPanel);
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
  static void pack_columns(const float* x, std::size_t ld, std::size_t count, std::size_t k,
                           float* y) {
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

  /// C (mc, nc) from panels.
  static void multiply_panels(std::size_t mc, std::size_t nc, std::size_t k, const Panels& a,
                              const Panels& b, float alpha, float beta, const Place& c,
                              float* spare) {
    static constexpr Tiles kTiles;
    for (std::size_t row = 0; row < mc; row += kTileRows) {
      const std::size_t rows = least(kTileRows, mc - row);
      const MultiplyTile multiply_rows = kTiles.of_rows[rows];
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
        for (std::size_t i = 0; i < rows; ++i) {
          for (std::size_t j = 0; j < nc - column; ++j) {
            float& element = place.data[i * c.stride + j];
            element = combined(spare[i * kTileColumns + j], alpha, beta, &element);
          }
        }
      }
    }
  }

  /// Rows of A with rows of B: C (m, n), m <= kFewRows, each element in kProductLanes chains.
  static void multiply_few_rows(const Product& p) {
    constexpr std::size_t kChains = kProductLanes / kWidth;
    for (std::size_t j = 0; j < p.n; ++j) {
      for (std::size_t i = 0; i < p.m; ++i) {
        const float *const a = p.a + i * p.lda, *const b = p.b + j * p.ldb;
        Lane chains[kChains];
#pragma GCC unroll 32
        for (std::size_t c = 0; c < kChains; ++c) chains[c] = V::broadcast(0.0f);
        std::size_t l = 0;
        for (; l + kProductLanes <= p.k; l += kProductLanes) {
#pragma GCC unroll 32
          for (std::size_t c = 0; c < kChains; ++c) {
            chains[c] = V::fma(V::load(a + l + c * kWidth), V::load(b + l + c * kWidth), chains[c]);
          }
        }
        float sums[kProductLanes];
#pragma GCC unroll 32
        for (std::size_t c = 0; c < kChains; ++c) V::store(sums + c * kWidth, chains[c]);
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

 public:
  static void multiply_product(const Product& p, float* workspace) {
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
  static std::uint64_t burst(std::uint64_t rounds) {
    constexpr std::size_t kChains = 12;
    Lane chains[kChains];
#pragma GCC unroll 12
    for (std::size_t i = 0; i < kChains; ++i) chains[i] = V::broadcast(static_cast<float>(i));
    const Lane factor = V::broadcast(0.5f), term = V::broadcast(0.5f);
    for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
      for (std::size_t i = 0; i < kChains; ++i) chains[i] = V::fma(chains[i], factor, term);
    }
    float results[kWidth];
    for (std::size_t i = 0; i < kChains; ++i) {
      V::store(results, chains[i]);
      asm volatile("" : : "r"(results) : "memory");  // somebody may look at them
    }
    return rounds * 2 * kChains * kWidth;
  }
};

}  // namespace
}  // namespace cllm::kernels
