#include "products.h"
#include "products_body.h"

namespace cllm::kernels {

void multiply_portably(const Product& product, float* workspace) {
  multiply_product(product, workspace);
}

std::uint64_t portable_burst(std::uint64_t rounds) { return burst(rounds); }

}  // namespace cllm::kernels
