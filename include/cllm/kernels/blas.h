#pragma once

#include <cstddef>

namespace cllm::kernels {

enum class Transpose { kNo, kYes };

/// C (m, n) = alpha op(A) (m, k) · op(B) (k, n) + beta C; row-major, with row strides lda, ldb, ldc
/// in elements. Runs on the calling thread alone; may be called from several threads at once. The
/// only door to BLAS. Throws Error where a size exceeds what BLAS can count.
void sgemm(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n,
           std::size_t k, float alpha, const float* a, std::size_t lda, const float* b,
           std::size_t ldb, float beta, float* c, std::size_t ldc);

/// Makes every later call single-threaded on its caller's thread, and checks that it is so and that
/// the library that was loaded is its OpenMP build with room for `caller_threads` callers.
/// Call once at start-up. Throws Error that says what to install or change.
void prepare_blas(int caller_threads);

/// What was loaded, as the library describes itself.
const char* blas_description();

}  // namespace cllm::kernels
