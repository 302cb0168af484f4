#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cllm/base/thread_pool.h"
#include "cllm/kernels/product.h"

namespace cllm::kernels {

/// One way to compute products.
struct Products {
  std::string_view name;  ///< "avx512", "avx2", "portable", "openblas"
  bool (*runs_here)();    ///< whether this processor has its instructions
  /// Runs on the calling thread alone, in a workspace of that thread (64-byte-aligned).
  void (*multiply)(const Product& product, float* workspace);
  /// So many rounds of fused multiply-adds that depend on no memory, and how many floating-point
  /// operations they were; null where there is no such code.
  std::uint64_t (*burst)(std::uint64_t rounds);

  /// Whether its products have the order of Note [Order of products].
  bool has_fixed_order() const { return burst != nullptr; }
};

/// All that this build has, the one that is usual first.
std::span<const Products> all_products();

/// The one that `sgemm` uses: the first that runs here, unless the environment's CLLM_PRODUCTS or
/// `use_products` names another.
const Products& products();

/// The one of that name. Throws Error where there is none, or it doesn't run here.
const Products& find_products(std::string_view name);

/// Makes all later products of the process those of that name. Call it before threads compute any.
/// Throws Error for a name that there isn't, or that doesn't run here.
void use_products(std::string_view name);

/// What decides the bits of its products, for people: "avx2 products", which have those of all that
/// have a fixed order, or OpenBLAS' version and core.
std::string products_text();

/// Floating-point operations of a second that fused multiply-adds in registers reach on this
/// thread, in a burst of some milliseconds: what no product exceeds.
double register_peak();

/// Allocates what this thread's products work in, 1.3 MB; else the first of them does. Throws
/// std::bad_alloc.
void prepare_products();

/// The product by `by`, on the calling thread alone; may be called from several threads at once. A
/// thread's first one allocates what its later ones work in. Throws std::bad_alloc, and Error where
/// OpenBLAS can't count a size.
void multiply(const Products& by, const Product& product);

/// The product by `products()`, its columns shared out to the threads of the pool where there is
/// enough to do: the same bits as alone, of products with a fixed order.
void multiply_together(ThreadPool& pool, const Product& product);

/// The product by `products()`.
void sgemm(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n,
           std::size_t k, float alpha, const float* a, std::size_t lda, const float* b,
           std::size_t ldb, float beta, float* c, std::size_t ldc);

}  // namespace cllm::kernels
