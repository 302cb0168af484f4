#include "cllm/kernels/blas.h"

#include <cblas.h>
#include <omp.h>

#include <limits>
#include <string_view>

#include "cllm/base/error.h"

namespace cllm::kernels {
namespace {

/// Buffers of Debian's OpenBLAS build (NUM_THREADS=64): one per thread that is inside a call.
constexpr int kMostCallers = 64;

blasint checked(std::size_t size) {
  if (size > static_cast<std::size_t>(std::numeric_limits<blasint>::max())) {
    fail("a matrix dimension of {} is more than BLAS can count; make the model smaller", size);
  }
  return static_cast<blasint>(size);
}

CBLAS_TRANSPOSE cblas(Transpose t) { return t == Transpose::kYes ? CblasTrans : CblasNoTrans; }

}  // namespace

void sgemm(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n,
           std::size_t k, float alpha, const float* a, std::size_t lda, const float* b,
           std::size_t ldb, float beta, float* c, std::size_t ldc) {
  cblas_sgemm(CblasRowMajor, cblas(transpose_a), cblas(transpose_b), checked(m), checked(n),
              checked(k), alpha, a, checked(lda), b, checked(ldb), beta, c, checked(ldc));
}

void prepare_blas(int caller_threads) {
  openblas_set_num_threads(1);
  if (openblas_get_parallel() != OPENBLAS_OPENMP) {
    fail(
        "the OpenBLAS that was loaded is not its OpenMP build; install libopenblas0-openmp, or "
        "load "
        "the module with OpenMP support, and build again ({})",
        blas_description());
  }
  if (openblas_get_num_threads() != 1) {
    fail("OpenBLAS does not keep to one thread; check OPENBLAS_NUM_THREADS and its build ({})",
         blas_description());
  }
  if (caller_threads > kMostCallers) {
    fail(
        "--threads {}: OpenBLAS has buffers for {} threads in a process; use more ranks with fewer "
        "threads each",
        caller_threads, kMostCallers);
  }
}

const char* blas_description() { return openblas_get_config(); }

}  // namespace cllm::kernels
