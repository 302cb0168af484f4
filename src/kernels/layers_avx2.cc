#include "avx2.h"
#include "functions_avx2.h"

namespace cllm::kernels {
namespace {

[[gnu::flatten]] void bias_gelu(const float* bias, float* x, float* y, std::size_t rows,
                                std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row) {
    float* x_row = x + row * columns;
    float* y_row = y + row * columns;
    for_each_pack<4>(columns, [=](std::size_t i, auto part) {
      const auto sum = part.load(x_row + i) + part.load(bias + i);
      part.store(x_row + i, sum);
      part.store(y_row + i, gelu(sum));
    });
  }
}

[[gnu::flatten]] void gelu_backward(const float* x, const float* dy, float* dx, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) {
    part.store(dx + i, part.load(dy + i) * gelu_slope(part.load(x + i)));
  });
}

}  // namespace

void avx2::set_layers(Kernels& table) {
  table.bias_gelu = bias_gelu;
  table.gelu_backward = gelu_backward;
}

}  // namespace cllm::kernels
