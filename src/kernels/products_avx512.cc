#include <immintrin.h>

#include "products.h"
#include "products_body.h"
#include "products_x86.h"

namespace cllm::kernels {
namespace {

struct Avx512 : Transposing {
  using Lane = __m512;
  static constexpr std::size_t kWidth = 16;
  static constexpr std::size_t kTileRows = 14;  // with two vectors each: 28 of 32 registers

  static Lane load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* x, Lane value) { _mm512_storeu_ps(x, value); }
  static Lane broadcast(float x) { return _mm512_set1_ps(x); }
  static Lane fma(Lane a, Lane b, Lane c) { return _mm512_fmadd_ps(a, b, c); }
  static Lane add(Lane a, Lane b) { return _mm512_add_ps(a, b); }
  static Lane multiply(Lane a, Lane b) { return _mm512_mul_ps(a, b); }
};

}  // namespace

void multiply_by_avx512(const Product& product, float* workspace) {
  ProductCode<Avx512>::multiply_product(product, workspace);
}

std::uint64_t burst_of_avx512(std::uint64_t rounds) { return ProductCode<Avx512>::burst(rounds); }

}  // namespace cllm::kernels
