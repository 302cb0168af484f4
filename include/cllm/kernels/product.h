#pragma once

#include <cstddef>

// Without the standard library's code, so that code for wider vectors may include it: Note [AVX2
// files] in src/kernels/tables.h.
namespace cllm::kernels {

enum class Transpose { kNo, kYes };

/// C (m, n) = alpha op(A) (m, k) · op(B) (k, n) + beta C; row-major, with row strides lda, ldb, ldc
/// in elements. Where beta is 0, C is not read.
struct Product {
  Transpose transpose_a, transpose_b;
  std::size_t m, n, k;
  float alpha;
  const float* a;
  std::size_t lda;
  const float* b;
  std::size_t ldb;
  float beta;
  float* c;
  std::size_t ldc;
};

/// Note [Order of products]
///
/// An element of a product is the sum over k of a(i, k) b(k, j). It is taken in blocks of
/// kProductBlock k's: in each a chain of fused multiply-adds from 0, in the order of k; the block's
/// sum times alpha is added to what the blocks before came to (the first one's to beta C, fused
/// unless beta is 0 or 1). So it has the same bits whatever the width of vectors, the processor and
/// the product's other rows and columns: elements share instructions, but never a sum. Products of
/// few rows with a transposed B (`kFewRows`), which read B once and do little else, sum in
/// kProductLanes chains, element k in chain k mod kProductLanes, that are added by halves.
///
/// Implementations are one source, products_body.h, for vectors of different width, and OpenBLAS,
/// which sums in an order of its own that depends on the processor.
inline constexpr std::size_t kProductBlock = 256;
inline constexpr std::size_t kProductLanes = 32;
inline constexpr std::size_t kFewRows = 4;

}  // namespace cllm::kernels
