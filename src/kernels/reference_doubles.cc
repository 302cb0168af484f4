#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

void add_scaled(double factor, const double* x, double* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = std::fma(factor, x[i], y[i]);
}

void turn_rows(double cosine, double sine, double* x, double* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double a = x[i], b = y[i];
    x[i] = std::fma(-sine, b, cosine * a);
    y[i] = std::fma(sine, a, cosine * b);
  }
}

void add_gram(const double* left, const double* right, std::size_t ld, std::size_t rows,
              std::size_t height, std::size_t width, double* c, std::size_t ldc) {
  for (std::size_t i = 0; i < height; ++i) {
    for (std::size_t j = 0; j < width; ++j) {
      for (std::size_t row = 0; row < rows; ++row) {
        c[i * ldc + j] = std::fma(left[row * ld + i], right[row * ld + j], c[i * ldc + j]);
      }
    }
  }
}

}  // namespace

void reference::set_doubles(Kernels& table) {
  table.add_scaled = add_scaled;
  table.turn_rows = turn_rows;
  table.add_gram = add_gram;
}

}  // namespace cllm::kernels
