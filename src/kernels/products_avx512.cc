#include "products.h"
#include "products_body.h"

namespace cllm::kernels {

void multiply_by_avx512(const Product& product, float* workspace) {
  multiply_product(product, workspace);
}

std::uint64_t burst_of_avx512(std::uint64_t rounds) { return burst(rounds); }

}  // namespace cllm::kernels
