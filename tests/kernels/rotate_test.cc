#include <cmath>

#include "kernels/implementations.h"

/// Rotary positions: AVX2 against the portable implementation.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;

struct Angles {
  Array cosines;
  Array sines;
};

Angles angles(std::size_t rows, std::size_t half) {
  Angles result;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < half; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(half);
      const double angle = static_cast<double>(row + 3) * std::pow(10000, -share);
      result.cosines.push_back(static_cast<float>(std::cos(angle)));
      result.sines.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return result;
}

void check(std::size_t rows, std::size_t heads, std::size_t size, float direction) {
  const std::size_t half = size / 2, columns = heads * size;
  const std::size_t ldx = columns + 3, ldy = columns + 5;
  const Array x = normal_array(rows * columns, 2, 1);
  const Angles at = angles(rows, half);
  // Two products and a sum: AVX2 rounds one product and the sum, portable the sum alone.
  const auto allowed = [&](std::size_t ld) {
    std::vector<double> result(rows == 0 ? 0 : (rows - 1) * ld + columns);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t column = 0; column < columns; ++column) {
        const std::size_t in_head = column % size, i = in_head % half;
        const std::size_t other = in_head < half ? column + half : column - half;
        const double own = static_cast<double>(x[row * columns + column]) *
                           static_cast<double>(at.cosines[row * half + i]);
        const double turned = static_cast<double>(x[row * columns + other]) *
                              static_cast<double>(at.sines[row * half + i]);
        result[row * ld + column] = 3 * kU * (std::abs(own) + std::abs(turned)) + 0x1p-148;
      }
    }
    return result;
  };
  const Array padded = with_padding(x, rows, columns, ldx);
  expect_implementations_agree({.name = "rotate",
                                .arrays = {padded, at.cosines, at.sines,
                                           with_padding(Array(rows * columns), rows, columns, ldy)},
                                .tolerances = {{}, {}, {}, allowed(ldy)},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.rotate(p[0], ldx, p[1], p[2], direction, p[3], ldy, rows, heads,
                                           size);
                                }});
  expect_implementations_agree({.name = "rotate in place",
                                .arrays = {padded, at.cosines, at.sines},
                                .tolerances = {allowed(ldx), {}, {}},
                                .call = [=](const Kernels& k, float* const* p) {
                                  k.rotate(p[0], ldx, p[1], p[2], direction, p[0], ldx, rows, heads,
                                           size);
                                }});
}

TEST(RotateTest, Implementations) {
  for (const float direction : {1.0f, -1.0f}) {
    check(0, 2, 64, direction);
    check(3, 0, 64, direction);
    check(5, 12, 64, direction);
    check(3, 3, 128, direction);
    for (std::size_t size = 2; size <= 70; size += 2) {
      check(1, 1, size, direction);
      check(3, 4, size, direction);
    }
  }
}

TEST(RotateTest, TurnsHalvesAndBack) {
  constexpr std::size_t kRows = 2, kHeads = 3, kSize = 10, kHalf = kSize / 2;
  const Array x = normal_array(kRows * kHeads * kSize, 1, 1);
  // A right angle takes (a, b) to (-b, a).
  const Array cosines(kRows * kHalf, 0.0f), sines(kRows * kHalf, 1.0f);
  for (const Kernels* kernels : runnable_kernels()) {
    Array y = x;
    kernels->rotate(y.data(), kHeads * kSize, cosines.data(), sines.data(), 1, y.data(),
                    kHeads * kSize, kRows, kHeads, kSize);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool first = i % kSize < kHalf;
      EXPECT_EQ(y[i], first ? -x[i + kHalf] : x[i - kHalf]) << kernels->name << " at " << i;
    }
    kernels->rotate(y.data(), kHeads * kSize, cosines.data(), sines.data(), -1, y.data(),
                    kHeads * kSize, kRows, kHeads, kSize);
    EXPECT_EQ(y, x) << kernels->name;
  }
}

TEST(RotateTest, IsTheSameInOneCallAndRowByRow) {
  constexpr std::size_t kRows = 5, kHeads = 3, kSize = 22;
  constexpr std::size_t kColumns = kHeads * kSize;
  const Array x = normal_array(kRows * kColumns, 1, 1);
  const Angles at = angles(kRows, kSize / 2);
  for (const Kernels* kernels : runnable_kernels()) {
    Array y(x.size()), y_rows(x.size());
    kernels->rotate(x.data(), kColumns, at.cosines.data(), at.sines.data(), 1, y.data(), kColumns,
                    kRows, kHeads, kSize);
    for (std::size_t row = 0; row < kRows; ++row) {
      kernels->rotate(x.data() + row * kColumns, kColumns, at.cosines.data() + row * kSize / 2,
                      at.sines.data() + row * kSize / 2, 1, y_rows.data() + row * kColumns,
                      kColumns, 1, kHeads, kSize);
    }
    EXPECT_EQ(y, y_rows) << kernels->name;
  }
}

}  // namespace
}  // namespace cllm::kernels
