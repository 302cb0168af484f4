#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/kernels/products.h"

namespace cllm::kernels {

/// C (m, n) = alpha op(A) (m, k) · op(B) (k, n) + beta C, in double; row-major, with row strides
/// lda, ldb, ldc in elements. Runs on the calling thread alone; may be called from several threads
/// at once. This header is the only door to BLAS and LAPACK; products of floats have theirs in
/// products.h. Throws Error where a size exceeds what BLAS can count.
void dgemm(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n,
           std::size_t k, double alpha, const double* a, std::size_t lda, const double* b,
           std::size_t ldb, double beta, double* c, std::size_t ldc);

/// LAPACK's dsyevd, for tests of ours (eigen.h), which has the same result but for rounding:
/// replaces the symmetric a (n, n) by its eigenvectors, one in each row, and returns their
/// eigenvalues, ascending. Runs on the calling thread alone, once `prepare_blas` was called. Throws
/// Error where a is too large or not finite.
std::vector<double> lapack_symmetric_eigen(double* a, std::size_t n);

/// Makes every later call of this thread, and of OpenMP's threads in a parallel region, run on its
/// caller's thread alone, and checks that it is so and that the library that was loaded is its
/// OpenMP build with room for `caller_threads` callers. Call at start-up, and on every thread that
/// computes products and is none of OpenMP's: each of these would use several again. Throws Error
/// that says what to install or change.
void prepare_blas(int caller_threads);

/// Address space that OpenBLAS maps for so many callers, each at its first product; little of it is
/// ever touched. Where a limit (ulimit -v) leaves less, it would ask for it for ever.
std::uint64_t blas_address_space(int caller_threads);

/// What was loaded, as the library describes itself: version, build, and the core (OpenBLAS' word
/// for a kind of processor) whose kernels it computes with.
const char* blas_description();

/// What decides the bits of its products: "OpenBLAS 0.3.21 Haswell", its version and core.
std::string blas_name();

/// Of a processor's instructions, those that decide which BLAS kernels suit it.
struct VectorUnits {
  bool avx2 = false;    ///< with FMA
  bool avx512 = false;  ///< F, DQ, BW, VL and CD: what OpenBLAS' AVX-512 kernels need
};

/// Of this processor.
VectorUnits vector_units();

/// Note [BLAS core]: OpenBLAS chooses its kernels by the processor's model number, and a version
/// that is older than the processor falls back to SSE3: a quarter of the speed or less. It can be
/// told better by OPENBLAS_CORETYPE, but reads that while it is loaded, so a program has to set it
/// and start itself again.
///
/// The core to tell it: one of `units`' width, where `core` is for processors without AVX2 and
/// `units` has it. Nothing where OpenBLAS knew the processor; where `requested`, the variable's
/// value, says that the user or an earlier start has chosen (nullptr: has not); and where the build
/// with this `description` has one core only.
std::optional<std::string> better_blas_core(std::string_view description, std::string_view core,
                                            const VectorUnits& units, const char* requested);

/// The same, of the library, processor and environment at hand.
std::optional<std::string> better_blas_core();

/// Where there is a better core, starts the program again with OPENBLAS_CORETYPE set, once: the
/// variable is also what prevents a second time. To be called first in main, with its argv: open
/// files and the environment are kept, threads and MPI would not be. Returns where there is nothing
/// to do, or, with a sentence for the user, where the system refused.
std::optional<std::string> restart_with_better_blas_core(char** argv);

}  // namespace cllm::kernels
