#include "products.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "cllm/base/aligned_buffer.h"
#include "cllm/base/error.h"
#include "cllm/base/stopwatch.h"
#include "cllm/kernels/blas.h"
#include "cllm/kernels/products.h"

namespace cllm::kernels {
namespace {

constexpr const char* kVariable = "CLLM_PRODUCTS";

/// OpenBLAS comes before the portable one, which is right everywhere and slow without vectors.
constexpr Products kAll[] = {
#ifdef CLLM_HAS_AVX2
    {"avx512", [] { return vector_units().avx512; }, multiply_by_avx512, burst_of_avx512},
    {"avx2", [] { return vector_units().avx2; }, multiply_by_avx2, burst_of_avx2},
#endif
    {"openblas", [] { return true; }, multiply_by_blas, nullptr},
    {"portable", [] { return true; }, multiply_portably, portable_burst}};

std::atomic<const Products*> chosen = nullptr;

const Products& find(std::string_view name, std::string_view asked_by) {
  const auto* const found = std::ranges::find(kAll, name, &Products::name);
  std::string names;
  for (const Products& each : kAll) {
    if (each.runs_here()) names += fmt::format("{}{}", names.empty() ? "" : ", ", each.name);
  }
  if (found == std::end(kAll)) {
    fail("{} {}: there are no such products; this machine has {}", asked_by, name, names);
  }
  if (!found->runs_here()) {
    fail("{} {}: this processor lacks the instructions; it has {}", asked_by, name, names);
  }
  return *found;
}

const Products& usual() {
  if (const char* const name = std::getenv(kVariable)) return find(name, kVariable);
  return *std::ranges::find_if(kAll, [](const Products& each) { return each.runs_here(); });
}

/// Columns of a product that one thread takes, at least, and how many of these times k are worth
/// the time in which threads begin and end: some microseconds.
constexpr std::size_t kSharedColumns = 64;
constexpr std::size_t kWorthSharing = 512;

float* workspace_of_thread() {
  thread_local AlignedBuffer<float> workspace(kProductWorkspace);
  return workspace.data();
}

}  // namespace

std::span<const Products> all_products() { return kAll; }

const Products& products() {
  const Products* now = chosen.load(std::memory_order_acquire);
  if (now == nullptr) {
    now = &usual();
    chosen.store(now, std::memory_order_release);
  }
  return *now;
}

const Products& find_products(std::string_view name) { return find(name, "--products"); }

void use_products(std::string_view name) { chosen.store(&find_products(name)); }

std::string products_text() {
  return products().has_fixed_order() ? fmt::format("{} products", products().name) : blas_name();
}

double register_peak() {
  constexpr double kSeconds = 0.005;
  const auto* const fastest = std::ranges::find_if(
      kAll, [](const Products& each) { return each.runs_here() && each.has_fixed_order(); });
  std::uint64_t operations = 0;
  Stopwatch clock;
  while (clock.elapsed() < kSeconds) operations += fastest->burst(20'000);
  return static_cast<double>(operations) / clock.elapsed();
}

void prepare_products() { workspace_of_thread(); }

void multiply(const Products& by, const Product& product) {
  by.multiply(product, workspace_of_thread());
}

void multiply_together(ThreadPool& pool, const Product& product) {
  const std::size_t pieces = (product.n + kSharedColumns - 1) / kSharedColumns;
  if (pool.size() == 1 || pieces * product.k < kWorthSharing) {
    return multiply(products(), product);
  }
  pool.run([&](int thread, Recorder&) {
    const auto part = static_cast<std::size_t>(thread),
               parts = static_cast<std::size_t>(pool.size());
    const std::size_t first = pieces * part / parts * kSharedColumns;
    const std::size_t end = std::min(product.n, pieces * (part + 1) / parts * kSharedColumns);
    if (first >= end) return;
    Product piece = product;
    piece.n = end - first;
    piece.b += first * (product.transpose_b == Transpose::kYes ? product.ldb : 1);
    piece.c += first;
    multiply(products(), piece);
  });
}

void sgemm(Transpose transpose_a, Transpose transpose_b, std::size_t m, std::size_t n,
           std::size_t k, float alpha, const float* a, std::size_t lda, const float* b,
           std::size_t ldb, float beta, float* c, std::size_t ldc) {
  multiply(products(), {transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
}

}  // namespace cllm::kernels
