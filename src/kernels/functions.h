#pragma once

#include "vector.h"

/// exp, log, tanh and the logistic parts of GELU and SwiGLU. Their error bounds are stated and
/// proved over every float in tests/kernels/math_test.cc.
///
/// Polynomials are near-minimax fits whose coefficients were rounded to float one after the other,
/// the rest being fitted anew each time. The reductions are the usual ones (Muller, "Elementary
/// Functions", 3rd ed., chapters 11 and 12). `V` is a Pack.
namespace cllm::kernels {
namespace {

/// ln 2 in two parts; multiples of the upper one by |n| < 512 are exact.
constexpr float kLn2Upper = 0x1.62e4p-1f;
constexpr float kLn2Lower = 0x1.7f7d1cp-20f;

/// Adding this rounds to an integer, which is then in the low bits.
constexpr float kRounder = 0x1.8p23f;

/// x = n ln 2 + r with |r| <= ln 2 / 2. `shifted` has n in its low bits.
template <typename V>
struct Reduced {
  V shifted;
  V r;
};

template <typename V>
inline Reduced<V> reduce(const V& x) {
  Reduced<V> result;
  result.shifted = fma(x, 0x1.715476p0f, kRounder);
  const V n = result.shifted - kRounder;
  result.r = subtract_product(n, kLn2Upper, x);
  result.r = subtract_product(n, kLn2Lower, result.r);
  return result;
}

/// (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2.
template <typename V>
inline V exp_tail(const V& r) {
  V q = fma(r, 0x1.6a4f6cp-10f, 0x1.12398p-7f);
  q = fma(q, r, 0x1.5558aep-5f);
  q = fma(q, r, 0x1.555492p-3f);
  return fma(q, r, 0x1.fffffcp-2f);
}

/// exp(r) on |r| <= ln 2 / 2.
template <typename V>
inline V exp_reduced(const V& r) {
  return fma(fma(exp_tail(r), r, 1), r, 1);
}

/// 2^n for -126 <= n <= 127, where the bits of `n` are an integer.
template <typename V>
inline V power_of_two(const V& n) {
  return add_bits(shift_bits_left(n, 23), V(1));
}

/// exp(x) for -87.33 <= x <= 88.37, where it is a normal float; NaN for NaN. The exponent is added
/// to the bits of exp(r), which is faster than multiplying by 2^n.
template <typename V>
inline V exp_normal(const V& x) {
  const Reduced<V> reduced = reduce(x);
  return add_bits(exp_reduced(reduced.r), shift_bits_left(reduced.shifted, 23));
}

/// exp(x) for x <= 0, but 0 below 2^-100; NaN for NaN. These are terms of a sum that is at least 1:
/// what is dropped could not change it, and a product of it with the step's factors would be
/// subnormal, which costs a hundred cycles each on some processors.
template <typename V>
inline V exp_or_zero(const V& x) {
  constexpr float kLowest = -69.25f;  // -100 ln 2 = -69.31
  return where(not_less(x, V(kLowest)), exp_normal(x));
}

/// exp(x) for every x: inf above the largest float, gradual underflow, rounded once.
template <typename V>
inline V exp_any(const V& x) {
  // Beyond these bounds exp rounds to inf and 0. NaN stays, as the second operand.
  const V bounded = max(V(-104), min(V(89), x));
  const Reduced<V> reduced = reduce(bounded);
  const V n = subtract_bits(reduced.shifted, V(kRounder));
  // 2^n itself may be out of range, and is multiplied in two halves. The first product is exact.
  const V half = shift_bits_right(n, 1);
  return exp_reduced(reduced.r) * power_of_two(half) * power_of_two(subtract_bits(n, half));
}

/// log(x) for every x: -inf for 0, NaN below it; subnormal x count.
template <typename V>
inline V log_any(const V& x) {
  constexpr float kInfinity = __builtin_inff();
  const auto subnormal = x < V(0x1p-126f);
  const V normal = select(subnormal, x * 0x1p23f, x);

  // x = 2^n (1 + f) with 2/3 <= 1 + f < 4/3.
  const V exponent = shift_bits_right(subtract_bits(normal, V(0x1.555556p-1f)), 23);
  const V f = subtract_bits(normal, shift_bits_left(exponent, 23)) - 1;
  const V n = bits_to_float(exponent) - where(subnormal, V(23));

  // (log(1 + f) - f) / f^2.
  V p = fma(f, -0x1.0779dap-3f, 0x1.1e9f54p-3f);
  p = fma(p, f, -0x1.f35462p-4f);
  p = fma(p, f, 0x1.1eca1cp-3f);
  p = fma(p, f, -0x1.559b3cp-3f);
  p = fma(p, f, 0x1.99d116p-3f);
  p = fma(p, f, -0x1.ffffp-3f);
  p = fma(p, f, 0x1.555504p-2f);
  p = fma(p, f, -0.5f);

  // Summed from the smallest part to the largest.
  const V tail = fma(n, kLn2Lower, f * f * p);
  const V finite = fma(n, kLn2Upper, f + tail);

  V result = select(not_less(x, V(kInfinity)), x, finite);  // inf and NaN stay
  result = select(x == V(0), V(-kInfinity), result);
  return result | where(x < V(0), V(-__builtin_nanf("0x3fffff")));  // of all bits
}

inline float log_any(float x) { return first_of(log_any(Vector(x))); }

/// tanh(x) for every x, with e = exp(2|x|) - 1 as e / (e + 2), which keeps small x.
template <typename V>
inline V tanh_any(const V& x) {
  const V sign_bit = -0.0f;
  const V magnitude = and_not(sign_bit, x);
  // tanh rounds to 1 well before 10. NaN stays, as the second operand.
  const Reduced<V> reduced = reduce(min(V(20), magnitude + magnitude));
  const V power = power_of_two(subtract_bits(reduced.shifted, V(kRounder)));
  const V less_one = fma(reduced.r * reduced.r, exp_tail(reduced.r), reduced.r);
  const V e = fma(power, less_one, power - 1);
  return (e / (e + 2)) | (x & sign_bit);
}

/// gelu(x) = x / (1 + e) with e = exp(-2u), u = sqrt(2/pi) (x + 0.044715 x^3), because
/// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)); no difference of nearly equal numbers is taken.
template <typename V>
struct GeluParts {
  V x;
  V square;
  V e;
};

constexpr float kGeluLinear = -1.5957691216057308f;   // -2 sqrt(2/pi)
constexpr float kGeluCubic = -0.071354816272600257f;  // times 0.044715

template <typename V>
inline GeluParts<V> gelu_parts(const V& x) {
  GeluParts<V> parts;
  // At 10 the exponent is 87.31, the most that exp_normal takes on both sides, and gelu is within
  // |x| 2^-125 of its limits, x and 0. NaN stays, as the second operand.
  parts.x = max(V(-10), min(V(10), x));
  parts.square = parts.x * parts.x;
  parts.e = exp_normal(parts.x * fma(parts.square, kGeluCubic, kGeluLinear));
  return parts;
}

template <typename V>
inline V gelu(const V& x) {
  return x / (gelu_parts(x).e + 1);
}

/// gelu'(x) = s (1 + x (1 - s) 2u') with s = 1 / (1 + e) and 1 - s = e s.
template <typename V>
inline V gelu_slope(const V& x) {
  const GeluParts<V> parts = gelu_parts(x);
  const V s = V(1) / (parts.e + 1);
  const V twice_slope = fma(parts.square, -3 * kGeluCubic, -kGeluLinear);
  return fma(s, parts.x * twice_slope * (parts.e * s), s);
}

/// logistic(x) = 1 / (1 + e) with e = exp(-x).
template <typename V>
struct LogisticParts {
  V x;
  V e;
};

template <typename V>
inline LogisticParts<V> logistic_parts(const V& x) {
  LogisticParts<V> parts;
  // What exp_normal takes on both sides; beyond, x logistic(x) is within |x| 2^-125 of its limits,
  // x and 0. NaN stays, as the second operand.
  parts.x = max(V(-87), min(V(87), x));
  parts.e = exp_normal(V(0) - parts.x);
  return parts;
}

/// x logistic(x), which is also called SiLU.
template <typename V>
inline V silu(const V& x) {
  return x / (logistic_parts(x).e + 1);
}

/// silu and its derivative, s (1 + x (1 - s)) with s = 1 / (1 + e) and 1 - s = e s.
template <typename V>
struct SiluAndSlope {
  V silu;
  V slope;
};

template <typename V>
inline SiluAndSlope<V> silu_and_slope(const V& x) {
  const LogisticParts<V> parts = logistic_parts(x);
  const V s = V(1) / (parts.e + 1);
  return {x * s, fma(s, parts.x * (parts.e * s), s)};
}

}  // namespace
}  // namespace cllm::kernels
