#include "cllm/train/scales.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "cllm/base/error.h"

namespace cllm::train {
namespace {

constexpr int kHeadroomBits = 6;
constexpr std::int32_t kInitialExponent = 24;
constexpr std::int32_t kLoweredBy = 8;
constexpr std::int32_t kMostRestingExponent = 40;
/// 2^e and its inverse are normal floats, and so are products with gradients that are.
constexpr std::int32_t kMostExponent = 100;

}  // namespace

Reduce parse_reduce(std::string_view name) {
  if (name == "exact") return Reduce::kExact;
  if (name == "fp32") return Reduce::kFp32;
  fail("--reduce {}: choose exact or fp32", name);
}

GradientScales::GradientScales(std::size_t contributions) {
  const double n = static_cast<double>(contributions);
  // Rounded down: a float of this size has 24 bits.
  limit_ = std::nextafter(static_cast<float>(std::floor(0x7fffffffp0 / n)), 0.0f);
  const int walk_bits = static_cast<int>(std::ceil(std::log2(n) / 2));
  target_bits_ = std::max(31 - kHeadroomBits - walk_bits, 8);
}

std::vector<std::int32_t> GradientScales::initial(std::size_t tensors) {
  return std::vector<std::int32_t>(tensors, kInitialExponent);
}

void GradientScales::adapt(std::span<const std::uint32_t> largest, bool first,
                           std::span<std::int32_t> exponents) const {
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    const int missing = target_bits_ - static_cast<int>(std::bit_width(largest[i]));
    const int change = first ? missing : std::min(missing, 1);
    const std::int32_t most =
        largest[i] == 0 ? std::max(exponents[i], kMostRestingExponent) : kMostExponent;
    exponents[i] = std::clamp(exponents[i] + change, -kMostExponent, most);
  }
}

bool GradientScales::lower(std::span<const std::int64_t> overflows,
                           std::span<std::int32_t> exponents) {
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    if (overflows[i] == 0) continue;
    if (exponents[i] == -kMostExponent) return false;
    exponents[i] = std::max(exponents[i] - kLoweredBy, -kMostExponent);
  }
  return true;
}

}  // namespace cllm::train
