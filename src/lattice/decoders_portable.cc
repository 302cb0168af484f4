#include <cmath>

#include "cllm/lattice/decoders.h"

namespace cllm::lattice {
namespace {

constexpr std::size_t kDimension = 8;

struct Nearest {
  std::int32_t point[kDimension];
  float squared_distance;
};

/// The nearest point of D8 to x: x rounded, and where the sum is odd, the coordinate that was
/// rounded by most, to its other side.
Nearest nearest_even_sum(const float* x) {
  Nearest result{};
  std::int32_t sum = 0;
  std::size_t worst = 0;
  float worst_size = -1;
  float worst_rest = 0;
  for (std::size_t i = 0; i < kDimension; ++i) {
    const float rounded = std::nearbyint(x[i]);
    const float rest = x[i] - rounded;  // exact
    result.point[i] = static_cast<std::int32_t>(rounded);
    result.squared_distance += rest * rest;
    sum ^= result.point[i];
    if (std::fabs(rest) > worst_size) {
      worst = i;
      worst_size = std::fabs(rest);
      worst_rest = rest;
    }
  }
  if (sum & 1) {
    result.point[worst] += worst_rest < 0 ? -1 : 1;
    // (1 - |rest|)^2 in place of |rest|^2.
    result.squared_distance += 1 - 2 * worst_size;
  }
  return result;
}

bool in_range(const float* x) {
  bool inside = true;
  for (std::size_t i = 0; i < kDimension; ++i) inside &= std::fabs(x[i]) <= kMostCoordinate;
  return inside;
}

bool decode_e8(const float* x, std::int32_t* doubled, std::size_t count) {
  for (std::size_t point = 0; point < count; ++point, x += kDimension, doubled += kDimension) {
    if (!in_range(x)) return false;
    float lowered[kDimension];
    for (std::size_t i = 0; i < kDimension; ++i) lowered[i] = x[i] - 0.5f;
    const auto whole = nearest_even_sum(x);
    const auto shifted = nearest_even_sum(lowered);
    const bool take_shifted = shifted.squared_distance < whole.squared_distance;
    for (std::size_t i = 0; i < kDimension; ++i) {
      doubled[i] = take_shifted ? 2 * shifted.point[i] + 1 : 2 * whole.point[i];
    }
  }
  return true;
}

}  // namespace

const Decoders& portable_decoders() {
  static constexpr Decoders kTable = {.name = "portable", .e8 = decode_e8};
  return kTable;
}

}  // namespace cllm::lattice
