#include <algorithm>
#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

// --- Integer sums --------------------------------------------------------------------------------

/// Unsigned, because signed overflow is undefined.
std::int32_t add_modulo(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}

float largest(const float* x, std::size_t n) {
  float top = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float size = std::abs(x[i]);
    if (!(size <= top)) top = size;
    if (std::isnan(top)) return top;
  }
  return top;
}

/// The product is exact but for underflow, whose integer is 0.
std::int64_t round_product(float x, float scale) {
  return static_cast<std::int64_t>(std::nearbyint(x * scale));
}

void encode(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    sums[i] = static_cast<std::int32_t>(round_product(x[i], scale));
  }
}

void encode_add(const float* x, float scale, std::int32_t* sums, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    sums[i] = add_modulo(sums[i], static_cast<std::int32_t>(round_product(x[i], scale)));
  }
}

void encode_add_wide(const float* x, float scale, std::int32_t* low, std::int32_t* high,
                     std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double product = x[i] * scale;
    const double upper = std::nearbyint(product * 0x1p-30);
    low[i] =
        add_modulo(low[i], static_cast<std::int32_t>(std::nearbyint(product - upper * 0x1p30)));
    high[i] = add_modulo(high[i], static_cast<std::int32_t>(upper));
  }
}

void add_integers(const std::int32_t* x, std::int32_t* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = add_modulo(y[i], x[i]);
  }
}

IntegerNorm integer_norm(const std::int32_t* x, std::size_t n) {
  IntegerNorm norm = {};
  for (std::size_t i = 0; i < n; ++i) {
    const double value = x[i];
    norm.squares += value * value;
    norm.largest = std::max(norm.largest, static_cast<std::uint32_t>(std::abs(value)));
  }
  return norm;
}

// --- Sets ----------------------------------------------------------------------------------------

std::uint32_t shared_weight(const std::uint32_t* a, const std::uint32_t* weights, std::size_t na,
                            const std::uint32_t* b, std::size_t nb) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0, j = 0; i < na && j < nb;) {
    if (a[i] == b[j]) sum += weights[i];
    const bool next_a = a[i] <= b[j], next_b = b[j] <= a[i];
    i += next_a;
    j += next_b;
  }
  return sum;
}

}  // namespace

void reference::set_integers(Kernels& table) {
  table.largest = largest;
  table.encode = encode;
  table.encode_add = encode_add;
  table.encode_add_wide = encode_add_wide;
  table.add_integers = add_integers;
  table.integer_norm = integer_norm;
  table.shared_weight = shared_weight;
}

}  // namespace cllm::kernels
