#pragma once

#include <cstddef>

/// The vectors of products as any compiler has them: lanes.h says what they are.
namespace cllm::kernels {
namespace {

/// Four floats side by side: what compilers make vectors of where a processor has them.
struct Lanes {
  struct Lane {
    float v[4];
  };
  static constexpr std::size_t kWidth = 4;
  static constexpr std::size_t kTileRows = 6;
  static constexpr std::size_t kSquare = 4;

  template <typename Operation>
  static Lane each(const Operation& operation) {
    Lane result;
    for (std::size_t i = 0; i < kWidth; ++i) result.v[i] = operation(i);
    return result;
  }
  static Lane load(const float* x) {
    return each([=](std::size_t i) { return x[i]; });
  }
  static void store(float* x, const Lane& value) {
    for (std::size_t i = 0; i < kWidth; ++i) x[i] = value.v[i];
  }
  static Lane broadcast(float x) {
    return each([=](std::size_t) { return x; });
  }
  static Lane fma(const Lane& a, const Lane& b, const Lane& c) {
    return each([&](std::size_t i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
  }
  static Lane add(const Lane& a, const Lane& b) {
    return each([&](std::size_t i) { return a.v[i] + b.v[i]; });
  }
  static Lane multiply(const Lane& a, const Lane& b) {
    return each([&](std::size_t i) { return a.v[i] * b.v[i]; });
  }
  static void transpose(const float* x, std::size_t ld, std::size_t rows, float* y,
                        std::size_t ldy) {
    for (std::size_t j = 0; j < kSquare; ++j) {
      for (std::size_t i = 0; i < rows; ++i) y[j * ldy + i] = x[i * ld + j];
    }
  }
};

}  // namespace
}  // namespace cllm::kernels
