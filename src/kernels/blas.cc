#include "cllm/kernels/blas.h"

#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>

#include "cllm/base/disk.h"
#include "cllm/base/error.h"
#include "cllm/base/memory.h"
#include "products.h"

namespace cllm::kernels {
namespace {

/// LAPACK's Fortran routine, as OpenBLAS has it: the eigenvalues and eigenvectors of a symmetric
/// matrix by divide and conquer (Cuppen 1981; LAPACK Users' Guide, 2.4.4).
extern "C" void dsyevd_(const char* vectors, const char* triangle, const blasint* n, double* a,
                        const blasint* lda, double* values, double* work, const blasint* work_size,
                        blasint* integers, const blasint* integers_size, blasint* info,
                        std::size_t vectors_length, std::size_t triangle_length);

/// How many threads the library has buffers for, one for each that is inside a call: its build says
/// so ("MAX_THREADS=64"). Debian's number where it doesn't.
int most_callers() {
  constexpr std::string_view kName = "MAX_THREADS=";
  const std::string_view description = openblas_get_config();
  int most = 64;
  if (const std::size_t at = description.find(kName); at != description.npos) {
    const std::string_view number = description.substr(at + kName.size());
    std::from_chars(number.data(), number.data() + number.size(), most);
  }
  return most;
}

/// OpenBLAS' buffer for a caller (128 MiB, BUFFER_SIZE of its builds for 64-bit processors), and
/// the caller's stack.
constexpr std::uint64_t kCallerBytes = std::uint64_t{136} << 20;

blasint checked(std::size_t size) {
  if (size > static_cast<std::size_t>(std::numeric_limits<blasint>::max())) {
    fail("a matrix dimension of {} is more than BLAS can count; make the model smaller", size);
  }
  return static_cast<blasint>(size);
}

CBLAS_TRANSPOSE cblas(Transpose t) { return t == Transpose::kYes ? CblasTrans : CblasNoTrans; }

}  // namespace

void multiply_by_blas(const Product& p, float*) {
  cblas_sgemm(CblasRowMajor, cblas(p.transpose_a), cblas(p.transpose_b), checked(p.m), checked(p.n),
              checked(p.k), p.alpha, p.a, checked(p.lda), p.b, checked(p.ldb), p.beta, p.c,
              checked(p.ldc));
}

void dgemm(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n,
           std::size_t k, double alpha, const double* a, std::size_t lda, const double* b,
           std::size_t ldb, double beta, double* c, std::size_t ldc) {
  cblas_dgemm(CblasRowMajor, cblas(transpose_a), cblas(transpose_b), checked(m), checked(n),
              checked(k), alpha, a, checked(lda), b, checked(ldb), beta, c, checked(ldc));
}

std::vector<double> lapack_symmetric_eigen(double* a, std::size_t n) {
  std::vector<double> values(n);
  if (n == 0) return values;
  if (!std::all_of(a, a + n * n, [](double x) { return std::isfinite(x); })) {
    fail("a matrix of {} rows has elements that are not finite, so it has no eigenvectors", n);
  }
  const blasint size = checked(n);
  // What dsyevd's documentation asks for.
  const blasint work_size = checked(1 + 6 * n + 2 * n * n), integers_size = checked(3 + 5 * n);
  std::vector<double> work(static_cast<std::size_t>(work_size));
  std::vector<blasint> integers(static_cast<std::size_t>(integers_size));
  blasint info = 0;
  // Fortran stores columns, so that its columns are our rows.
  dsyevd_("V", "U", &size, a, &size, values.data(), work.data(), &work_size, integers.data(),
          &integers_size, &info, 1, 1);
  if (info != 0) fail("LAPACK finds no eigenvectors of a matrix of {} rows (dsyevd: {})", n, info);
  return values;
}

std::uint64_t blas_address_space(int caller_threads) {
  return kCallerBytes * static_cast<std::uint64_t>(caller_threads);
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
  if (caller_threads > most_callers()) {
    fail(
        "--threads {}: OpenBLAS has buffers for {} threads in a process; use more ranks with fewer "
        "threads each",
        caller_threads, most_callers());
  }
  const std::uint64_t needed = blas_address_space(caller_threads), left = address_space_left();
  if (needed > left) {
    fail(
        "--threads {}: OpenBLAS maps {} of address space for them, and the limit (ulimit -v) "
        "leaves "
        "{}; raise it, or give fewer threads",
        caller_threads, bytes_text(static_cast<double>(needed)),
        bytes_text(static_cast<double>(left)));
  }
}

std::string blas_name() {
  const std::string_view description = blas_description();  // "OpenBLAS 0.3.21 DYNAMIC_ARCH …"
  const std::size_t end = description.find(' ', description.find(' ') + 1);
  return fmt::format("{} {}", description.substr(0, end), openblas_get_corename());
}

const char* blas_description() { return openblas_get_config(); }

}  // namespace cllm::kernels
